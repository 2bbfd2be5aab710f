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
_LOGGERS = ('absl', 'asyncio')


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    return 'orbax' not in record.pathname and 'orbax' not in record.getMessage()


class UnraisableHook:
    """A `sys.unraisablehook` without the reports of accesses that outlive their event loop.

    Attributes:
      stays: Others may still be running when a read or write has failed, and report or log later.
    """

    def __init__(self, usual: Callable[[Any], object]):
        self._usual, self.stays = usual, False

    def __call__(self, unraisable: Any) -> None:
        if not str(unraisable.exc_value).startswith(_LATE):
            self._usual(unraisable)

    def expect_late_reports(self) -> None:
        """Ignore them from now on, also when the checkpoints are closed."""
        self.stays = True
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_is_not_of_orbax)
        warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)


@contextlib.contextmanager
def quiet_orbax() -> Iterator[UnraisableHook]:
    """Leave reports to the errors that Orbax raises; it also logs each step, and tracebacks."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    usual = sys.unraisablehook
    hook = usual if isinstance(usual, UnraisableHook) else UnraisableHook(usual)

    def filtered(record: logging.LogRecord) -> bool:  # One of this call's own, to be removed.
        return _is_not_of_orbax(record)

    for logger in loggers:
        logger.addFilter(filtered)
    sys.unraisablehook = hook
    try:
        yield hook
    finally:
        for logger in loggers:
            logger.removeFilter(filtered)
        if sys.unraisablehook is hook and not hook.stays:
            sys.unraisablehook = usual
