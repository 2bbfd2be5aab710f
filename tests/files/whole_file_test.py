"""Files that cannot be read whole: pipes, devices, directories, and files beyond a limit."""

import os

import pytest

from spade_jax.files.whole_file import MOST_BYTES, read_file


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
