"""What a PyTorch file would execute when it is loaded, found without PyTorch or loading it."""

import collections
import io
import itertools
import pickletools
import re
import zipfile
from collections.abc import Iterator
from typing import IO

# What the tensors of a state dictionary are made of.
_PLAIN = re.compile(
    r'collections\.OrderedDict|__builtin__\.(set|long)'
    r'|torch\.(\w+|(_utils|_tensor)\._rebuild_\w+|(storage|serialization|nn\.parameter)\.\w+)'
)
_NUM_PICKLES = 5  # Of the format before PyTorch 1.6: header, objects, keys; then the numbers.


def foreign_names(path: str) -> list[str]:
    """The classes and functions of a PyTorch file that plain tensors do not need, in its order.

    Raises:
      ValueError, zipfile.BadZipFile: It has no pickle, or is damaged.
    """
    with open(path, 'rb') as file:
        names = [_names(pickle) for pickle in _pickles(file)]
    if not names:
        raise ValueError('it is neither a pickle nor a zip archive with one')
    distinct = dict.fromkeys(itertools.chain(*names))
    return [name for name in distinct if not _PLAIN.fullmatch(name)]


def _pickles(file: io.BufferedReader) -> Iterator[IO[bytes]]:
    """Each pickle of a file, to be read before the next one."""
    if file.peek(2)[:2] == b'PK':
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith('.pkl'):
                    with archive.open(name) as member:
                        yield member
        return
    for _ in range(_NUM_PICKLES):
        if file.peek(1)[:1] == b'\x80':
            yield file


def _names(pickle: IO[bytes]) -> list[str]:
    """What one pickle imports."""
    names, strings = [], collections.deque(maxlen=2)
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in ('GLOBAL', 'INST'):
            names.append(str(argument).replace(' ', '.'))
        elif opcode.name == 'STACK_GLOBAL':  # Module and name are on the stack.
            names.append('.'.join(strings))
        elif isinstance(argument, str):
            strings.append(argument)
    return names
