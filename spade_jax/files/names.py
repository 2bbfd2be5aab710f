"""Names that files contain, of files that are read or written."""

import os
from typing import Any

CHECKPOINTS = 'checkpoints'  # The directory of them, in a work directory.
DEMO = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'demo')
"""Work directory of the demo that ships with the package.

A small generator of landscapes with styles, with label maps (`labels`) and their `photos`.
"""


def run_directory(name: str | os.PathLike[str]) -> str:
    """Return the work directory that a path names; `demo` is the packaged one if none is here."""
    if name == 'demo' and not os.path.isdir(name):
        return DEMO
    return os.path.expanduser(name)


def is_inside(name: Any) -> bool:
    """True if a name is a relative path of a file inside the directory that it is joined to."""
    if not isinstance(name, str) or not name or '\0' in name:
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # A surrogate that stands for no byte.
        return False
    return not os.path.isabs(name) and '..' not in name.split('/')


def is_below(path: str, directory: str) -> bool:
    """True if a path is a directory or inside of it, links resolved."""
    path, directory = os.path.realpath(path), os.path.realpath(directory)
    return os.path.commonpath([path, directory]) == directory
