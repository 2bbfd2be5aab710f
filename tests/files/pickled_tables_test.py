"""Pickled dictionaries of arrays, read without their code."""

import os
import pickle

import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.files.pickled_tables import read_table

TABLE = {0: np.arange(6.0).reshape(2, 3), 34: np.arange(3, dtype='>f4').reshape(3, 1)}


class Code:
    def __reduce__(self):
        return os.mkdir, ('executed',)


def save(path, content, protocol=4):
    """Write a file as versions of NumPy did that pickled by `protocol`."""
    header = np.lib.format.header_data_from_array_1_0(np.array(None))
    array = np.empty((), object)
    array[()] = content
    with open(path, 'wb') as file:
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(array, file, protocol=protocol)
    return str(path)


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_tables_are_read(tmp_path, protocol):
    read = read_table(save(tmp_path / 'x.npy', TABLE, protocol))
    assert read.keys() == TABLE.keys()
    for number, array in read.items():
        np.testing.assert_array_equal(array, TABLE[number])


def test_columns_first_and_numpy_itself(tmp_path):
    table = {1: np.asfortranarray(TABLE[0]), 2: np.zeros((0, 3))}
    np.save(tmp_path / 'x.npy', table)  # pyright: ignore[reportArgumentType]
    for number, array in read_table(str(tmp_path / 'x.npy')).items():
        np.testing.assert_array_equal(array, table[number])


@pytest.mark.parametrize(
    'content',
    [Code(), {0: Code()}, {0: np.array(['x'])}, {0: np.array([None])}, {'a': TABLE[0]}, 3, {0: 3}],
)
def test_other_content_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='x.npy is no dictionary of arrays'):
        read_table(save(tmp_path / 'x.npy', content))
    assert not (tmp_path / 'executed').exists()


def test_damaged_and_plain_files_are_refused(tmp_path):
    path = tmp_path / 'x.npy'
    save(path, TABLE)
    content = path.read_bytes()
    for damaged in (b'', content[:40], content[:-9], content.replace(b'f8', b'f4')):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match='damaged'):
            read_table(str(path))
    np.save(path, TABLE[0])
    with pytest.raises(UserError, match='it holds an array of float64'):
        read_table(str(path))
