"""Between two values: steps, mixtures, tables and halved images."""

from __future__ import annotations

import numpy as np


def mix(start, end, amount):
    """`start` where amount is 0, `end` where it is 1; broadcasts."""
    change = amount * (end - start)
    change += start
    return change


def smoothstep(x: np.ndarray, low, high) -> np.ndarray:
    """0 below `low`, 1 above `high`, with level ends; broadcasts."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def periodic_cells(values: np.ndarray) -> np.ndarray:
    """A table [K, K] that repeats itself, as `bilinear` reads it: [K * K, 4], each value, its step to the right, the value below and the step there.

    Four numbers side by side come with one look into memory, and their differences are taken once.
    """
    below = np.roll(values, -1, axis=0)
    return np.stack(
        [values, np.roll(values, -1, axis=1) - values, below, np.roll(below, -1, axis=1) - below],
        axis=-1,
    ).reshape(-1, 4)


def bilinear(cells: np.ndarray, index: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolates within cells of `periodic_cells`.

    Args:
      index: of the cells, any shape.
      x, y: places in the cells from the left and from the top, [0, 1]; they broadcast to the shape of index.

    Returns:
      float32 of the shape of index.
    """
    value, step, value_below, step_below = np.moveaxis(cells.take(index, axis=0), -1, 0)
    top, bottom = np.empty(index.shape, np.float32), np.empty(index.shape, np.float32)
    np.add(value, step * x, out=top)
    np.add(value_below, step_below * x, out=bottom)
    bottom -= top
    bottom *= y
    top += bottom
    return top


def halve(image: np.ndarray) -> np.ndarray:
    """Means over 2x2 blocks of the last two axes, which are even."""
    return (
        image[..., ::2, ::2]
        + image[..., 1::2, ::2]
        + image[..., ::2, 1::2]
        + image[..., 1::2, 1::2]
    ) / 4
