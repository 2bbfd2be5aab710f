"""The height field, sampled along the rays of the image columns. Lengths are in world units."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.interpolation import smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.noise import fractal, ridged_fractal, value_noise
from spade_jax.landscapes.summits import add_summits


class Terrain(NamedTuple):
    """The height field over D steps of depth, near ones first, and W columns: [D, W] but for z."""

    z: np.ndarray  # [D], distance
    screen: np.ndarray  # v at which the surface is seen
    x: np.ndarray
    height: np.ndarray  # over the water, negative under it
    slope_x: np.ndarray  # rise to the right
    slope_z: np.ndarray  # rise away from the camera
    mountain: np.ndarray  # part of the height
    hill: np.ndarray  # part of the height


class _Grid(NamedTuple):
    """Places where the height field is sampled."""

    x: np.ndarray  # [D, W]
    z: np.ndarray  # [D, 1]
    spacing: np.ndarray  # [D, 1], distance between samples

    def fractal(self, scale: float, offset_x: float, offset_z: float, octaves: int) -> np.ndarray:
        """Fractal noise with features of the size `scale`."""
        x, z = self.x / scale + offset_x, self.z / scale + offset_z
        return fractal(x, z, octaves, self.spacing / scale)


def trace_terrain(layout: Layout, u: np.ndarray, rows: int) -> Terrain:
    """Trace the terrain for columns u, [W], and a canvas of `rows` rows."""
    z = _depths(layout, rows)
    x = u * z / layout.focal  # [D, W]
    spacing = np.maximum(np.gradient(z, axis=0) * 0.9, z / (layout.focal * rows))  # [D, 1]
    heights = _heights(layout, _Grid(x, z, spacing))
    height, mountain, hill = add_summits(layout, u, z, heights)
    slope_x = np.gradient(height, axis=1) / np.gradient(x, axis=1)
    # Rays diverge: subtract the change of x along a ray.
    slope_z = np.gradient(height, axis=0) / np.gradient(z, axis=0) - slope_x * (u / layout.focal)
    screen = layout.horizon + layout.focal * (layout.eye - np.maximum(height, 0)) / z
    return Terrain(z[:, 0], screen, x, height, slope_x, slope_z, mountain, hill)


def _depths(layout: Layout, rows: int) -> np.ndarray:
    """Distances [D, 1] of the steps, half of them beyond 80, for the steep mountains.

    With summits, most are from the first foot to the last crest.
    """
    steps = min(max(int(rows * 0.5), 76), 220)
    shares, distances = (0, 0.5, 1), (1.6, 80, 328)
    if layout.summits:
        foot = min(summit.z - summit.depth for summit in layout.summits)
        crest = max(summit.z for summit in layout.summits)
        shares, distances = (0, 0.3, 0.85, 1), (1.6, foot, crest, 328)
    log_z = np.interp(np.linspace(0, 1, steps), shares, np.log(distances))
    return np.exp(log_z).astype(np.float32)[:, None]


def _heights(layout: Layout, grid: _Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height over the water, and its mountain and hill parts; each [D, W]."""
    ground = _rising(_rolling_ground, layout, grid, 3)
    hill = _rising(_hills, layout, grid, layout.hill_start)
    # Low mountains are left out.
    mountain_start = layout.mountain_start if layout.mountain > 4 else np.inf
    mountain = _rising(_mountains, layout, grid, mountain_start)
    land = 0.9 + ground + hill + mountain
    shore = _shore_distance(layout, grid)
    bank = smoothstep(shore, 0, 9 + 0.35 * grid.z)  # Far shores rise gently, without cliffs.
    slope = np.maximum(bank, 0.1 * smoothstep(shore, 0, 9))
    height = np.maximum(land, 0.35) * slope + 0.06 * shore.clip(-20, 5)
    return height, mountain * bank, hill


def _rising(shape: Callable, layout: Layout, grid: _Grid, start: float) -> np.ndarray:
    """The height [D, W] of a shape that rises from a distance on: 0 before, computed after."""
    height = np.zeros_like(grid.x)
    rows = slice(int(np.searchsorted(grid.z[:, 0], start)), None)
    height[rows] = shape(layout, _Grid(*(field[rows] for field in grid)), start)
    return height


def _rolling_ground(layout: Layout, grid: _Grid, start: float) -> np.ndarray:
    """Waves of the near ground, dunes in the desert, level at the camera."""
    offset_x, offset_z = layout.offset
    roll = grid.fractal(15, offset_x, offset_z, octaves=3)
    if layout.biome.desert:
        waves = value_noise(grid.x / 13 + 0.5 * roll + offset_z, grid.z / 9 + offset_x)
        crest = 1 - np.abs(waves)
        roll = 0.7 * roll + 0.9 * crest * crest
    return layout.roll * smoothstep(grid.z, start, 20) * roll * 1.3


def _hills(layout: Layout, grid: _Grid, start: float) -> np.ndarray:
    offset_x, offset_z = layout.offset
    shape = 0.45 + grid.fractal(48, offset_z, offset_x, octaves=3)
    return layout.hill * smoothstep(grid.z, start, 2.2 * start) * shape


def _mountains(layout: Layout, grid: _Grid, start: float) -> np.ndarray:
    (x, z, spacing), (offset_x, offset_z) = grid, layout.offset
    warp = 0.25 * value_noise(x / 40 + offset_x, z / 40)
    crests = ridged_fractal(x / 95 + offset_x + warp, z / 95 + offset_z + warp, 6, spacing / 95)
    shape = np.maximum(crests * 2.2 - 0.35, -0.1)
    return layout.mountain * smoothstep(z, start, 230) * shape


def _shore_distance(layout: Layout, grid: _Grid) -> np.ndarray:
    """The approximate distance to the shore, negative on the water; [D, W]."""
    (x, z, _), water = grid, layout.water
    if layout.biome.water == 'none':
        return np.full(x.shape, 99, np.float32)
    if layout.biome.water == 'ocean':
        return np.full(x.shape, -20, np.float32)
    bays = grid.fractal(16, layout.offset[1], 0, octaves=3)  # about [-1, 1], makes shores ragged
    if layout.biome.water == 'lake':
        radius = ((x - water.x) / water.width) ** 2 + ((z - water.z) / (0.6 * water.z)) ** 2
        return (np.sqrt(radius) - 1) * 9 + 3.5 * bays
    if layout.biome.water == 'bay':
        return z - water.z + 0.4 * water.tilt * x + 2 * bays
    if layout.biome.water == 'river':
        bend = water.sway * np.sin(z / 9 + water.x) * smoothstep(z, 4, 24)
        center = water.x * 0.6 + water.tilt * (z - 12) * 0.5 + bend
        return np.abs(x - center) - water.width * (0.8 + z / 60) + 0.8 * bays
    headlands = grid.fractal(70, layout.offset[0], 3.7, octaves=2)
    far_land = smoothstep(z, 30, 80) * (z * 0.95 * (0.3 + 1.4 * headlands) + 12)
    return water.z + water.width - z + 1.6 * water.tilt * x + 5 * bays + far_land
