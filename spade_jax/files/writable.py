"""Check at the start that results can be written at the end."""

import os
import tempfile
from collections.abc import Iterable

from spade_jax.errors import user_errors
from spade_jax.files.atomic_write import check_replaceable


def check_writable(directories: Iterable[str], files: Iterable[str] = ()) -> None:
    """Make directories and write to each of them; check that nothing has the place of a file.

    Raises:
      UserError: A directory cannot be made or written, or a file could not be.
    """
    for directory in directories:
        remedy = 'make it a directory that can be written, or choose another one'
        with user_errors(f'{directory} cannot be used', remedy):
            os.makedirs(directory, exist_ok=True)
            probe(directory)
    for path in files:
        check_replaceable(path)


def probe(directory: str) -> None:
    """Write to a directory, or to the one where it will be made; OSError if that is impossible."""
    place = os.path.abspath(directory)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    with tempfile.TemporaryFile(dir=place, buffering=0) as file:
        file.write(b'-')
