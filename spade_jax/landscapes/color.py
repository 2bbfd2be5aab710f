"""Display color, light and reflectance. Single colors are [3, 1] float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spade_jax.landscapes.interpolation import mix

EXPOSURE = 1.4


def develop(light: np.ndarray) -> np.ndarray:
    """Convert light to display color in [0, 1]; the exponential compresses highlights."""
    return np.sqrt(1 - np.exp(-EXPOSURE * np.maximum(light, 0)))


def radiance(display: np.ndarray) -> np.ndarray:
    """Convert display color to light, the inverse of `develop`.

    Colors are clipped to 0.95, since the light of 1 is infinite.
    """
    return -np.log1p(-np.square(display.clip(0, 0.95))) / EXPOSURE


def reflectance(*rgb: float) -> np.ndarray:
    """The linear reflectance [3, 1] of a display color in 0..255, with a gamma of 2."""
    return ((np.asarray(rgb, np.float32) / 255) ** 2)[:, None]


def along_stops(stops: Sequence[np.ndarray], amount: float) -> np.ndarray:
    """The color [3, 1] at `amount` in [0, 1] along equally spaced stops."""
    place = amount * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    return mix(stops[low], stops[low + 1], np.float32(place - low))
