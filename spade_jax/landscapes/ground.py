"""What the pixels of the ground see, and of which class it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, MOUNTAIN, ROAD, SAND, SNOW, WATER
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout, Road
from spade_jax.landscapes.terrain import Terrain
from spade_jax.landscapes.texture import texture


class Ground(NamedTuple):
    """What the ground pixels see; every array is [N], N the number of ground pixels, in the order of the picture's rows.

    pixel: flat index into the picture; row, column: the same, apart.
    v: screen place in image heights.
    x, z: place in the world; footprint: world units across a pixel.
    height ... shore: as in `Terrain`.
    """

    pixel: np.ndarray
    row: np.ndarray
    column: np.ndarray
    v: np.ndarray
    z: np.ndarray
    footprint: np.ndarray
    x: np.ndarray
    height: np.ndarray
    slope_x: np.ndarray
    slope_z: np.ndarray
    mountain: np.ndarray
    hill: np.ndarray
    shore: np.ndarray


def see_ground(terrain: Terrain, layout: Layout, v: np.ndarray) -> Ground:
    """Finds for every pixel the first stretch of terrain that its ray meets; v: [H], the rows."""
    rows = len(v)
    step = _first_steps(terrain.screen, rows)
    steps, columns = terrain.screen.shape
    pixel = np.flatnonzero(step < steps)
    row = pixel // columns
    column = pixel - row * columns
    step, v = np.maximum(step.ravel()[pixel], 1), v[row]
    far = step * columns + column
    near = far - columns
    z0, z1 = terrain.z[step - 1], terrain.z[step]
    ahead, behind = (terrain.screen.take(near) - v) * z0, (v - terrain.screen.take(far)) * z1
    part = (ahead / np.maximum(ahead + behind, 1e-6)).clip(
        0, 1
    )  # Where between the two steps the ray meets the ground.

    def seen(field: np.ndarray) -> np.ndarray:
        return mix(field.take(near), field.take(far), part)

    z = mix(z0, z1, part)
    return Ground(
        pixel,
        row,
        column,
        v,
        z,
        z / (layout.focal * rows),
        seen(terrain.x),
        seen(terrain.height),
        seen(terrain.slope_x),
        seen(terrain.slope_z),
        seen(terrain.mountain),
        seen(terrain.hill),
        seen(terrain.shore),
    )


def _first_steps(screen: np.ndarray, rows: int) -> np.ndarray:
    """The first step of depth that covers each pixel: [H, W] from the screen places [D, W]; D where none does.

    A step covers everything under it, so the steps seen down a column grow nearer, and counting those that begin in a row gives them all at once.
    """
    steps, columns = screen.shape
    skyline = _accumulated(np.minimum, screen.copy())
    first_row = (
        np.ceil(skyline * rows - 0.5).clip(0, rows).astype(np.intp)
    )  # The first row that this step, or one before it, covers.
    counts = np.bincount(
        (first_row * columns + np.arange(columns)).ravel(), minlength=(rows + 1) * columns
    )
    return steps - _accumulated(np.add, counts.reshape(rows + 1, columns)[:rows])


def _accumulated(combine: np.ufunc, values: np.ndarray) -> np.ndarray:
    """`combine.accumulate(values, axis=0)`, in place: NumPy's own goes down one column after the other, several times slower."""
    for previous, row in zip(values, values[1:]):
        combine(previous, row, out=row)
    return values


def classify(layout: Layout, ground: Ground) -> np.ndarray:
    """Class of each ground pixel, uint8 [N], before trees and rocks; later rules overrule earlier ones."""
    z, height, biome = ground.z, ground.height, layout.biome
    patches = texture(
        ground.x / 9 + layout.offset[0], z / 9, ground.footprint / 4
    )  # Makes every border ragged.
    label = np.full(z.shape, SAND if biome.desert else GRASS, np.uint8)
    if not biome.desert:
        label[(patches > layout.flower_threshold) & (z < 45)] = FLOWERS
    hilly = z > layout.hill_start * 1.25 + 5 * patches
    label[hilly & (ground.hill > 1.0) if biome.desert else hilly] = HILL
    label[ground.mountain > np.maximum(1.5 + 0.8 * patches, 0.5)] = MOUNTAIN
    steepness = np.abs(ground.slope_x) + np.abs(ground.slope_z)
    snowy = (height - 1.5 * patches - 4.0 * np.maximum(steepness - 1.0, 0)) > layout.snow_line
    label[(label == MOUNTAIN) & snowy] = SNOW
    if not biome.desert:
        label[(height < biome.beach * (1 + 0.25 * patches)) & (z < 110)] = SAND
    if layout.road is not None:
        off_center = np.abs(ground.x - _road_center(layout.road, z))
        label[(off_center < layout.road.half_width * (1 + 0.06 * patches)) & (z < 75)] = ROAD
    label[height < 0] = WATER
    return label


def _road_center(road: Road, z: np.ndarray) -> np.ndarray:
    """X of the road's middle at distance z."""
    return (
        road.x * 8 / (z + 6)
        + road.sway * (np.sin(z / 8 + road.phase) - np.sin(road.phase)) * smoothstep(z, 2, 30)
        + 0.04 * road.sway * z
    )
