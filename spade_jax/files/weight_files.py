"""State dictionaries (name -> array) in files: PyTorch's .pth, NumPy's .npz, and .safetensors.

No reader runs code from a file: pickles are restricted to tensors and plain containers, object
arrays are rejected.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from spade_jax.errors import UserError

FORMATS = ('pth', 'npz', 'safetensors')


def read_state(path: str) -> dict[str, np.ndarray]:
    """Read the arrays of a file; the extension selects the format, PyTorch's by default.

    float16 and bfloat16 are widened to float32, which is exact.

    Raises:
      UserError: The file cannot be read or holds something other than arrays, or its format needs
        a package that is not installed.
    """
    readers = {'.npz': _read_npz, '.safetensors': _read_safetensors}
    state = readers.get(os.path.splitext(path)[1], _read_pth)(path)
    return {
        name: array.astype(np.float32) if array.dtype.name in ('float16', 'bfloat16') else array
        for name, array in state.items()
    }


def write_state(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Write arrays atomically, in the format that the extension of `path` selects."""
    writers = {'.pth': _write_pth, '.npz': _write_npz, '.safetensors': _write_safetensors}
    write = writers[os.path.splitext(path)[1]]
    state = {name: np.array(array, order='C') for name, array in state.items()}
    parent = os.path.dirname(os.path.abspath(path))
    # np.savez changes a name that lacks its extension, so the temporary file keeps the name.
    with tempfile.TemporaryDirectory(dir=parent, prefix='.writing_') as directory:
        unfinished = os.path.join(directory, os.path.basename(path))
        write(unfinished, state)
        os.replace(unfinished, path)


def import_torch(path: str, doing: str) -> Any:
    """Import PyTorch.

    Args:
      path: The file for which it is needed.
      doing: 'reading' or 'writing', for the message.

    Raises:
      UserError: PyTorch is not installed.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"{path}: {doing} PyTorch's format needs PyTorch",
            'pip install torch, or use .npz or .safetensors files of the same names',
        ) from error
    return torch


def _read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:
        raise _unreadable(path, '.npz file of plain arrays', error) from error


def _read_safetensors(path):
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise _unreadable(path, '.safetensors file', error) from error


def _read_pth(path):
    torch = import_torch(path, 'reading')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        kind = 'PyTorch state dictionary of plain tensors'
        raise _unreadable(path, kind, error) from error
    if isinstance(state, Mapping):
        other = [str(name) for name, value in state.items() if not torch.is_tensor(value)]
    else:
        other = [type(state).__name__]
    if other:
        raise UserError(
            f'{path} holds something other than tensors: {", ".join(other)}',
            'give the state dictionary of one network',
        )
    return {name: _to_numpy(tensor.detach(), torch) for name, tensor in state.items()}


def _to_numpy(tensor, torch):
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _unreadable(path: str, kind: str, error: Exception) -> UserError:
    """The error for a damaged file, with the first line of what the library says."""
    lines = str(error).splitlines()
    reason = f'{type(error).__name__}: {lines[0][:120]}' if lines else type(error).__name__
    return UserError(f'{path} is not a readable {kind} ({reason})', 'make or download it again')


def _write_npz(path, state):
    np.savez(path, **state)


def _write_safetensors(path, state):
    from safetensors.numpy import save_file

    save_file(state, path)


def _write_pth(path, state):
    torch = import_torch(path, 'writing')
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
