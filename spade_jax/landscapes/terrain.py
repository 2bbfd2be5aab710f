"""The height field, sampled along the rays of the image columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.interpolation import smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.noise import fractal, ridged_fractal, value_noise


class Terrain(NamedTuple):
    """The height field over D steps of depth, near ones first, and W columns of the image.

    Lengths are in world units. All arrays but z are [D, W].

    Attributes:
      z: [D], distance.
      screen: v at which the surface is seen, in image heights.
      x: World coordinate.
      height: Height over the water, negative under it.
      slope_x, slope_z: Rise to the right and away from the camera.
      mountain, hill: Parts of the height.
      shore: Distance to the shore, negative on the water.
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


class _Grid(NamedTuple):
    """Places where the height field is sampled."""

    x: np.ndarray  # [D, W]
    z: np.ndarray  # [D, 1]
    spacing: np.ndarray  # [D, 1], distance between samples

    def beyond(self, distance: float) -> tuple[slice, _Grid]:
        """The rows from a distance on, and the grid of these rows."""
        rows = slice(int(np.searchsorted(self.z[:, 0], distance)), None)
        return rows, _Grid(self.x[rows], self.z[rows], self.spacing[rows])

    def fractal(self, scale: float, offset_x: float, offset_z: float, octaves: int) -> np.ndarray:
        """Fractal noise with features of the size `scale`."""
        x, z = self.x / scale + offset_x, self.z / scale + offset_z
        return fractal(x, z, octaves, self.spacing / scale)


def trace_terrain(layout: Layout, u: np.ndarray, rows: int) -> Terrain:
    """Trace the terrain for columns u, [W], and a canvas of `rows` rows."""
    z = _depths(rows)
    x = u * z / layout.focal  # [D, W]
    spacing = np.maximum(np.gradient(z, axis=0) * 0.9, z / (layout.focal * rows))  # [D, 1]
    grid = _Grid(x, z, spacing)
    shore = _shore_distance(layout, grid)
    height, mountain, hill = _heights(layout, grid, shore)
    slope_x = np.gradient(height, axis=1) / np.gradient(x, axis=1)
    # Rays diverge: subtract the change of x along a ray.
    slope_z = np.gradient(height, axis=0) / np.gradient(z, axis=0) - slope_x * (u / layout.focal)
    screen = layout.horizon + layout.focal * (layout.eye - np.maximum(height, 0)) / z
    return Terrain(z[:, 0], screen, x, height, slope_x, slope_z, mountain, hill, shore)


def _depths(rows: int) -> np.ndarray:
    """Distances [D, 1] of the steps.

    Half of them reach to 80, half to 330: mountains are far, and steep enough to need close steps.
    """
    steps = min(max(int(rows * 0.5), 76), 220)
    t = np.linspace(0, 1, steps, dtype=np.float32)
    z = np.where(t < 0.5, 1.6 * 50 ** (2 * t), 80 * 4.1 ** (2 * t - 1))
    return z.astype(np.float32)[:, None]


def _heights(
    layout: Layout, grid: _Grid, shore: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height over the water, and its mountain and hill parts; each [D, W]."""
    hill, mountain = _hills(layout, grid), _mountains(layout, grid)
    land = 0.9 + _rolling_ground(layout, grid) + hill + mountain
    bank = smoothstep(shore, 0, 9 + 0.35 * grid.z)  # Far shores rise gently, without cliffs.
    slope = np.maximum(bank, 0.1 * smoothstep(shore, 0, 9))
    height = np.maximum(land, 0.35) * slope + 0.06 * shore.clip(-20, 5)
    return height, mountain * bank, hill


# Shapes that rise from a distance on are computed from there on: they are 0 in the rows before.


def _rolling_ground(layout: Layout, grid: _Grid) -> np.ndarray:
    """Waves of the near ground, dunes in the desert, level at the camera; [D, W]."""
    start, (offset_x, offset_z) = 3, layout.offset
    ground = np.zeros_like(grid.x)
    rows, grid = grid.beyond(start)
    roll = grid.fractal(15, offset_x, offset_z, octaves=3)
    if layout.biome.desert:
        waves = value_noise(grid.x / 13 + 0.5 * roll + offset_z, grid.z / 9 + offset_x)
        crest = 1 - np.abs(waves)
        roll = 0.7 * roll + 0.9 * crest * crest
    ground[rows] = layout.roll * smoothstep(grid.z, start, 20) * roll * 1.3
    return ground


def _hills(layout: Layout, grid: _Grid) -> np.ndarray:
    start, (offset_x, offset_z) = layout.hill_start, layout.offset
    hill = np.zeros_like(grid.x)
    rows, grid = grid.beyond(start)
    shape = 0.45 + grid.fractal(48, offset_z, offset_x, octaves=3)
    hill[rows] = layout.hill * smoothstep(grid.z, start, 2.2 * start) * shape
    return hill


def _mountains(layout: Layout, grid: _Grid) -> np.ndarray:
    start, (offset_x, offset_z) = layout.mountain_start, layout.offset
    mountain = np.zeros_like(grid.x)
    if layout.mountain <= 4:
        return mountain
    rows, (x, z, spacing) = grid.beyond(start)
    warp = 0.25 * value_noise(x / 40 + offset_x, z / 40)
    crests = ridged_fractal(x / 95 + offset_x + warp, z / 95 + offset_z + warp, 6, spacing / 95)
    shape = np.maximum(crests * 2.2 - 0.35, -0.1)
    mountain[rows] = layout.mountain * smoothstep(z, start, 230) * shape
    return mountain


def _shore_distance(layout: Layout, grid: _Grid) -> np.ndarray:
    """The approximate distance to the shore, negative on the water; [D, W]."""
    (x, z, _), water = grid, layout.water
    if layout.biome.water == 'none':
        return np.full(x.shape, 99, np.float32)
    bays = grid.fractal(16, layout.offset[1], 0, octaves=3)  # about [-1, 1], makes shores ragged
    if layout.biome.water == 'lake':
        radius = ((x - water.x) / water.width) ** 2 + ((z - water.z) / (0.6 * water.z)) ** 2
        return (np.sqrt(radius) - 1) * 9 + 3.5 * bays
    if layout.biome.water == 'river':
        bend = 3.2 * np.sin(z / 9 + water.x) * smoothstep(z, 4, 24)
        center = water.x * 0.6 + water.tilt * (z - 12) * 0.5 + bend
        return np.abs(x - center) - water.width * (0.8 + z / 60) + 0.8 * bays
    headlands = grid.fractal(70, layout.offset[0], 3.7, octaves=2)
    far_land = smoothstep(z, 30, 80) * (z * 0.95 * (0.3 + 1.4 * headlands) + 12)
    return water.z + water.width - z + 1.6 * water.tilt * x + 5 * bays + far_land
