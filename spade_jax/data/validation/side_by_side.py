"""Recognize pairs in one file, as for pix2pix: a condition and a photo side by side."""

import contextlib
from collections.abc import Sequence

import numpy as np

from spade_jax.data.files.image_files import read_photo
from spade_jax.errors import UserError
from spade_jax.files.image_grid import evenly_spaced

_FILES_READ = 8
_SEAM = 3  # Times the usual difference of two columns; and more than of 95 % of them.


def are_pairs(paths: Sequence[str]) -> bool:
    """Return whether all of some files can be read and have a seam down their middle."""
    with contextlib.suppress(UserError):
        return bool(paths) and all(_has_seam(path) for path in evenly_spaced(paths, _FILES_READ))
    return False


def are_single(paths: Sequence[str]) -> bool:
    """Return whether none of some files has a seam down its middle, as a pair would."""
    with contextlib.suppress(UserError):
        return bool(paths) and not any(
            _has_seam(path) for path in evenly_spaced(paths, _FILES_READ)
        )
    return False


def _has_seam(path: str) -> bool:
    pixels = read_photo(path).astype(np.int16)
    width = pixels.shape[1]
    differences = np.abs(np.diff(pixels, axis=1)).mean((0, 2))  # [W - 1]
    if width % 2 or width < 4:
        return False
    seam, usual = differences[width // 2 - 1], np.quantile(differences, (0.5, 0.95))
    return bool(seam > _SEAM * usual[0] and seam > usual[1])
