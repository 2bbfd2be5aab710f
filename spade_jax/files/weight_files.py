"""State dictionaries (name -> array) in files: PyTorch's .pth, NumPy's .npz, and .safetensors.

None of the three readers runs code that a file brings: pickles are restricted to tensors and plain containers, object arrays are refused.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

import numpy as np

from spade_jax.errors import UserError

FORMATS = ('pth', 'npz', 'safetensors')


def read_state(path: str) -> dict[str, np.ndarray]:
    """The arrays of a file, by the format that its ending names; without ending, PyTorch's.

    Numbers of half precision come as float32, which holds them exactly.

    Raises:
      UserError: the file cannot be read, holds something else than arrays, or its format needs a package that is not installed.
    """
    read = {'.npz': _read_npz, '.safetensors': _read_safetensors}.get(
        os.path.splitext(path)[1], _read_pth
    )
    state = read(path)
    return {
        name: array.astype(np.float32) if array.dtype.name in ('float16', 'bfloat16') else array
        for name, array in state.items()
    }


def write_state(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Writes arrays in the format that the ending of `path` names. What was there before is replaced only by a whole file."""
    write = {'.pth': _write_pth, '.npz': _write_npz, '.safetensors': _write_safetensors}[
        os.path.splitext(path)[1]
    ]
    state = {name: np.array(array, order='C') for name, array in state.items()}
    with tempfile.TemporaryDirectory(
        dir=os.path.dirname(os.path.abspath(path)), prefix='.writing_'
    ) as directory:
        unfinished = os.path.join(directory, os.path.basename(path))
        write(unfinished, state)
        os.replace(unfinished, path)


def import_torch(path: str, doing: str):
    """PyTorch, or the error that says what to do without it."""
    try:
        import torch
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
        raise UserError(
            f'{path} is not a readable .npz file of plain arrays ({_reason(error)})',
            'make or download it again',
        ) from error


def _read_safetensors(path):
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except Exception as error:
        raise UserError(
            f'{path} is not a readable .safetensors file ({_reason(error)})',
            'make or download it again',
        ) from error


def _read_pth(path):
    torch = import_torch(path, 'reading')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise UserError(
            f'{path} is not a readable PyTorch state dictionary of plain tensors ({_reason(error)})',
            'make or download it again',
        ) from error
    other = (
        [str(name) for name, value in state.items() if not isinstance(value, torch.Tensor)]
        if isinstance(state, Mapping)
        else [type(state).__name__]
    )
    if other:
        raise UserError(
            f'{path} holds something else than tensors: {", ".join(other)}',
            'give the state dictionary of one network',
        )
    return {name: _array(tensor.detach(), torch) for name, tensor in state.items()}


def _array(tensor, torch):
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _reason(error):
    """Kind and first words of an error of a reading library, some of which write paragraphs."""
    text = str(error).splitlines()
    return f'{type(error).__name__}: {text[0][:120]}' if text else type(error).__name__


def _write_npz(path, state):
    np.savez(path, **state)


def _write_safetensors(path, state):
    from safetensors.numpy import save_file

    save_file(state, path)


def _write_pth(path, state):
    torch = import_torch(path, 'writing')
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
