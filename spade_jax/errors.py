"""The one exception that is the user's to mend, and how a program ends with it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a disk says that takes no more, to whatever is being written.
_NO_ROOM = (*FULL_DISK, errno.EROFS)


class UserError(ValueError):
    """Bad input: a flag, a file, a directory, a checkpoint.

    The message is one line that carries the offending value and the remedy. A program prints it without a traceback, see
    `one_line_errors`; any other exception is a fault of the program and keeps its traceback.

    Attributes:
      problem, remedy: the two halves of the message; a message given as a whole is all problem.
    """

    def __init__(self, problem: str, remedy: str = ''):
        super().__init__(f'{problem}; {remedy}' if remedy else problem)
        self.problem, self.remedy = problem, remedy

    def at(self, place: str) -> UserError:
        """The same error, with the file or example where it occurred in front."""
        return UserError(f'{place}: {self.problem}', self.remedy)


@contextlib.contextmanager
def one_line_errors(argv: list[str]) -> Iterator[None]:
    """Around the body of a program: what the user can mend is one line and exit status 2, a run that diverged one line and exit status 3.
    A full disk is the user's to mend, whatever was being written.

    Args:
      argv: what absl leaves of the command line; anything after the program's name is an error.
    """
    try:
        if len(argv) > 1:
            raise UserError(f'{argv[1]} is not a flag; write --name=value')
        yield
    except (UserError, FloatingPointError, OSError) as error:
        if (status := report_error(error)) is None:
            raise
        sys.exit(status)


def report_error(error: BaseException) -> int | None:
    """Prints an error that `one_line_errors` makes one line of, and returns its exit status; does nothing with any other, and returns None."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        error = UserError(
            f'{error.filename or "a file"} cannot be written ({os.strerror(error.errno)})',
            'make room on the disk and start the same command again',
        )
    if not isinstance(error, (UserError, FloatingPointError)):
        return None
    print('error: ' + ' '.join(str(error).splitlines()), file=sys.stderr)
    return 2 if isinstance(error, UserError) else 3


@contextlib.contextmanager
def user_errors(problem: str, remedy: str) -> Iterator[None]:
    """Turn any exception, e.g. of a library for a damaged file, into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())
        reason = reason or type(error).__name__
        short = reason if len(reason) <= 300 else f'{reason[:300]} ...'
        raise UserError(f'{problem} ({short})', remedy) from error
