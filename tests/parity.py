"""Golden numbers of the reference implementation: random weights in, what it computed out.

The files in `tests/golden` are a small set; with the environment variable SPADE_JAX_PARITY_DIR naming a directory of more such files, the tests run
over all of those instead.
"""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
from flax import traverse_util

DIRECTORY = pathlib.Path(
    os.environ.get('SPADE_JAX_PARITY_DIR', pathlib.Path(__file__).parent / 'golden')
)
COMPARED: list[
    tuple[str, float, float]
] = []  # (what, largest error, scale of the expected array) of every comparison, for the summary of a test run
NORMS = {'syncbatch': 'sync_batch', 'batch': 'batch', 'instance': 'instance'}


def cases(prefix: str) -> list[str]:
    """Names of the golden files that begin with `prefix`; for parametrised tests."""
    found = sorted(path.stem for path in DIRECTORY.glob(f'{prefix}*.npz'))
    assert found, f'no golden numbers {prefix}* in {DIRECTORY}'
    return found


class Golden:
    """One golden file: its arrays with channels last, its options, and the tolerance of each array."""

    def __init__(self, name: str):
        with np.load(DIRECTORY / f'{name}.npz') as file:
            self.arrays = dict(file)
        self.meta = json.loads(str(self.arrays.pop('meta')))

    def __getitem__(self, key: str) -> np.ndarray:
        """The array `key`; pictures and features as [B, H, W, C]."""
        array = self.arrays[key]
        return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    @property
    def options(self) -> dict:
        return self.meta['options']

    @property
    def norm(self) -> str:
        """The normalisation inside SPADE, by our name."""
        config = self.meta.get('config') or self.options['norm_G']
        return NORMS[config.replace('spectral', '').replace('spade', '').rstrip('x0123456789')]

    def state(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays below `prefix`, by the names of the reference."""
        return {
            key[len(prefix) + 1 :]: array
            for key, array in self.arrays.items()
            if key.startswith(prefix + '/')
        }

    def tolerance(self, key: str) -> float:
        """20 times the rounding noise of the reference itself, or 1e-4 of the array's scale."""
        scale = float(np.abs(self.arrays[key]).max()) if key in self.arrays else 0.0
        return max(20 * self.meta['noise'].get(key, 0.0), 1e-4 * scale, 1e-7)

    def check(self, actual, key: str) -> None:
        """Asserts that `actual` is the array `key`."""
        assert_close(actual, self[key], self.tolerance(key), key)


def assert_close(actual, expected, tolerance: float, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (
        f'{what}: shape {actual.shape}, expected {expected.shape}'
    )
    error = float(np.abs(actual - expected).max())
    COMPARED.append((what, error, float(np.abs(expected).max())))
    assert error <= tolerance, f'{what}: off by {error:.3g}, tolerance {tolerance:.3g}'


def assert_trees_close(actual: dict, expected: dict, tolerance, what: str = '') -> None:
    """Compares the leaves that `expected` has; all of them must exist. `tolerance`: of (path, expected array), or a number."""
    actual, expected = (traverse_util.flatten_dict(tree, sep='/') for tree in (actual, expected))
    assert expected, f'{what}: nothing to compare'
    for path, array in expected.items():
        limit = tolerance(path, array) if callable(tolerance) else tolerance
        assert_close(actual[path], array, limit, f'{what} {path}')


def relative(factor: float = 1e-4, absolute: float = 1e-6):
    """A tolerance for `assert_trees_close`: a share of each array's scale."""
    return lambda path, array: max(factor * float(np.abs(array).max()), absolute)
