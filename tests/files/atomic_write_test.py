import pytest

from spade_jax.files.atomic_write import atomic_write


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with atomic_write(str(path)) as partial, open(partial, 'w') as file:
        file.write('one')
    assert path.read_text() == 'one'
    with pytest.raises(OSError):
        with atomic_write(str(path)) as partial, open(partial, 'w') as file:
            file.write('two')
            raise OSError('no room')
    assert path.read_text() == 'one'
