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
from spade_jax.files.whole_file import require_bounded

FORMATS = ('pth', 'npz', 'safetensors')
# PyTorch's entry next to running statistics; nothing here depends on it.
BATCH_COUNT = 'num_batches_tracked'


def read_state(path: str) -> dict[str, np.ndarray]:
    """Read the arrays of a file; the extension selects the format, PyTorch's by default.

    float16 and bfloat16 are widened to float32, which is exact.

    Raises:
      UserError: The file cannot be read or holds something other than arrays, or its format needs
        a package that is not installed.
    """
    damaged, remedy = f'{path} is not a readable', 'make or download it again'
    with user_errors(f'{damaged} file of weights', remedy):
        require_bounded(path)
    match os.path.splitext(path)[1]:
        case '.npz':
            with user_errors(f'{damaged} .npz file of plain arrays', remedy):
                state = dict(np.load(path, allow_pickle=False))
        case '.safetensors':
            from safetensors.numpy import load_file

            with user_errors(f'{damaged} .safetensors file', remedy):
                state = load_file(path)
        case _:
            torch = import_torch(path, 'reading')
            with user_errors(f'{damaged} PyTorch state dictionary of plain tensors', remedy):
                loaded = torch.load(path, map_location='cpu', weights_only=True)
            state = _tensors_to_numpy(path, loaded, torch)
    for name, array in state.items():
        if array.dtype.name in ('float16', 'bfloat16'):
            state[name] = array.astype(np.float32)
    return state


def write_state(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Write arrays atomically, in the format that the extension of `path` selects."""
    arrays: dict[str, Any] = {name: np.array(array, order='C') for name, array in state.items()}
    parent = os.path.dirname(os.path.abspath(path))
    # np.savez changes a name that lacks its extension, so the temporary file keeps the name.
    with tempfile.TemporaryDirectory(dir=parent, prefix='.writing_') as directory:
        unfinished = os.path.join(directory, os.path.basename(path))
        match os.path.splitext(path)[1]:
            case '.npz':
                np.savez(unfinished, **arrays)
            case '.safetensors':
                from safetensors.numpy import save_file

                save_file(arrays, unfinished)
            case _:
                torch = import_torch(path, 'writing')
                torch.save({n: torch.from_numpy(a) for n, a in arrays.items()}, unfinished)
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


def _tensors_to_numpy(path: str, state: Any, torch: Any) -> dict[str, np.ndarray]:
    entries: Mapping[str, Any] = (
        state if isinstance(state, Mapping) else {type(state).__name__: None}
    )
    if other := [str(name) for name, value in entries.items() if not torch.is_tensor(value)]:
        problem = f'{path} holds something other than tensors: {", ".join(other)}'
        raise UserError(problem, 'give the state dictionary of one network')
    # NumPy has no bfloat16.
    widened = {n: t.float() if t.dtype == torch.bfloat16 else t for n, t in entries.items()}
    return {name: tensor.detach().numpy() for name, tensor in widened.items()}
