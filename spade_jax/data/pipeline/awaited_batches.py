"""Batches with a limit on the wait for them: a disk that hangs raises nothing by itself."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator

from spade_jax.batch import Batch
from spade_jax.errors import UserError


class AwaitedBatches:
    """The batches of an iterator, each drawn in a thread of its own, one ahead.

    What the iterator raises is raised in its place; its end is the end. Close it to close the iterator; one that hangs is left to itself.
    """

    def __init__(self, batches: Iterator[Batch], timeout: float):
        """Args:
        batches: has `close`.
        timeout: seconds after which a batch is given up; 0: never.
        """
        self._batches, self._timeout = batches, timeout
        self._drawn: queue.Queue = queue.Queue(maxsize=1)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Raises UserError when there is none for so long."""
        try:
            batch, error = self._drawn.get(timeout=self._timeout or None)
        except queue.Empty:
            raise UserError(
                f'no batch of training examples within {self._timeout:g} seconds: the data source hangs',
                'see to its disk or network; where it is only slow, give a larger --data_timeout',
            ) from None
        if error is not None:
            self._drawn.put((None, error))  # for whoever asks again
            raise error
        return batch

    def close(self) -> None:
        """Ends the thread, where it does not hang."""
        self._closed.set()
        with contextlib.suppress(queue.Empty):
            self._drawn.get_nowait()  # makes room for what the thread is about to put
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._batches.close()

    def _draw(self) -> None:
        error: BaseException | None = None
        while not self._closed.is_set() and error is None:
            batch = None
            try:
                batch = next(self._batches)
            except BaseException as raised:  # StopIteration too
                error = raised
            while not self._closed.is_set():
                with contextlib.suppress(queue.Full):
                    self._drawn.put((batch, error), timeout=0.1)
                    break
