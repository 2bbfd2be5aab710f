import errno
import os
import stat

import pytest

from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write


def write(path, text):
    with atomic_write(str(path)) as partial, open(partial, 'w') as file:
        file.write(text)


def test_atomic_write_creates_directories(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    write(path, 'one')
    assert path.read_text() == 'one'


def test_failed_write_keeps_old_file_alone(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('one')
    with pytest.raises(OSError, match=r"No room: '.*/file.txt'"):
        with atomic_write(str(path)) as partial, open(partial, 'w') as file:
            file.write('two')
            raise OSError(errno.ENOSPC, 'No room')
    assert path.read_text() == 'one'
    assert os.listdir(tmp_path) == ['file.txt']


def test_writers_at_once_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / 'file.txt'
    with atomic_write(str(path)) as partial:
        write(path, 'other')
        assert path.read_text() == 'other'
        with open(partial, 'w') as file:
            file.write('mine')
    assert path.read_text() == 'mine'
    assert os.listdir(tmp_path) == ['file.txt']


def test_file_of_a_link_is_replaced(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    target, link = tmp_path / 'elsewhere' / 'file.txt', tmp_path / 'link.txt'
    target.write_text('one')
    link.symlink_to(target)
    write(link, 'two')
    assert link.is_symlink()
    assert target.read_text() == 'two'


def test_longest_name_is_written(tmp_path):
    write(tmp_path / f'{"a" * 251}.txt', 'one')
    assert (tmp_path / f'{"a" * 251}.txt').read_text() == 'one'


@pytest.mark.parametrize('kind', ['pipe', 'directory', 'broken link', 'circular link'])
def test_what_is_no_regular_file_is_kept(tmp_path, kind):
    path = tmp_path / 'path'
    match kind:
        case 'pipe':
            os.mkfifo(path)
        case 'directory':
            path.mkdir()
        case 'broken link':
            path.symlink_to('nowhere')
        case 'circular link':
            path.symlink_to('path')
    before = stat.S_IFMT(os.lstat(path).st_mode)
    with pytest.raises(UserError, match='path is (a directory|not a regular file)'):
        write(path, 'text')
    assert stat.S_IFMT(os.lstat(path).st_mode) == before
    assert os.listdir(tmp_path) == ['path']
