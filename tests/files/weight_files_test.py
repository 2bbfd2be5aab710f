import os
import pickle
import zipfile

import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.files.weight_files import FORMATS, read_state, write_state

STATE = {
    'a.weight': np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2).transpose(3, 2, 1, 0),
    'a.count': np.int64(7),
    'empty': np.zeros((0, 3), np.float32),
}


class Hostile:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


def needs(format):
    if format == 'pth':
        pytest.importorskip('torch')


@pytest.mark.parametrize('format', FORMATS)
def test_read_returns_written_state(tmp_path, format):
    needs(format)
    path = str(tmp_path / f'x.{format}')
    write_state(path, STATE)
    state = read_state(path)
    assert sorted(state) == sorted(STATE)
    for name, array in STATE.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(state[name], array)
    assert os.listdir(tmp_path) == [f'x.{format}']


@pytest.mark.parametrize('format', FORMATS)
def test_read_rejects_truncated_file(tmp_path, format):
    needs(format)
    path = tmp_path / f'x.{format}'
    write_state(str(path), STATE)
    whole = path.read_bytes()
    for part in (b'', whole[:20], whole[:-30]):
        path.write_bytes(part)
        with pytest.raises(UserError, match='is not a readable'):
            read_state(str(path))


@pytest.mark.parametrize('format', FORMATS)
def test_read_runs_no_code_of_a_pickle(tmp_path, format):
    needs(format)
    path, made = tmp_path / f'x.{format}', tmp_path / 'made'
    path.write_bytes(pickle.dumps({'weight': Hostile(made)}, protocol=2))
    with pytest.raises(UserError, match='is not a readable'):
        read_state(str(path))
    assert not made.exists()
    pickle.loads(path.read_bytes())['weight'].close()
    assert made.exists(), 'the pickle is harmless, so this test shows nothing'


def test_read_runs_no_code_of_a_zipped_pth(tmp_path):
    torch = pytest.importorskip('torch')
    path, made = tmp_path / 'x.pth', tmp_path / 'made'
    torch.save({'weight': Hostile(made)}, path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(UserError, match='plain tensors'):
        read_state(str(path))
    assert not made.exists()


def test_read_rejects_npz_of_objects(tmp_path):
    made = tmp_path / 'made'
    np.savez(tmp_path / 'x.npz', weight=np.array([Hostile(made)], dtype=object))
    with pytest.raises(UserError, match='plain arrays'):
        read_state(str(tmp_path / 'x.npz'))
    assert not made.exists()


def test_read_widens_half_precision(tmp_path):
    np.savez(tmp_path / 'x.npz', weight=np.array([1.5, 2.25], np.float16))
    state = read_state(str(tmp_path / 'x.npz'))
    assert state['weight'].dtype == np.float32
    np.testing.assert_array_equal(state['weight'], [1.5, 2.25])


def test_read_widens_bfloat16(tmp_path):
    torch = pytest.importorskip('torch')
    torch.save({'weight': torch.tensor([1.5], dtype=torch.bfloat16)}, tmp_path / 'x.pth')
    assert read_state(str(tmp_path / 'x.pth'))['weight'].dtype == np.float32


def test_read_rejects_pth_of_several_networks(tmp_path):
    torch = pytest.importorskip('torch')
    torch.save({'netG': {'weight': torch.zeros(1)}, 'epoch': 3}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match='something other than tensors: netG, epoch'):
        read_state(str(tmp_path / 'x.pth'))


@pytest.mark.parametrize('format', FORMATS)
def test_read_rejects_pipes_and_devices(tmp_path, format):
    os.mkfifo(tmp_path / f'x.{format}')
    os.symlink('/dev/zero', tmp_path / f'y.{format}')
    for name in ('x', 'y'):
        with pytest.raises(UserError, match=rf'{name}.{format} .* \(not a regular file\)'):
            read_state(str(tmp_path / f'{name}.{format}'))
