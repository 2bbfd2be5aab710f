"""The measured variants of `benchmark.py`, each in its own process.

Thread pools and memory stay separate while the variants take turns, and one that runs out of memory
fails alone.
"""

import dataclasses
import multiprocessing
import os
import traceback
from typing import Any

from spade_jax.config.config import Config

MAPS = ('landscapes', 'noise')
_KILLED = -9  # Exit code of a process that the kernel killed.


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to do the measured work.

    Attributes:
      part: 'train', 'sampling', 'input' or 'matmul'.
      framework: 'jax' or 'torch'.
      name: Its name in the tables.
      config: Networks, image size and batch size.
      precision: Of the matrix products, 'float32' or 'bfloat16'.
      settings: Names of the fields of `pytorch_peer.Settings` that are True.
      turn_seconds: Least duration of a turn; a turn has at least one step.
      maps: 'landscapes', with regions as in photos, or 'noise', a random class at every pixel.
    """

    part: str
    framework: str
    name: str
    config: Config
    precision: str = 'float32'
    settings: tuple[str, ...] = ()
    turn_seconds: float = 0.0
    maps: str = 'landscapes'


class WorkerError(Exception):
    """A variant failed; the message says why."""


class Worker:
    """The process of a variant, as its parent sees it."""

    def __init__(self, variant: Variant):
        context = multiprocessing.get_context('spawn')
        self.variant = variant
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, variant))
        self._process.start()
        other.close()

    def request(self, method: str) -> Any:
        """Call a method of the workload: 'start', 'turn' or 'finish'.

        Raises:
          WorkerError: The method raised, or the process ended.
        """
        try:
            self._connection.send(method)
            status, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(10)
            code = self._process.exitcode
            cause = ' (killed: most likely out of memory)' if code == _KILLED else ''
            raise WorkerError(f'its process ended with exit status {code}{cause}') from None
        if status == 'error':
            raise WorkerError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def serve(connection: Any, variant: Variant) -> None:
    """Run the process of a variant: answer requests until the connection closes or one fails."""
    from experiments.benchmarks.workloads import make_workload

    os.dup2(2, 1)  # Output of libraries must not end up in the table.
    workload = None
    while True:
        try:
            method = connection.recv()
        except EOFError:
            return
        try:
            if workload is None:
                workload = make_workload(variant)
            connection.send(('answer', getattr(workload, method)()))
        except Exception as error:
            if os.environ.get('BENCHMARK_TRACEBACKS'):
                traceback.print_exc()
            message = ' '.join(str(error).split())[:300]
            connection.send(('error', f'{type(error).__name__}: {message}'))
            return
