"""Files that cannot be read whole: pipes, devices, directories, and files beyond a limit."""

import os

import numpy as np
import pytest

from spade_jax.files.whole_file import MOST_BYTES, read_file, require_bounded


def test_read_returns_content(tmp_path):
    (tmp_path / 'x').write_bytes(b'content')
    assert read_file(str(tmp_path / 'x')) == b'content'


def test_read_rejects_pipes_devices_and_directories(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in (f'{tmp_path}/pipe', '/dev/zero', str(tmp_path)):
        with pytest.raises(ValueError, match='not a regular file'):
            read_file(path)


def test_read_rejects_more_than_the_limit(tmp_path):
    with open(tmp_path / 'x', 'wb') as file:
        file.truncate(MOST_BYTES + 1)  # Takes no space on the disk.
    with pytest.raises(ValueError, match='4294967297 bytes are more than the limit of 4294967296'):
        read_file(str(tmp_path / 'x'))


def test_zip_files_are_limited_by_what_they_expand_to(tmp_path):
    path = f'{tmp_path}/x.npz'
    np.savez_compressed(path, zeros=np.zeros(1 << 20, np.uint8))
    require_bounded(path, most=1 << 21)
    with pytest.raises(
        ValueError, match=r'it expands to \d+ bytes, more than the limit of 1048576'
    ):
        require_bounded(path, most=1 << 20)
