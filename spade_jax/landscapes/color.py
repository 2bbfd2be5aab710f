"""Display colour, light and reflectance. Single colours are [3, 1] float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spade_jax.landscapes.interpolation import mix

EXPOSURE = 1.4


def develop(light: np.ndarray) -> np.ndarray:
    """Light to display colour in [0, 1]; the exponential rolls highlights off softly."""
    return np.sqrt(1 - np.exp(-EXPOSURE * np.maximum(light, 0)))


def radiance(display: np.ndarray) -> np.ndarray:
    """The light that `develop` shows as this display colour in [0, 1]; held under 0.95, where the light needed runs off to infinity."""
    return -np.log1p(-np.square(display.clip(0, 0.95))) / EXPOSURE


def reflectance(*rgb: float) -> np.ndarray:
    """The linear reflectance [3, 1] of a display colour in 0..255; squaring stands for the display's gamma."""
    return ((np.asarray(rgb, np.float32) / 255) ** 2)[:, None]


def along_stops(stops: Sequence[np.ndarray], amount: float) -> np.ndarray:
    """The colour [3, 1] at `amount` in [0, 1] along equally spaced stops."""
    place = amount * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    return mix(stops[low], stops[low + 1], np.float32(place - low))
