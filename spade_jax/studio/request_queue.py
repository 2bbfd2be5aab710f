"""The one thread that samples, and whose turn it is. It knows nothing of models."""

import concurrent.futures
import dataclasses
import enum
import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

Job = Callable[[], object]


class Rank(enum.IntEnum):
    """What a job is for; the smaller number goes first."""

    IMAGE = 0
    PREPARATION = 1
    VARIATIONS = 2


@dataclasses.dataclass
class _Waiting:
    job: Job
    since: float


class RequestQueue:
    """Jobs of several pages, done by one thread, one after the other.

    A page has at most one waiting job of each rank: a newer one replaces it, in its place. Within a
    rank the pages take turns. A job that has waited longer than `patience` goes first whatever its
    rank, so that pages that paint without a pause do not keep all others waiting.

    Args:
      patience: Seconds.
      clock: Seconds since any moment.
    """

    def __init__(self, patience: float = 2.0, clock: Callable[[], float] = time.monotonic):
        self._patience, self._clock = patience, clock
        # A page that has had its turn is put at the end again: dictionaries keep the order.
        self._waiting: dict[Rank, dict[Hashable, _Waiting]] = {rank: {} for rank in Rank}
        self._changed, self._is_stopped = threading.Condition(), False
        self._running: Hashable = None
        self._thread: threading.Thread | None = None

    def start(self, first: Job) -> None:
        """Start the thread, which does a job of its own first."""
        self._thread = threading.Thread(
            target=self._work, args=(first,), name='sampling', daemon=True
        )
        self._thread.start()

    def stop(self, timeout: float = 0) -> bool:
        """Forget the waiting jobs, and wait at most `timeout` seconds for the running one.

        Returns:
          True if the thread has ended.
        """
        with self._changed:
            self._is_stopped = True
            for jobs in self._waiting.values():
                jobs.clear()
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def put(self, page: Hashable, rank: Rank, job: Job) -> int:
        """Let a job of a page wait for its turn, in place of an older one of that rank.

        Returns:
          The number of other pages whose images come first, the one that is sampled now included.
        """
        with self._changed:
            jobs = self._waiting[rank]
            if page in jobs:
                jobs[page].job = job
            elif not self._is_stopped:
                jobs[page] = _Waiting(job, self._clock())
            self._changed.notify()
            before = [*self._waiting[Rank.IMAGE]]
            before = before[: before.index(page)] if page in before else before
            return len(before) + (self._running not in (None, page))

    def drop(self, page: Hashable) -> None:
        """Forget the waiting jobs of a page."""
        with self._changed:
            for jobs in self._waiting.values():
                jobs.pop(page, None)

    def submit(self, function: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        """Call a function in the thread, in turn with the images of the pages."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        self.put(future, Rank.IMAGE, call)
        return future

    def _work(self, job: Job | None) -> None:
        while job is not None:
            try:
                job()
            except Exception:  # A job reports its own errors; no other one may end the thread.
                logging.exception('a job of the studio failed')
            job = None  # It holds a page and its label map.
            job = self._next()

    def _next(self) -> Job | None:
        """The job whose turn it is, as soon as there is one; None at the end."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._is_stopped or any(self._waiting.values()))
            if self._is_stopped:
                return None
            firsts = [(rank, page) for rank in Rank for page in [*self._waiting[rank]][:1]]
            oldest = min(firsts, key=lambda first: self._since(*first))
            late = self._clock() - self._since(*oldest) > self._patience
            rank, self._running = oldest if late else firsts[0]
            return self._waiting[rank].pop(self._running).job

    def _since(self, rank: Rank, page: Hashable) -> float:
        return self._waiting[rank][page].since
