"""State dictionaries (name -> array) in files: PyTorch's .pth, NumPy's .npz, and .safetensors.

No reader runs code from a file: pickles are restricted to tensors and plain containers, object
arrays are rejected.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from spade_jax.errors import UserError, require_extra, user_errors
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.torch_files import read_tensors
from spade_jax.files.whole_file import require_bounded

FORMATS = ('pth', 'npz', 'safetensors')
# PyTorch's entry next to running statistics; nothing here depends on it.
BATCH_COUNT = 'num_batches_tracked'
_CONTROL = re.compile(rb'[^\t\n\r\x20-\xff]')  # No text has these characters.


def read_state(path: str) -> dict[str, np.ndarray]:
    """Read the arrays of a file; the extension selects the format, PyTorch's by default.

    float16 and bfloat16 are widened to float32, which is exact. The byte order becomes native.

    Raises:
      UserError: The file cannot be read or holds something other than arrays of numbers.
    """
    extension = os.path.splitext(path)[1]
    kind = {'.npz': '.npz file of plain arrays', '.safetensors': '.safetensors file'}.get(extension)
    problem = f'{path} is not a readable {kind or "PyTorch state dictionary of plain tensors"}'
    with user_errors(problem, 'make or download it again'):
        require_bounded(path)
        _reject_text(path)
        match extension:
            case '.npz':
                with np.load(path, allow_pickle=False) as file:
                    state = dict(file)
            case '.safetensors':
                from safetensors.numpy import load_file

                state = load_file(path)
            case _:
                state = read_tensors(path)
    return {name: _plain_array(f'{path}: {name}', array) for name, array in state.items()}


def write_state(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Write arrays atomically, in the format that the extension of `path` selects."""
    write_states([(path, state)])


def write_states(states: Iterable[tuple[str, Mapping[str, np.ndarray]]]) -> None:
    """Write the arrays of several files: all of them, or none when one cannot be written."""
    with contextlib.ExitStack() as stack:
        for path, state in states:
            remedy = 'make room on the disk or choose another directory, and run the command again'
            with user_errors(f'{path} cannot be written', remedy):
                _write(stack.enter_context(atomic_write(path)), state)


def _write(path: str, state: Mapping[str, np.ndarray]) -> None:
    arrays: dict[str, Any] = {name: np.array(array, order='C') for name, array in state.items()}
    match os.path.splitext(path)[1]:
        case '.npz':
            np.savez(path, **arrays)
        case '.safetensors':
            from safetensors.numpy import save_file

            save_file(arrays, path)
        case _:
            torch = import_torch(path)
            torch.save({n: torch.from_numpy(a) for n, a in arrays.items()}, path)


def import_torch(path: str) -> Any:
    """Import PyTorch, which writes the file at `path`.

    Raises:
      UserError: PyTorch is not installed.
    """
    require_extra('torch', f'{path}: writing .pth', 'use --torch_format=npz or safetensors')
    import torch  # pyright: ignore[reportMissingImports]

    return torch


def _reject_text(path: str) -> None:
    """Raises ValueError for what is saved when a download fails: a page, a message, a pointer."""
    with open(path, 'rb') as file:
        start = file.read(256).strip()
    if start and not _CONTROL.search(start):
        what = 'an HTML or XML page' if start.startswith(b'<') else 'a text'
        raise ValueError(f'it is {what}: {start.decode("utf-8", "replace")[:40]} ...')


def _plain_array(place: str, array: Any) -> np.ndarray:
    """An array of native numbers; UserError for anything else, e.g. the text of a zip member."""
    if not isinstance(array, np.ndarray):
        raise UserError(f'{place} is not an array', 'give a file of arrays alone')
    if array.dtype.name in ('float16', 'bfloat16'):
        return array.astype(np.float32)
    if array.dtype.kind not in 'biuf':
        raise UserError(f'{place} is of the type {array.dtype}', 'save it as float32')
    return array.astype(array.dtype.newbyteorder('='), copy=False)
