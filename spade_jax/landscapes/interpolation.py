"""Interpolation between values, in periodic tables and over image blocks."""

from collections.abc import Callable

import numpy as np


def mix(start, end, amount):
    """`start` where the amount is 0, `end` where it is 1; broadcasts."""
    return amount * (end - start) + start


def smoothstep(x: np.ndarray, low, high) -> np.ndarray:
    """0 below `low`, 1 above `high`, with zero slope at both; broadcasts."""
    t = ((x - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def periodic_cells(values: np.ndarray) -> np.ndarray:
    """Prepare a periodic table [K, K] for `bilinear`, which then needs one lookup.

    Cells [K, K, 4] have a value, its step to the right, and both below; K is a power of two.
    """
    below = np.roll(values, -1, axis=0)
    step, step_below = (np.roll(row, -1, axis=1) - row for row in (values, below))
    return np.stack([values, step, below, step_below], axis=-1)


def bilinear(cells: np.ndarray, x: np.ndarray, y: np.ndarray, ease: Callable | None = None):
    """Interpolate in `periodic_cells` at x, y, which broadcast; `ease` bends weights in [0, 1]."""
    x0, y0 = np.floor(x), np.floor(y)
    row, column = (low.astype(np.int32) & (len(cells) - 1) for low in (y0, x0))
    index = (row * len(cells) + column).astype(np.intp)
    x, y = (x - x0, y - y0) if ease is None else (ease(x - x0), ease(y - y0))
    value, step, below, step_below = np.moveaxis(cells.reshape(-1, 4).take(index, axis=0), -1, 0)
    return mix(value + step * x, below + step_below * x, y)


def halve(image: np.ndarray) -> np.ndarray:
    """Means over 2x2 blocks of the last two axes, whose sizes are even."""
    upper, lower = image[..., ::2, :], image[..., 1::2, :]
    return (upper[..., ::2] + lower[..., ::2] + upper[..., 1::2] + lower[..., 1::2]) / 4


def set_columns(planes: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    """`planes[:, at] = values`, plane by plane, which takes a third of the time."""
    for plane, row in zip(planes, values, strict=True):
        plane[at] = row
