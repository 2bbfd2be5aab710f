"""Atomic file writes."""

import contextlib
import os
import secrets
from collections.abc import Iterator

from spade_jax.errors import UserError

PART = '.part-'  # Start of the names of unfinished files: what is hidden is read by nobody.


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[str]:
    """Replace `path` when the block ends without an error.

    Readers see the old file or the new one, never a part. Several processes may write the same
    file: the last one wins. A link stays, and the file that it names is replaced. Creates missing
    directories.

    Yields:
      The path of a temporary file in the same directory, with the same extension, to write to. It
      is removed when the block fails.

    Raises:
      UserError: `path` is something else than a regular file.
    """
    check_replaceable(path)
    target = os.path.realpath(path)
    directory, extension = os.path.dirname(target), os.path.splitext(target)[1]
    os.makedirs(directory, exist_ok=True)
    partial = os.path.join(directory, f'{PART}{secrets.token_hex(8)}{extension}')
    try:
        yield partial
        os.replace(partial, target)
    except OSError as error:
        if error.errno and error.filename in (None, partial):
            error.filename = path  # A full disk names no file.
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def check_replaceable(path: str) -> None:
    """Raises UserError if a path is that of a directory, a device, a pipe or a broken link."""
    if os.path.lexists(path) and not os.path.isfile(path):
        is_directory = os.path.isdir(path)
        what = 'a directory' if is_directory else 'not a regular file'
        remedy = 'move it away, or choose another path' if is_directory else 'choose another path'
        raise UserError(f'{path} is {what} and is not replaced', remedy)
