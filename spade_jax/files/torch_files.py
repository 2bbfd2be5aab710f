"""Tensors of PyTorch's files (.pth), read without PyTorch and without running code from the file.

Since version 1.6, PyTorch writes a zip archive of a pickle and of the storages, each of which holds
the numbers of one tensor or more. Before, it wrote pickles one after the other (a magic number, the
version, facts of the machine, the objects, the keys of the storages) and then the storages.
"""

import collections
import functools
import io
import os
import pickle
import pickletools
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from spade_jax.errors import UserError
from spade_jax.files.whole_file import MOST_BYTES, read_file

_Content = bytes | memoryview
_MAGIC = 0x1950A86A20F9469CFC6C
_MOST_MEMOS = 1 << 20
# What tensors and their containers are made of; anything else is code of other packages.
_PLAIN = re.compile(
    r'(__builtin__|builtins)\.(set|long)'
    r'|torch\.(\w+|(_utils|_tensor)\._rebuild_\w+|(storage|serialization|nn\.parameter)\.\w+)'
)
# By the name of the storage; by that of the type where the storage has none.
_DTYPES: dict[str, Any] = {
    'torch.DoubleStorage': np.float64,
    'torch.FloatStorage': np.float32,
    'torch.HalfStorage': np.float16,
    'torch.BFloat16Storage': ml_dtypes.bfloat16,
    'torch.LongStorage': np.int64,
    'torch.IntStorage': np.int32,
    'torch.ShortStorage': np.int16,
    'torch.CharStorage': np.int8,
    'torch.ByteStorage': np.uint8,
    'torch.BoolStorage': np.bool_,
    'torch.storage.UntypedStorage': np.uint8,
    'torch.uint16': np.uint16,
    'torch.uint32': np.uint32,
    'torch.uint64': np.uint64,
}


class _Storage(NamedTuple):
    """Numbers in the file: their key there, type and count."""

    key: str = ''
    type: str = ''
    count: int = 0


class _Tensor(NamedTuple):
    """A tensor whose numbers are not read yet. The type may be any, the rest is for plain ones."""

    type: str
    storage: _Storage = _Storage()
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()


class _Name(NamedTuple):
    """A function or class of PyTorch; a tuple, since a pickle can change attributes of others."""

    name: str

    def __call__(self, *arguments: Any) -> Any:
        """A tensor, or this name in place of any other object."""
        match self.name.rpartition('.')[2], arguments:
            case '_rebuild_tensor', (_Storage() as storage, offset, shape, strides):
                return _Tensor(storage.type, storage, offset, shape, strides)
            case '_rebuild_tensor_v2', (_Storage() as storage, offset, shape, strides, _, _):
                return _Tensor(storage.type, storage, offset, shape, strides)
            case '_rebuild_tensor_v3', (storage, offset, shape, strides, _, _, _Name(type)):
                return _Tensor(type, storage, offset, shape, strides)
            case '_rebuild_parameter' | '_rebuild_parameter_with_state', (tensor, *_):
                return tensor
            case '_rebuild_from_type_v2', (_Name() as rebuild, _, tuple(rest), _):
                return rebuild(*rest)
        return _Tensor(self.name) if '_rebuild_' in self.name else self


class _Unpickler(pickle.Unpickler):
    """Makes containers of `_Tensor`, and notes the storages by their keys."""

    def __init__(self, path: str, stream: io.BytesIO):
        super().__init__(stream, encoding='utf-8')  # Of strings that Python 2 pickled.
        self.path, self.storages = path, dict[str, _Storage]()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f'{module_name}.{global_name}'
        if name == 'collections.OrderedDict':
            return collections.OrderedDict
        if _PLAIN.fullmatch(name):
            return _Name(name)
        problem = f'{self.path} is not a readable PyTorch state dictionary of plain tensors, but '
        problem += f'a pickled model or other objects: loading it would run {name}'
        remedy = 'where that code is, save the weights alone: torch.save(model.state_dict(), FILE)'
        raise UserError(problem, remedy)

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ('storage', _Name(type), str(key), _, int(count), *view) if not any(view):
                self.storages[key] = _Storage(key, type, count)
                return self.storages[key]
        raise ValueError('it refers to something other than a storage')


