"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def atomic_write(path: str) -> Iterator[str]:
    """Around the writing of a file: gives the name to write under, which becomes `path` once all is written. Makes the directory where there is none.

    A reader never sees half a file, and what was there before stays until then.
    """
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    partial = f'{path}.part'
    yield partial
    os.replace(partial, path)
