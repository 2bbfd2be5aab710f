"""SIGTERM and SIGINT: a cluster takes its machine back, or somebody presses Ctrl-C. The work done until then is saved."""

from __future__ import annotations

import os
import signal
import sys
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
    """While entered, the first signal asks to stop after the running step; a second one ends the program at once.

    As long as nothing new could be saved, until `enable_saving` is called, the first one ends it at once too. The exit status is 128 + the number of the
    signal, as a shell has it: 143 for SIGTERM, 130 for SIGINT.

    Python runs its signal handlers between two operations of the main thread, and a compilation is one that takes minutes. So the signal is written to a
    pipe, from which a thread reads it. Only the main thread can set this up; in another one, entering does nothing.
    """

    def __init__(self):
        self._asked: int | None = None
        self._worth_saving = self._entered = False

    def __enter__(self) -> Preemption:
        self._entered = threading.current_thread() is threading.main_thread()
        if self._entered:
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._old_pipe = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._old_handlers = {
                number: signal.signal(number, lambda *_: None) for number in SIGNALS
            }
            self._thread = threading.Thread(target=self._watch, args=(reader,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exception) -> None:
        if self._entered:
            signal.set_wakeup_fd(self._old_pipe)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
            os.close(self._writer)  # ends the thread
            self._thread.join()

    def enable_saving(self) -> None:
        """From now on there is something to save."""
        self._worth_saving = True

    @property
    def asked(self) -> bool:
        """True once a signal has come."""
        return self._asked is not None

    def leave(self, step: int) -> None:
        """Raises SystemExit, after the state was saved. A process that was not asked itself leaves with the others."""
        self._asked = self._asked or signal.SIGTERM
        print(
            f'\n{signal.Signals(self._asked).name}: stopped after step {step}, which is saved; the same command goes on from there.',
            file=sys.stderr,
        )
        raise SystemExit(128 + self._asked)

    def _watch(self, reader: int) -> None:
        with os.fdopen(reader, 'rb', buffering=0) as pipe:
            while numbers := pipe.read(1):
                if numbers[0] not in SIGNALS:
                    continue
                if self._asked is not None or not self._worth_saving:
                    _end_at_once(numbers[0])
                self._asked = numbers[0]
                print(
                    f'\n{signal.Signals(self._asked).name}: finishing the step and saving it; once more ends the program at once.',
                    file=sys.stderr,
                    flush=True,
                )


def _end_at_once(number: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(128 + number)  # there are threads that would not let the program end
