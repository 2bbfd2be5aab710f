"""What a person sees while training: the progress bar, and that a compilation goes on."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator

from tqdm import tqdm

from spade_jax.distributed import processes

INTERVAL = 10.0  # Seconds between two lines about a compilation.


class StepProgress(tqdm):
    """The progress bar of the steps, on standard error.

    The rate leaves out the first call of each program, which compiles for as long as hundreds of
    steps take and would spoil the time left.
    """

    def __init__(self, first_step: int, last_step: int):
        """Show the bar, in the first process."""
        self._called: set[Hashable] = set()
        on_terminal = sys.stderr.isatty()
        super().__init__(
            total=last_step,
            initial=first_step,
            unit='step',
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5 if on_terminal else 20,  # Seconds.
            disable=not processes.is_first(),
        )

    @contextlib.contextmanager
    def compiling(self, program: Hashable, what: str) -> Iterator[bool]:
        """Yield True if the block has the first call of a program, which compiles it.

        Then the block waits for its results, its time is in no rate, and `what` is reported every
        ten seconds.
        """
        if program in self._called:
            yield False
            return
        self._called.add(program)
        start = time.monotonic()
        self.tell(f'{what} ...')
        with _repeating(lambda: self.tell(f'{what}: {time.monotonic() - start:.0f} s'), INTERVAL):
            yield True
        if not self.disable:
            seconds = time.monotonic() - start
            self.start_t, self.last_print_t = self.start_t + seconds, self.last_print_t + seconds

    def count(self, *, was_first_call: bool) -> None:
        """Count a step, which is in no rate if it was the first call of its program."""
        if was_first_call and not self.disable:
            self.n, self.initial = self.n + 1, self.initial + 1
            self.last_print_n += 1
        else:
            self.update()

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        if not self.disable:
            self.write(line)
            sys.stdout.flush()  # It may be a file, which a person watches.


@contextlib.contextmanager
def _repeating(report: Callable[[], None], interval: float) -> Iterator[None]:
    """Call a function every `interval` seconds, in a thread, until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(interval):
            report()

    thread = threading.Thread(target=repeat, name='report', daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
