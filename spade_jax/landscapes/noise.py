"""Fractal noise: value noise for the shape of the terrain, a mipmapped tile for its surface."""

import functools
import math
from collections.abc import Iterator

import numpy as np

from spade_jax.landscapes.interpolation import bilinear, halve, periodic_cells, smoothstep
from spade_jax.landscapes.random_state import Stream, random_state

_TILE_CELLS = 8  # Coarsest features along a side of the tile.
_TILE_SIZE = 512  # Texels along a side, a power of two.
_LEVELS = 6
_OCTAVES = 6
_CHUNK = 8192  # Pixels whose working arrays stay in the cache.


def value_noise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Twice differentiable noise in [-1, 1] with features of unit size and period 256."""
    return bilinear(_lattice(), x, y, ease=_quintic)


def fractal(x: np.ndarray, y: np.ndarray, octaves: int, spacing: np.ndarray) -> np.ndarray:
    """A sum of octaves of value noise [D, W], about [-1, 1], each half as large and strong.

    x, [D, W], and y, [D, W] or [D, 1], are in units of the coarsest features, as is the distance
    between samples, `spacing` [D, 1]: octaves finer than twice the spacing fade out.
    """
    total = np.zeros(x.shape, np.float32)
    for noise, weight in _visible_octaves(x, y, octaves, spacing):
        total[: len(noise)] += noise * weight
    return total


def ridged_fractal(x: np.ndarray, y: np.ndarray, octaves: int, spacing: np.ndarray) -> np.ndarray:
    """As `fractal`, about [0, 1], with sharp crests, rough summits and smooth valleys."""
    total = np.zeros(x.shape, np.float32)
    carry = np.ones((len(x), 1), np.float32)
    for octave, (noise, weight) in enumerate(_visible_octaves(x, y, octaves, spacing)):
        carry = carry[: len(noise)]
        if octave < 2:
            # Crests are round enough for the steps of the trace.
            noise = (1.1 - np.sqrt(noise * noise + 0.04)) ** 2 * carry
            carry = (noise * 1.6).clip(0, 1)
        else:
            noise = 0.45 * noise * carry
        total[: len(noise)] += noise * weight
    return total


def _visible_octaves(x, y, octaves: int, spacing) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The noise [D', W] and weight [D', 1] of each octave, without rows where it has faded out.

    Small images are traced in large steps: at 64x64 this skips a quarter of the rows.
    """
    for octave in range(octaves):
        fade = smoothstep(2.0**-octave / spacing, 1.5, 3.0)
        visible = 1 + int(np.flatnonzero(fade).max(initial=-1))
        x, y, spacing = x[:visible], y[:visible], spacing[:visible]
        yield value_noise(x, y), 0.5 ** (octave + 1) * fade[:visible]
        # Twice as fine, and rotated so that lattice lines do not add up.
        x, y = 1.6 * x - 1.2 * y + 17.3, 1.2 * x + 1.6 * y + 5.1


@functools.cache
def _lattice() -> np.ndarray:
    """The cells of 256 x 256 values in [-1, 1]."""
    rng = random_state(Stream.NOISE_LATTICE, 0)
    return periodic_cells(rng.uniform(-1, 1, (256, 256)).astype(np.float32))


def _quintic(t: np.ndarray) -> np.ndarray:
    """A step with vanishing second derivatives (Perlin 2002)."""
    return t * t * t * ((t * 6 - 15) * t + 10)


def texture(x: np.ndarray, y: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """Fractal noise of zero mean and unit variance from a mipmapped tile, cheap enough for pixels.

    Places and the footprint of a pixel have one shape, in units of the coarsest feature. The mean
    footprint selects the mip level of each chunk in row order: rows are at similar distances.
    """
    shape = x.shape
    x, y, footprint = x.ravel(), y.ravel(), footprint.ravel()
    noise = np.empty(x.size, np.float32)
    for start in range(0, x.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        cells = _tile()[_level(float(footprint[chunk].mean()))]
        scale = np.float32(len(cells) / _TILE_CELLS)
        noise[chunk] = bilinear(cells, x[chunk] * scale, y[chunk] * scale)
    return noise.reshape(shape)


def _level(footprint: float) -> int:
    """The mip level whose texels are about as large as a pixel."""
    level = math.log2(max(footprint, 1e-6) * (_TILE_SIZE / _TILE_CELLS)) + 0.5
    return int(min(max(level, 0), _LEVELS - 1))


@functools.cache
def _tile() -> list[np.ndarray]:
    """The cells of the periodic tile's mip levels; level l has 512 >> l rows and columns."""
    rng = random_state(Stream.TEXTURE_TILE, 0)
    total = np.zeros((_TILE_SIZE, _TILE_SIZE), np.float32)
    for octave in range(_OCTAVES):
        total += 0.6**octave * _periodic_noise(rng, _TILE_CELLS << octave)
    levels = [total / total.std()]
    for _ in range(_LEVELS - 1):
        levels.append(halve(levels[-1]))
    return list(map(periodic_cells, levels))


def _periodic_noise(rng: np.random.RandomState, cells: int) -> np.ndarray:
    """One octave of the tile [512, 512]: `cells` x `cells` random values, interpolated."""
    values = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    place = np.arange(_TILE_SIZE) * cells / _TILE_SIZE
    low = place.astype(int)
    high = (low + 1) % cells
    weight = smoothstep(place - low, 0, 1).astype(np.float32)
    values = values[low] * (1 - weight[:, None]) + values[high] * weight[:, None]  # [512, cells]
    return values[:, low] * (1 - weight) + values[:, high] * weight
