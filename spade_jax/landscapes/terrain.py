"""The height field, sampled along the rays of the picture's columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.interpolation import smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.noise import fractal, ridged_fractal, value_noise


class Terrain(NamedTuple):
    """The height field over D steps of depth, near ones first, and W columns of the picture.

    z: [D], distance. World units, as all of the following [D, W], save for the slopes.
    screen: v at which the surface is seen, in image heights.
    height: over the water, negative under it; mountain and hill: the parts that these have in it.
    slope_x, slope_z: rise to the right and away.
    shore: distance to the water's edge, negative on the water.
    """

    z: np.ndarray
    screen: np.ndarray
    x: np.ndarray
    height: np.ndarray
    slope_x: np.ndarray
    slope_z: np.ndarray
    mountain: np.ndarray
    hill: np.ndarray
    shore: np.ndarray


def trace_terrain(layout: Layout, u: np.ndarray, rows: int) -> Terrain:
    """u: [W], the columns; rows: height of the picture in pixels."""
    z = _depths(rows)
    x = u * z / layout.focal  # [D, W]
    spacing = np.maximum(np.gradient(z, axis=0) * 0.9, z / (layout.focal * rows))  # [D, 1]
    shore = _shore_distance(layout, x, z, spacing)
    height, mountain, hill = _heights(layout, x, z, spacing, shore)
    slope_x = np.gradient(height, axis=1) / np.gradient(x, axis=1)
    slope_z = np.gradient(height, axis=0) / np.gradient(z, axis=0) - slope_x * (
        u / layout.focal
    )  # Rays fan out: remove the drift in x.
    screen = layout.horizon + layout.focal * (layout.eye - np.maximum(height, 0)) / z
    return Terrain(z[:, 0], screen, x, height, slope_x, slope_z, mountain, hill, shore)


def _depths(rows: int) -> np.ndarray:
    """Distances [D, 1] of the steps.

    Half of them reach to 80, half to 330: mountains are far, and steep enough to need close steps.
    """
    steps = min(max(int(rows * 0.5), 76), 220)
    t = np.linspace(0, 1, steps, dtype=np.float32)
    return np.where(t < 0.5, 1.6 * 50 ** (2 * t), 80 * 4.1 ** (2 * t - 1)).astype(np.float32)[
        :, None
    ]


def _heights(layout: Layout, x, z, spacing, shore) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height over the water, and its mountain and hill parts; each [D, W]."""
    hill = _hills(layout, x, z, spacing)
    mountain = _mountains(layout, x, z, spacing)
    land = 0.9 + _rolling_ground(layout, x, z, spacing) + hill + mountain
    bank = smoothstep(shore, 0, 9 + 0.35 * z)  # Far shores rise gently: a valley has no walls.
    height = np.maximum(land, 0.35) * np.maximum(
        bank, 0.1 * smoothstep(shore, 0, 9)
    ) + 0.06 * shore.clip(-20, 5)
    return height, mountain * bank, hill


# What rises from a distance on is computed from there on: the rows before it would be multiplied by zero.


def _rows_beyond(z: np.ndarray, distance: float) -> slice:
    return slice(int(np.searchsorted(z[:, 0], distance)), None)


def _rolling_ground(layout: Layout, x, z, spacing) -> np.ndarray:
    """The waves of the near ground, dunes in the desert; level at the camera's feet. [D, W]."""
    start, (ox, oz) = 3, layout.offset
    ground = np.zeros_like(x)
    rows = _rows_beyond(z, start)
    x, z, spacing = x[rows], z[rows], spacing[rows]
    roll = fractal(x / 15 + ox, z / 15 + oz, 3, spacing / 15)
    if layout.biome.desert:
        crest = 1 - np.abs(value_noise(x / 13 + 0.5 * roll + oz, z / 9 + ox))
        roll = 0.7 * roll + 0.9 * crest * crest
    ground[rows] = layout.roll * smoothstep(z, start, 20) * roll * 1.3
    return ground


def _hills(layout: Layout, x, z, spacing) -> np.ndarray:
    start, (ox, oz) = layout.hill_start, layout.offset
    hill = np.zeros_like(x)
    rows = _rows_beyond(z, start)
    x, z, spacing = x[rows], z[rows], spacing[rows]
    hill[rows] = (
        layout.hill
        * smoothstep(z, start, 2.2 * start)
        * (0.45 + fractal(x / 48 + oz, z / 48 + ox, 3, spacing / 48))
    )
    return hill


def _mountains(layout: Layout, x, z, spacing) -> np.ndarray:
    start, (ox, oz) = layout.mountain_start, layout.offset
    mountain = np.zeros_like(x)
    if layout.mountain <= 4:
        return mountain
    rows = _rows_beyond(z, start)
    x, z, spacing = x[rows], z[rows], spacing[rows]
    warp = 0.25 * value_noise(x / 40 + ox, z / 40)
    crests = ridged_fractal(x / 95 + ox + warp, z / 95 + oz + warp, 6, spacing / 95)
    mountain[rows] = (
        layout.mountain * smoothstep(z, start, 230) * np.maximum(crests * 2.2 - 0.35, -0.1)
    )
    return mountain


def _shore_distance(layout: Layout, x, z, spacing) -> np.ndarray:
    """About the distance to the water's edge, negative on the water; [D, W]."""
    water = layout.water
    match layout.biome.water:
        case 'none':
            return np.full(x.shape, 99, np.float32)
        case 'lake':
            radius = np.sqrt(
                ((x - water.x) / water.width) ** 2 + ((z - water.z) / (0.6 * water.z)) ** 2
            )
            return (radius - 1) * 9 + 3.5 * _bays(layout, x, z, spacing)
        case 'river':
            bend = (
                water.x * 0.6
                + water.tilt * (z - 12) * 0.5
                + 3.2 * np.sin(z / 9 + water.x) * smoothstep(z, 4, 24)
            )
            return (
                np.abs(x - bend) - water.width * (0.8 + z / 60) + 0.8 * _bays(layout, x, z, spacing)
            )
        case 'sea':
            headlands = fractal(x / 70 + layout.offset[0], z / 70 + 3.7, 2, spacing / 70)
            far_land = smoothstep(z, 30, 80) * (z * 0.95 * (0.3 + 1.4 * headlands) + 12)
            return (
                water.z
                + water.width
                - z
                + 1.6 * water.tilt * x
                + 5 * _bays(layout, x, z, spacing)
                + far_land
            )


def _bays(layout: Layout, x, z, spacing) -> np.ndarray:
    """Noise that makes shores ragged, about [-1, 1]; [D, W]."""
    return fractal(x / 16 + layout.offset[1], z / 16, 3, spacing / 16)
