"""Value noise and its fractal sums: the shapes of the land."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from spade_jax.landscapes.interpolation import bilinear, periodic_cells, smoothstep
from spade_jax.landscapes.random_state import Stream, random_state

_LATTICE_SIZE = 256  # A power of two: places wrap with a mask.


def value_noise(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Noise in [-1, 1] with continuous second derivatives and features of unit size, of period 256; x and y broadcast."""
    x0, y0 = np.floor(x), np.floor(y)
    cell = _wrap(y0) * _LATTICE_SIZE + _wrap(x0)
    return bilinear(_lattice(), cell.astype(np.intp), _quintic(x - x0), _quintic(y - y0))


def fractal(x: np.ndarray, y: np.ndarray, octaves: int, spacing: np.ndarray) -> np.ndarray:
    """A sum of octaves of value noise, each half as large and half as strong as the one before.

    Args:
      x: [D, W] in units of the coarsest features.
      y: [D, W] or [D, 1].
      octaves: how many.
      spacing: [D, 1], the distance between samples in units of x. Octaves finer than twice the spacing fade out.

    Returns:
      [D, W], about [-1, 1].
    """
    total = np.zeros(x.shape, np.float32)
    for noise, weight in _visible_octaves(x, y, octaves, spacing):
        total[: len(noise)] += noise * weight
    return total


def ridged_fractal(x: np.ndarray, y: np.ndarray, octaves: int, spacing: np.ndarray) -> np.ndarray:
    """As `fractal`, about [0, 1], with sharp crests: rough on high ground and smooth in the valleys."""
    total = np.zeros(x.shape, np.float32)
    carry = np.ones((len(x), 1), np.float32)
    for octave, (noise, weight) in enumerate(_visible_octaves(x, y, octaves, spacing)):
        carry = carry[: len(noise)]
        if octave < 2:
            noise = (
                1.1 - np.sqrt(noise * noise + 0.04)
            ) ** 2 * carry  # A crest rounded enough for the steps of the trace.
            carry = (noise * 1.6).clip(0, 1)
        else:
            noise = 0.45 * noise * carry
        total[: len(noise)] += noise * weight
    return total


def _visible_octaves(x, y, octaves: int, spacing) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The noise [D', W] and weight [D', 1] of each octave, without the last rows where it and all finer ones have faded out.

    Small pictures are traced in large steps: at 64x64 this leaves out a quarter of the rows.
    """
    gain = 0.5
    for octave in range(octaves):
        fade = smoothstep(2.0**-octave / spacing, 1.5, 3.0)
        visible = 1 + int(np.flatnonzero(fade).max(initial=-1))
        x, y, spacing = x[:visible], y[:visible], spacing[:visible]
        yield value_noise(x, y), gain * fade[:visible]
        gain *= 0.5
        x, y = (
            1.6 * x - 1.2 * y + 17.3,
            1.2 * x + 1.6 * y + 5.1,
        )  # Twice as fine, turned so that lattice lines do not add up.


@functools.cache
def _lattice() -> np.ndarray:
    """The cells of 256 x 256 values in [-1, 1]."""
    values = (
        random_state(Stream.NOISE_LATTICE, 0)
        .uniform(-1, 1, (_LATTICE_SIZE, _LATTICE_SIZE))
        .astype(np.float32)
    )
    return periodic_cells(values)


def _wrap(place: np.ndarray) -> np.ndarray:
    return place.astype(np.int32) & (_LATTICE_SIZE - 1)


def _quintic(t: np.ndarray) -> np.ndarray:
    """The step from 0 to 1 whose first and second derivatives vanish at both ends (Perlin 2002): t^3 (t (6 t - 15) + 10)."""
    rest = t * 6
    rest -= 15
    rest *= t
    rest += 10
    cube = t * t
    cube *= t
    cube *= rest
    return cube
