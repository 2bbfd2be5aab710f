"""Read text files of users: UTF-8 or UTF-16, with or without a byte order mark."""

import json
import pathlib


def read_text(path: str) -> str:
    """Read a text; bytes that are not UTF-8 become what they are in file names of the system."""
    content = pathlib.Path(path).read_bytes()
    return content.decode(json.detect_encoding(content), 'surrogateescape')
