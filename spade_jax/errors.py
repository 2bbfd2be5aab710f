"""`UserError`, raised for bad user input, and how the command line reports it."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LONG_NUMBER = re.compile(r'(\d{20})\d{40,}')  # A value with thousands of digits.
_CANNOT_WRITE = (*FULL_DISK, errno.EROFS)


class UserError(ValueError):
    """Bad input: a flag, a file, a directory, a checkpoint.

    Programs print its message as one line (`one_line_errors`). Any other exception is a bug and
    keeps its traceback.

    Attributes:
      problem: What is wrong, with the value.
      remedy: What the user can do; '' if `problem` is the whole message.
    """

    def __init__(self, problem: str, remedy: str = ''):
        problem = _LONG_NUMBER.sub(r'\1...', problem)
        super().__init__(f'{problem}; {remedy}' if remedy else problem)
        self.problem, self.remedy = problem, remedy

    def at(self, place: str) -> 'UserError':
        """The same error with the file or example where it occurred in front."""
        return UserError(f'{place}: {self.problem}', self.remedy)


@contextlib.contextmanager
def user_errors(problem: str, remedy: str) -> Iterator[None]:
    """Turn any exception, e.g. of a library for a damaged file, into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        line = ' '.join(reason.split())[:300]
        raise UserError(f'{problem} ({line})', remedy) from error


@contextlib.contextmanager
def one_line_errors(argv: list[str]) -> Iterator[None]:
    """Run the body of a program; print errors that the user can fix in one line.

    Exits with status 2 for bad input or a full disk, and with status 3 for a diverged run.

    Args:
      argv: The arguments that absl leaves; anything after the program's name is an error.
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
    """Print an error that the user can fix and return its exit status; None for any other."""
    if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        problem = f'{error.filename or "a file"} cannot be written ({os.strerror(error.errno)})'
        error = UserError(problem, 'make room on the disk and start the same command again')
    if not isinstance(error, (UserError, FloatingPointError)):
        return None
    print('error: ' + ' '.join(str(error).splitlines()), file=sys.stderr)
    return 2 if isinstance(error, UserError) else 3
