"""State dictionaries (name -> array) in files: PyTorch's .pth, NumPy's .npz, and .safetensors.

No reader runs code from a file: pickles are restricted to tensors and plain containers, object
arrays are rejected.
"""

import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from spade_jax.errors import UserError, user_errors

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
    for name, array in state.items():
        if array.dtype.name in ('float16', 'bfloat16'):
            state[name] = array.astype(np.float32)
    return state


def write_state(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Write arrays atomically, in the format that the extension of `path` selects."""
    writers = {'.npz': _write_npz, '.safetensors': _write_safetensors}
    write = writers.get(os.path.splitext(path)[1], _write_pth)
    arrays = {name: np.array(array, order='C') for name, array in state.items()}
    parent = os.path.dirname(os.path.abspath(path))
    # np.savez changes a name that lacks its extension, so the temporary file keeps the name.
    with tempfile.TemporaryDirectory(dir=parent, prefix='.writing_') as directory:
        unfinished = os.path.join(directory, os.path.basename(path))
        write(unfinished, arrays)
        os.replace(unfinished, path)


def import_torch(path: str, doing: str) -> Any:
    """Import PyTorch, which `doing` ('reading' or 'writing') the file at `path` needs.

    Raises:
      UserError: PyTorch is not installed.
    """
    problem = f"{path}: {doing} PyTorch's format needs PyTorch"
    with user_errors(problem, 'pip install torch, or use .npz or .safetensors files'):
        import torch  # pyright: ignore[reportMissingImports]
    return torch


def _readable(path: str, kind: str):
    """Turn the exception of a library for a damaged file into a UserError."""
    return user_errors(f'{path} is not a readable {kind}', 'make or download it again')


def _read_npz(path):
    with _readable(path, '.npz file of plain arrays'), np.load(path, allow_pickle=False) as file:
        return dict(file)


def _read_safetensors(path):
    from safetensors.numpy import load_file

    with _readable(path, '.safetensors file'):
        return load_file(path)


def _read_pth(path):
    torch = import_torch(path, 'reading')
    with _readable(path, 'PyTorch state dictionary of plain tensors'):
        state = torch.load(path, map_location='cpu', weights_only=True)
    entries = state if isinstance(state, Mapping) else {type(state).__name__: None}
    if other := [str(name) for name, value in entries.items() if not torch.is_tensor(value)]:
        problem = f'{path} holds something other than tensors: {", ".join(other)}'
        raise UserError(problem, 'give the state dictionary of one network')
    # NumPy has no bfloat16.
    widened = {name: t.float() if t.dtype == torch.bfloat16 else t for name, t in entries.items()}
    return {name: tensor.detach().numpy() for name, tensor in widened.items()}


def _write_npz(path, state):
    np.savez(path, **state)


def _write_safetensors(path, state):
    from safetensors.numpy import save_file

    save_file(state, path)


def _write_pth(path, state):
    torch = import_torch(path, 'writing')
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
