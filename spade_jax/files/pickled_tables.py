"""Reads tables of arrays that NumPy pickled into an .npy file, without running any code of it.

`np.save` pickles a dictionary. Here its pickle can name nothing but the parts of plain arrays,
which become inert descriptions first.
"""

import math
import pickle
from typing import Any, BinaryIO

import numpy as np

from spade_jax.errors import UserError
from spade_jax.files.torch_files import check_memos

_PLAIN = ('f', 'i', 'u')  # Kinds of numbers.


class _Dtype:
    """A type of numbers by its code, such as 'f8', and its byte order."""

    def __init__(self, code: str, *_: Any):
        self.code, self.order = code, '='

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """An array whose content is not read yet; the arguments are those of an empty one."""

    def __init__(self, *_: Any):
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def objects(self) -> list:
        """What an array of objects holds."""
        *_, content = self.state
        if not isinstance(content, list):
            raise ValueError('it is not an array of objects')
        return content

    def numbers(self) -> np.ndarray:
        _, shape, dtype, is_fortran, content = self.state
        content = content.encode('latin1') if isinstance(content, str) else content
        kind = np.dtype(dtype.code).newbyteorder(dtype.order)
        if kind.kind not in _PLAIN or len(content) != math.prod(shape) * kind.itemsize:
            raise ValueError(f'an array of {dtype.code} {shape} is not of plain numbers')
        return np.frombuffer(content, kind).reshape(shape, order='F' if is_fortran else 'C')


def _bytes(text: str, encoding: str) -> bytes:
    """How old protocols of Python 3 pickle bytes."""
    if encoding != 'latin1':
        raise ValueError(f'bytes are encoded as {encoding}')
    return text.encode(encoding)


_NAMES: dict[str, Any] = {
    **{f'numpy.{core}.multiarray._reconstruct': _Array for core in ('core', '_core')},
    'numpy.ndarray': _Array,
    'numpy.dtype': _Dtype,
    '_codecs.encode': _bytes,
}


class _Unpickler(pickle.Unpickler):
    """Makes containers of `_Array`."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f'{module_name}.{global_name}'
        if name not in _NAMES:
            raise ValueError(f'loading it would run {name}')
        return _NAMES[name]


def read_table(path: str) -> dict[int, np.ndarray]:
    """The arrays of a pickled dictionary by their whole numbers; UserError if it is another."""
    try:
        with open(path, 'rb') as file:
            return _read(file)
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror})', 'check its rights') from error
    except Exception as error:  # Of as many types as a pickle can be damaged.
        problem = f'{path} is no dictionary of arrays that NumPy saved, or it is damaged ({error})'
        raise UserError(problem, 'save it anew, or move it away') from error


def _read(file: BinaryIO) -> dict[int, np.ndarray]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f'its format has the version {version}')
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if shape or not dtype.hasobject:
        raise ValueError(f'it holds an array of {dtype} {shape}')
    check_memos(file)
    loaded = _Unpickler(file, encoding='latin1').load()
    (table,) = loaded.objects()
    return {int(number): array.numbers() for number, array in table.items()}
