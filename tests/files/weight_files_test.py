import collections
import errno
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.files.weight_files import FORMATS, read_state, write_state, write_states

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
    path, made = tmp_path / f'x.{format}', tmp_path / 'made'
    path.write_bytes(pickle.dumps({'weight': Hostile(made)}, protocol=2))
    with pytest.raises(UserError, match='is not a readable'):
        read_state(str(path))
    assert not made.exists()
    pickle.loads(path.read_bytes())['weight'].close()
    assert made.exists(), 'the pickle is harmless, so this test shows nothing'


@pytest.mark.parametrize(
    'content, what',
    [
        (b'\r\n<!DOCTYPE html><html><title>404</title></html>', 'an HTML or XML page'),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', 'an HTML or XML page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3', 'a text'),
        ('{"message": "n\u00e3o encontrado"}'.encode(), 'a text'),
    ],
)
@pytest.mark.parametrize('format', FORMATS)
def test_page_instead_of_a_download_is_recognized(tmp_path, format, content, what):
    (tmp_path / f'x.{format}').write_bytes(content)
    with pytest.raises(
        UserError, match=f'x.{format} is not a readable .*it is {what}: .*; make or download it'
    ):
        read_state(str(tmp_path / f'x.{format}'))


@pytest.mark.parametrize('format', FORMATS)
def test_directory_of_the_name_of_weights_is_refused(tmp_path, format):
    (tmp_path / f'x.{format}').mkdir()
    with pytest.raises(UserError, match=f'x.{format} is not a readable .*not a regular file'):
        read_state(str(tmp_path / f'x.{format}'))


def test_npz_with_a_foreign_member_is_refused(tmp_path):
    np.savez(tmp_path / 'x.npz', weight=np.zeros(1, np.float32))
    with zipfile.ZipFile(tmp_path / 'x.npz', 'a') as archive:
        archive.writestr('LICENSE.txt', 'text')
    with pytest.raises(UserError, match='x.npz: LICENSE.txt is not an array'):
        read_state(str(tmp_path / 'x.npz'))


@pytest.mark.parametrize('values', [['a'], [1j], [np.datetime64(0, 's')], [(1, 2)]])
def test_array_of_no_numbers_is_refused(tmp_path, values):
    dtype = [('x', 'i4'), ('y', 'f4')] if isinstance(values[0], tuple) else None
    np.savez(tmp_path / 'x.npz', weight=np.array(values, dtype))
    with pytest.raises(UserError, match='x.npz: weight is of the type .*save it as float32'):
        read_state(str(tmp_path / 'x.npz'))


@pytest.mark.parametrize('format', ['npz', 'safetensors'])
def test_array_of_float8_is_refused(tmp_path, format):
    write_state(str(tmp_path / f'x.{format}'), {'weight': np.ones(4, ml_dtypes.float8_e4m3fn)})
    with pytest.raises(UserError, match=f'x.{format}: weight is of the type|is not a readable'):
        read_state(str(tmp_path / f'x.{format}'))


@pytest.mark.parametrize('dtype', ['>f4', '>f2', '>i8'])
def test_read_makes_byte_order_native(tmp_path, dtype):
    np.savez(tmp_path / 'x.npz', weight=np.array([1.5, -2, 7], dtype))
    weight = read_state(str(tmp_path / 'x.npz'))['weight']
    assert weight.dtype == (np.int64 if dtype == '>i8' else np.float32)
    np.testing.assert_array_equal(weight, np.array([1.5, -2, 7], dtype).astype(weight.dtype))


@pytest.mark.parametrize('existing', [{}, {'a.npz': b'old'}])
def test_full_disk_leaves_no_file_of_several(tmp_path, monkeypatch, existing):
    for name, content in existing.items():
        (tmp_path / name).write_bytes(content)
    calls = collections.Counter()

    def savez(path, **arrays):
        with open(path, 'wb') as file:
            file.write(b'new')
        calls['savez'] += 1
        if calls['savez'] == 2:
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(np, 'savez', savez)
    states = [(str(tmp_path / name), STATE) for name in ('a.npz', 'b.npz', 'c.npz')]
    with pytest.raises(UserError, match=r'b.npz cannot be written \(No space left.*make room'):
        write_states(states)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == existing
    write_states(states)
    assert sorted(os.listdir(tmp_path)) == ['a.npz', 'b.npz', 'c.npz']


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


@pytest.mark.parametrize('format', FORMATS)
def test_read_rejects_pipes_and_devices(tmp_path, format):
    os.mkfifo(tmp_path / f'x.{format}')
    os.symlink('/dev/zero', tmp_path / f'y.{format}')
    for name in ('x', 'y'):
        with pytest.raises(UserError, match=rf'{name}.{format} .* \(not a regular file\)'):
            read_state(str(tmp_path / f'{name}.{format}'))
