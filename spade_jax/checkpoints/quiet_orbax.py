"""Keep what Orbax prints from the user while checkpoints are open; other programs log as before."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# What Orbax leaves behind when one of several reads or writes has failed.
_LATE = (
    'Event loop is closed',
    'Encountered error while reading array',
    "'_UnixSelectorEventLoop' object has no attribute",
)


class UnraisableHook:
    """A `sys.unraisablehook` without the reports of reads that outlive their event loop.

    Attributes:
      stays: Others may still be running when a read or write has failed, and report later.
    """

    def __init__(self, usual: Callable[[Any], object]):
        self._usual, self.stays = usual, False

    def __call__(self, unraisable: Any) -> None:
        if not str(unraisable.exc_value).startswith(_LATE):
            self._usual(unraisable)

    def expect_late_reports(self) -> None:
        """Ignore them from now on, also when the checkpoints are closed."""
        self.stays = True
        warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)


@contextlib.contextmanager
def quiet_orbax() -> Iterator[UnraisableHook]:
    """Leave reports to the errors that Orbax raises; it also logs each step, and tracebacks."""
    loggers = [logging.getLogger(name) for name in ('absl', 'asyncio')]
    usual = sys.unraisablehook
    hook = usual if isinstance(usual, UnraisableHook) else UnraisableHook(usual)

    def is_not_of_orbax(record: logging.LogRecord) -> bool:
        return 'orbax' not in record.pathname and 'orbax' not in record.getMessage()

    for logger in loggers:
        logger.addFilter(is_not_of_orbax)
    sys.unraisablehook = hook
    try:
        yield hook
    finally:
        for logger in loggers:
            logger.removeFilter(is_not_of_orbax)
        if sys.unraisablehook is hook and not hook.stays:
            sys.unraisablehook = usual
