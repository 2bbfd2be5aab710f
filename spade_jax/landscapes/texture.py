"""Fractal noise read from a mipmapped tile: the surfaces of things, cheap enough for every pixel."""

from __future__ import annotations

import functools
import math

import numpy as np

from spade_jax.landscapes.interpolation import bilinear, halve, periodic_cells, smoothstep
from spade_jax.landscapes.random_state import Stream, random_state

_CELLS = 8  # Coarsest features along a side of the tile.
_SIZE = 512  # Texels along a side, a power of two: places wrap with a mask.
_LEVELS = 6
_OCTAVES = 6
_CHUNK = 8192  # Pixels whose working arrays stay in the cache.


def texture(x: np.ndarray, y: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Fractal noise of zero mean and unit variance.

    Args:
      x, y: places in units of the coarsest feature; any shape, the same for all arguments.
      footprint: the size of a pixel in that unit. It picks the mip level, one for each chunk of pixels in row order: rows are of like distance.

    Returns:
      float32 of the shape of x.
    """
    shape = x.shape
    x, y, footprint = x.ravel(), y.ravel(), footprint.ravel()
    noise = np.empty(x.size, np.float32)
    for start in range(0, x.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        noise[chunk] = _sample(_level(float(footprint[chunk].mean())), x[chunk], y[chunk])
    return noise.reshape(shape)


def _level(footprint: float) -> int:
    """The mip level whose texels are about as large as a pixel."""
    level = math.log2(max(footprint, 1e-6) * (_SIZE / _CELLS)) + 0.5
    return int(min(max(level, 0), _LEVELS - 1))


def _sample(level: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear lookup of one mip level at 1-D x, y."""
    size = _SIZE >> level
    x, y = x * np.float32(size / _CELLS), y * np.float32(size / _CELLS)
    x0, y0 = np.floor(x), np.floor(y)
    x -= x0
    y -= y0
    cell = (y0.astype(np.int32) & (size - 1)) * size + (x0.astype(np.int32) & (size - 1))
    return bilinear(_tile()[level], cell.astype(np.intp), x, y)


@functools.cache
def _tile() -> tuple[np.ndarray, ...]:
    """The cells of the periodic tile's mip levels; level l has 512 >> l rows and columns."""
    rng = random_state(Stream.TEXTURE_TILE, 0)
    total = np.zeros((_SIZE, _SIZE), np.float32)
    for octave in range(_OCTAVES):
        total += 0.6**octave * _periodic_noise(rng, _CELLS << octave)
    total /= total.std()
    levels = [total]
    for _ in range(_LEVELS - 1):
        levels.append(halve(levels[-1]))
    return tuple(map(periodic_cells, levels))


def _periodic_noise(rng: np.random.RandomState, cells: int) -> np.ndarray:
    """One octave of the tile [512, 512]: random values at `cells` x `cells` places, joined smoothly."""
    values = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    place = np.arange(_SIZE) * cells / _SIZE
    low = place.astype(int)
    high = (low + 1) % cells
    weight = smoothstep(place - low, 0, 1).astype(np.float32)
    values = values[low] * (1 - weight[:, None]) + values[high] * weight[:, None]  # [512, cells]
    return values[:, low] * (1 - weight) + values[:, high] * weight
