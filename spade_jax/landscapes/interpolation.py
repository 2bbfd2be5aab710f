"""Interpolation between values, in tables and over image blocks."""

from __future__ import annotations

import numpy as np


def mix(start, end, amount):
    """`start` where the amount is 0, `end` where it is 1; broadcasts."""
    change = amount * (end - start)
    change += start
    return change


def smoothstep(x: np.ndarray, low, high) -> np.ndarray:
    """0 below `low`, 1 above `high`, with zero slope at both; broadcasts."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def periodic_cells(values: np.ndarray) -> np.ndarray:
    """Prepare a periodic table [K, K] for `bilinear`.

    Returns:
      [K * K, 4]: each value, its step to the right, the value below, and the step there. One lookup
      fetches all four, and the differences are computed once.
    """
    below = np.roll(values, -1, axis=0)
    step, step_below = (np.roll(row, -1, axis=1) - row for row in (values, below))
    return np.stack([values, step, below, step_below], axis=-1).reshape(-1, 4)


def bilinear(cells: np.ndarray, index: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate within cells of `periodic_cells`.

    Args:
      cells: [K * K, 4].
      index: Index of the cells, any shape.
      x: Place in the cell from the left, [0, 1]; broadcasts to the shape of index.
      y: Place in the cell from the top, [0, 1]; broadcasts to the shape of index.

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
    """Means over 2x2 blocks of the last two axes, whose sizes are even."""
    upper, lower = image[..., ::2, :], image[..., 1::2, :]
    return (upper[..., ::2] + lower[..., ::2] + upper[..., 1::2] + lower[..., 1::2]) / 4
