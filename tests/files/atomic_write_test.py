import pytest

from spade_jax.files.atomic_write import atomic_write


def test_atomic_write_creates_directories(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with atomic_write(str(path)) as partial, open(partial, 'w') as file:
        file.write('one')
    assert path.read_text() == 'one'


def test_failed_write_keeps_old_file(tmp_path):
    path = tmp_path / 'file.txt'
    path.write_text('one')
    with pytest.raises(OSError, match='no room'):
        with atomic_write(str(path)) as partial, open(partial, 'w') as file:
            file.write('two')
            raise OSError('no room')
    assert path.read_text() == 'one'
