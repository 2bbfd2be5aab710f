"""Preemption: on SIGTERM (a cluster takes its machine back), Ctrl-C or hang-up, save and exit."""

import contextlib
import os
import signal
import sys
import threading
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Preemption:
    """Handles SIGTERM, SIGINT and SIGHUP (the terminal is closed) while it is entered.

    The first signal requests a stop after the running step; a second one exits at once, and so does
    the first one before `enable_saving`, while there is nothing to save. A second SIGHUP does
    nothing, because a terminal may send two. A signal that was ignored stays ignored (nohup). The
    exit status is 128 + the number of the signal. During a compilation Python runs no handlers; the
    signal then takes effect after it. Only the main thread can install handlers; elsewhere entering
    does nothing.

    As a guest in another program it never ends the process: it raises KeyboardInterrupt for SIGINT
    and SystemExit for the others.
    """

    def __init__(self, as_guest: bool = False):
        self._as_guest = as_guest
        self._signal: int | None = None
        self._may_save = False
        self._old_handlers = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._old_handlers = {number: signal.signal(number, self._handle) for number in heard}
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
        if self.requested and number == signal.SIGHUP:
            return
        if self._as_guest and (self.requested or not self._may_save):
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        name = signal.Signals(number).name
        if self.requested or not self._may_save:
            if not self._may_save:
                _tell(f'\n{name}: stopped before the first step; there is nothing to save.\n')
            with contextlib.suppress(Exception):  # The main thread may be printing.
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(128 + number)  # Some threads, such as a compilation, would delay sys.exit.
        self._signal = number
        again = 'SIGTERM' if number == signal.SIGHUP else 'it again'
        _tell(f'\n{name}: finishing and saving the step; send {again} to exit at once.\n')


def _tell(message: str) -> None:
    """Write to standard error from a signal handler."""
    with contextlib.suppress(OSError):  # The terminal may be gone.
        os.write(sys.stderr.fileno(), message.encode())  # print is not reentrant.
