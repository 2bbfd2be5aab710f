"""Atomic file writes."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[str]:
    """Replace `path` when the block ends without an error.

    Readers see the old file or the new one, never a part. Creates missing directories.

    Yields:
      The path of a temporary file in the same directory, to write to.
    """
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    partial = f'{path}.part'
    yield partial
    os.replace(partial, path)
