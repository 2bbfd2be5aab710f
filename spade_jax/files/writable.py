"""Check at the start that results can be written at the end."""

import os
import tempfile
from collections.abc import Iterable

from spade_jax.errors import UserError, user_errors


def check_writable(directories: Iterable[str], files: Iterable[str] = ()) -> None:
    """Make directories and write to each of them; check that no directory has the place of a file.

    Raises:
      UserError: A directory cannot be made or written, or a file could not be.
    """
    for directory in directories:
        remedy = 'make it a directory that can be written, or choose another one'
        with user_errors(f'{directory} cannot be used', remedy):
            os.makedirs(directory, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
                file.write(b'-')
    for path in files:
        for place in (path, f'{path}.part'):  # See `atomic_write`.
            if os.path.isdir(place):
                raise UserError(
                    f'{place} is a directory; it has the place of a file', 'move it away'
                )
