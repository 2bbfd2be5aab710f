"""Standard output and error that end no run and do not control the terminal."""

import errno
import io
import os
import select
import sys
from typing import TextIO

from spade_jax.errors import printable

_NO_READER = (errno.EPIPE, errno.EIO)  # `| head` has ended; the terminal is closed.


class _Descriptor(io.FileIO):
    """Writes to a descriptor; when that fails, it discards this text and all that follows."""

    def write(self, data, /) -> int:
        try:
            while (written := super().write(data)) is None:  # It is full and set to not wait.
                select.select([], [self], [])
            return written
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if self.fileno() == 1 and error.errno not in _NO_READER:
                problem = f'standard output cannot be written ({error.strerror})'
                print(f'warning: {problem}; the rest of it is lost', file=sys.stderr)
            return len(data)


class _Text(io.TextIOWrapper):
    """Escapes what the encoding lacks, and control characters."""

    def write(self, text: str, /) -> int:
        at_start = text.startswith('\r')  # Progress bars return to the start of the line.
        return super().write('\r' * at_start + printable(text[at_start:]))


def protected(descriptor: int, stream: TextIO | None) -> io.TextIOWrapper:
    """A stream to a descriptor in place of the one of Python, which is None if it was closed."""
    encoding = getattr(stream, 'encoding', 'utf-8')
    lines = any(getattr(stream, name, False) for name in ('line_buffering', 'write_through'))
    buffer = io.BufferedWriter(_Descriptor(descriptor, 'w', closefd=False))
    return _Text(buffer, encoding, errors='backslashreplace', line_buffering=lines)


def protect_standard_streams() -> None:
    """Replace standard output and error of this process; to be called before files are opened.

    A closed one is opened as the null device: the next file would get its descriptor.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # The lowest that is free.
    # Tracebacks of Python 3.13 have colors.
    os.environ.setdefault('PYTHON_COLORS', '0')
    for descriptor, name in enumerate(('stdout', 'stderr'), 1):
        stream = getattr(sys, name)
        if stream is getattr(sys, f'__{name}__'):  # A notebook has its own.
            setattr(sys, name, protected(descriptor, stream))
