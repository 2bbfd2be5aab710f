import pytest

from spade_jax.whole_files import replacing


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path):
    path = tmp_path / 'new' / 'file.txt'
    with replacing(str(path)) as partial, open(partial, 'w') as file:
        file.write('one')
    assert path.read_text() == 'one'
    with pytest.raises(OSError):
        with replacing(str(path)) as partial, open(partial, 'w') as file:
            file.write('two')
            raise OSError('no room')
    assert path.read_text() == 'one'
