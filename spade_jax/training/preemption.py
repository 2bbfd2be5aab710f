"""Preemption: on SIGTERM (a cluster takes its machine back) or Ctrl-C, save and exit."""

import os
import signal
import sys
import threading
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
    """Handles SIGTERM and SIGINT while it is entered.

    The first signal requests a stop after the running step; a second one exits at once, and so does
    the first one before `enable_saving`, while there is nothing to save. The exit status is 128 +
    the number of the signal. During a compilation Python runs no handlers; the signal then takes
    effect after it. Only the main thread can install handlers; elsewhere entering does nothing.

    As a guest in another program it never ends the process: it raises KeyboardInterrupt for SIGINT
    and SystemExit for SIGTERM.
    """

    def __init__(self, as_guest: bool = False):
        self._as_guest = as_guest
        self._signal: int | None = None
        self._may_save = False
        self._old_handlers = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)

    def enable_saving(self) -> None:
        """From now on there is something to save."""
        self._may_save = True

    @property
    def requested(self) -> bool:
        """True once a signal has arrived."""
        return self._signal is not None

    def exit_after(self, step: int) -> None:
        """Raise SystemExit; call it once the state is saved, in all processes alike."""
        number = self._signal or signal.SIGTERM
        message = f'stopped after step {step}, which is saved; the same command resumes.'
        print(f'\n{signal.Signals(number).name}: {message}', file=sys.stderr)
        if self._as_guest and number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _handle(self, number: int, frame) -> None:
        del frame
        if self._as_guest and (self.requested or not self._may_save):
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        if self.requested or not self._may_save:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + number)  # Some threads, such as a compilation, would delay sys.exit.
        self._signal = number
        name = signal.Signals(number).name
        message = f'\n{name}: finishing and saving the step; send it again to exit at once.\n'
        os.write(sys.stderr.fileno(), message.encode())  # print is not reentrant.