def read_tensors(path: str) -> dict[str, np.ndarray]:
    """The arrays of a state dictionary.

    Raises:
      UserError: It holds other objects, or tensors that are not plain arrays of numbers.
      Exception: Of many types, when the file is damaged.
    """
    with open(path, 'rb') as file:
        start = file.read(2)
    if start[:1] == pickle.PROTO:
        return _read_old(path, read_file(path))
    if start == b'PK':
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith('data.pkl'):
                    return _read_archive(path, archive, name.removesuffix('data.pkl'))
    raise ValueError('it is neither a pickle nor a zip archive with one')


def _read_archive(path: str, archive: zipfile.ZipFile, root: str) -> dict[str, np.ndarray]:
    @functools.cache
    def member(name: str) -> bytes:
        size = archive.getinfo(root + name).file_size
        if size > os.path.getsize(path):  # PyTorch does not compress.
            raise ValueError(f'{root}{name} expands to {size} bytes, more than the file has')
        return archive.read(root + name)

    loaded, _ = _load(path, io.BytesIO(member('data.pkl')))
    order = member('byteorder').decode() if f'{root}byteorder' in archive.namelist() else 'little'
    return _arrays(_tensors_of(path, loaded), lambda key: member(f'data/{key}'), order)


def _read_old(path: str, content: bytes) -> dict[str, np.ndarray]:
    stream, contents = io.BytesIO(content), {}
    if _load(path, stream)[0] != _MAGIC:
        raise ValueError('it is a pickle, but not of torch.save')
    _, _, (loaded, storages), (keys, _) = (_load(path, stream) for _ in range(4))
    tensors = _tensors_of(path, loaded)
    for key in keys:
        (count,) = struct.unpack('<q', stream.read(8))
        size = count * np.dtype(_DTYPES[storages[key].type]).itemsize
        contents[key] = memoryview(content)[stream.tell() :][:size]
        stream.seek(size, os.SEEK_CUR)
    # PyTorch wrote this order on any machine, whatever its facts of the machine say.
    return _arrays(tensors, contents.__getitem__, 'little')


def _load(path: str, stream: io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    """Load the next pickle of a stream; also the storages that it refers to."""
    check_memos(stream)
    unpickler = _Unpickler(path, stream)
    return unpickler.load(), unpickler.storages


def check_memos(stream: BinaryIO) -> None:
    """Raises ValueError if the next pickle makes its unpickler reserve memory for many objects."""
    start = stream.tell()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ('PUT', 'LONG_BINPUT') and int(argument or 0) > _MOST_MEMOS:
            raise ValueError(f'its pickle counts {argument} objects')
    stream.seek(start)


def _tensors_of(path: str, loaded: Any) -> Mapping[str, _Tensor]:
    """The entries of a state dictionary; UserError if one is not a plain tensor with a name."""
    kind = type(loaded).__name__.lstrip('_')
    entries: Mapping[Any, Any] = loaded if isinstance(loaded, Mapping) else {kind: None}
    remedy = 'give the state dictionary of one network'
    if other := [str(name) for name, value in entries.items() if not isinstance(value, _Tensor)]:
        problem = f'{path} holds something other than tensors: {", ".join(other)}'
        raise UserError(problem, remedy)
    if other := [repr(name) for name in entries if not isinstance(name, str)]:
        raise UserError(f'{path} has tensors without a name: {", ".join(other)}', remedy)
    for name, tensor in entries.items():
        if tensor.type not in _DTYPES:
            problem = f'{path}: the tensor {name} is not a plain array of numbers ({tensor.type})'
            raise UserError(problem, 'save it dense, on the CPU, as float32')
    return entries


def _arrays(
    tensors: Mapping[str, _Tensor], content_of: Callable[[str], _Content], order: str
) -> dict[str, np.ndarray]:
    """The arrays of tensors from the contents of storages by their keys."""
    views = {
        name: _view(name, tensor, content_of(tensor.storage.key), order)
        for name, tensor in tensors.items()
    }
    if (size := sum(view.nbytes for view in views.values())) > MOST_BYTES:
        raise ValueError(f'its tensors have {size} bytes, more than the limit of {MOST_BYTES}')
    return {name: view.copy() for name, view in views.items()}


def _view(name: str, tensor: _Tensor, content: _Content, order: str) -> np.ndarray:
    """The numbers of a tensor within its storage."""
    numbers = np.frombuffer(content, _DTYPES[tensor.type])
    numbers = numbers if order == sys.byteorder else numbers.byteswap()
    _, _, offset, shape, strides = tensor
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or (all(shape) and last >= len(numbers)):
        raise ValueError(f'the tensor {name} reaches beyond its storage')
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps)
