"""Visible ground: what each pixel of the ground shows, and its class."""

from typing import NamedTuple, Self

import numpy as np

from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, MOUNTAIN, ROAD, SAND, SNOW, WATER
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout, Road
from spade_jax.landscapes.noise import texture
from spade_jax.landscapes.terrain import Terrain


class Ground(NamedTuple):
    """The N ground pixels, row by row; every array is [N]. From x on, see `Terrain`."""

    pixel: np.ndarray  # flat index into the canvas
    row: np.ndarray
    column: np.ndarray
    label: np.ndarray  # uint8, class before trees and rocks
    v: np.ndarray
    z: np.ndarray  # distance in world units
    footprint: np.ndarray  # world units across a pixel
    x: np.ndarray
    height: np.ndarray
    slope_x: np.ndarray
    slope_z: np.ndarray
    mountain: np.ndarray
    hill: np.ndarray

    def at(self, indices: np.ndarray) -> Self:
        """Some of the pixels."""
        return self._make(field[indices] for field in self)


def visible_ground(terrain: Terrain, layout: Layout, v: np.ndarray) -> Ground:
    """Intersect the ray of each pixel with the terrain and classify it; v: [H], the rows."""
    rows = len(v)
    step = _first_steps(terrain.screen, rows)  # [H, W]
    steps, columns = terrain.screen.shape
    pixel = np.flatnonzero(step < steps)  # [N]
    row = pixel // columns
    column = pixel - row * columns
    step, v = np.maximum(step.ravel()[pixel], 1), v[row]
    far = step * columns + column
    near = far - columns
    z0, z1 = terrain.z[step - 1], terrain.z[step]
    ahead, behind = (terrain.screen.take(near) - v) * z0, (v - terrain.screen.take(far)) * z1
    # Where between the two steps the ray meets the ground.
    part = (ahead / np.maximum(ahead + behind, 1e-6)).clip(0, 1)
    z = mix(z0, z1, part)
    label = np.full(z.shape, SAND if layout.biome.desert else GRASS, np.uint8)
    surface = (mix(field.take(near), field.take(far), part) for field in terrain[2:])  # x to hill
    ground = Ground(pixel, row, column, label, v, z, z / (layout.focal * rows), *surface)
    _classify(layout, ground)
    return ground


def _first_steps(screen: np.ndarray, rows: int) -> np.ndarray:
    """The first step of depth that covers each pixel, [D, W] to [H, W]; D where none does.

    A step covers everything below it: counting those that begin in each row gives all at once.
    """
    steps, columns = screen.shape
    skyline = _accumulate(np.minimum, screen.copy())
    # The first row that this step, or one before it, covers.
    first_row = np.ceil(skyline * rows - 0.5).clip(0, rows).astype(np.intp)
    places = (first_row * columns + np.arange(columns)).ravel()
    counts = np.bincount(places, minlength=(rows + 1) * columns)
    return steps - _accumulate(np.add, counts.reshape(rows + 1, columns)[:rows])


def _accumulate(combine: np.ufunc, values: np.ndarray) -> np.ndarray:
    """`combine.accumulate(values, axis=0)` in place, several times faster than NumPy's own."""
    for previous, row in zip(values, values[1:], strict=False):
        combine(previous, row, out=row)
    return values


def _classify(layout: Layout, ground: Ground) -> None:
    """Replace the labels of all but bare ground; later rules win."""
    label, z, height, biome = ground.label, ground.z, ground.height, layout.biome
    # Noise that makes every border ragged.
    patches = texture(ground.x / 9 + layout.offset[0], z / 9, ground.footprint / 4)
    if not biome.desert:
        label[(patches > layout.flower_threshold) & (z < layout.flower_reach)] = FLOWERS
    hilly = z > layout.hill_start * 1.25 + 5 * patches
    label[hilly & (ground.hill > 1.0) if biome.desert else hilly] = HILL
    label[ground.mountain > np.maximum(1.5 + 0.8 * patches, 0.5)] = MOUNTAIN
    steepness = np.abs(ground.slope_x) + np.abs(ground.slope_z)
    ragged = (1.5 + 0.05 * ground.mountain) * patches
    snowy = (height - ragged - 4.0 * np.maximum(steepness - 1.0, 0)) > layout.snow_line
    label[(label == MOUNTAIN) & snowy] = SNOW
    if not biome.desert:
        label[(height < biome.beach * (1 + 0.25 * patches)) & (z < 110)] = SAND
    if layout.road is not None:
        off_center = np.abs(ground.x - _road_center(layout.road, z))
        paved = off_center < layout.road.half_width * (1 + 0.06 * patches)
        on_mountain = (label == MOUNTAIN) | (label == SNOW)
        label[paved & (z < layout.road.reach) & ~on_mountain] = ROAD
    label[height < 0] = WATER


def _road_center(road: Road, z: np.ndarray) -> np.ndarray:
    """X of the center of the road at distance z."""
    bend = road.sway * (np.sin(z / 8 + road.phase) - np.sin(road.phase)) * smoothstep(z, 2, 30)
    return road.x * 8 / (z + 6) + bend + 0.04 * road.sway * z
