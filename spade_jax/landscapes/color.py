"""Display color and light."""

import numpy as np

_EXPOSURE = 1.4


def develop(light: np.ndarray) -> np.ndarray:
    """Convert light to display color in [0, 1]; the exponential compresses highlights."""
    return np.sqrt(1 - np.exp(-_EXPOSURE * np.maximum(light, 0)))


def radiance(display: np.ndarray) -> np.ndarray:
    """The inverse of `develop`. Colors are clipped to 0.95, since the light of 1 is infinite."""
    return -np.log1p(-np.square(display.clip(0, 0.95))) / _EXPOSURE
