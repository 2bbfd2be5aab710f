"""Read whole files whose size is known: a pipe would block, and a device never ends."""

import os
import pathlib
import stat
import zipfile

MOST_BYTES = 1 << 32


def require_file(path: str, most: int = MOST_BYTES) -> None:
    """Raise an OSError or ValueError unless `path` is a regular file of at most `most` bytes."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError('not a regular file')
    if status.st_size > most:
        raise ValueError(f'{status.st_size} bytes are more than the limit of {most}')


def require_bounded(path: str, most: int = MOST_BYTES) -> None:
    """Do as `require_file`, also for what a zip file (.npz, .pth since PyTorch 1.6) expands to."""
    require_file(path, most)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > most:
            raise ValueError(f'it expands to {size} bytes, more than the limit of {most}')


def read_file(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file that `require_file` accepts."""
    require_file(path, most)
    return pathlib.Path(path).read_bytes()
