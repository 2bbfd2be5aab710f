"""Read text files of users: UTF-8 or UTF-16, with or without a byte order mark."""

import json

from spade_jax.files.whole_file import read_file

_MOST_BYTES = 1 << 28  # Millions of lines.


def read_text(path: str) -> str:
    """Read a text; bytes that are not UTF-8 become what they are in file names of the system."""
    content = read_file(path, _MOST_BYTES)
    return content.decode(json.detect_encoding(content), 'surrogateescape')
