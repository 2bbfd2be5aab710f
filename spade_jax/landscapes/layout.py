"""What is in a scene and where: everything that its labels depend on, drawn from the seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.biomes import BIOMES, Biome
from spade_jax.landscapes.random_state import Stream, random_state

PANORAMA = 4.0  # Width in image heights over which objects are scattered.


class Water(NamedTuple):
    """x, z: middle of a lake, distance of a shore; width: of a lake or river, or of the sea's beach; tilt: how far it runs across the view."""

    x: float
    z: float
    width: float
    tilt: float


class Road(NamedTuple):
    """x: where it sets out; sway, phase: of its bends; half_width. World units and radians."""

    x: float
    sway: float
    phase: float
    half_width: float


class SceneObject(NamedTuple):
    """A tree or a rock.

    z: distance, world units.
    u: screen place of its middle, image heights.
    height: world units; aspect: width over height.
    kind: 'conifer', 'broadleaf' or 'boulder'.
    variant: which of the sprites of its kind.
    tone: 0 dark, 1 light.
    """

    z: float
    u: float
    height: float
    kind: str
    variant: int
    mirrored: bool
    tone: float
    aspect: float


class Layout(NamedTuple):
    """Everything about a scene that labels depend on. Screen places are in image heights, lengths in world units.

    horizon: v of the horizon.
    eye: height of the camera over the water.
    focal: focal length in image heights.
    sun: u, v.
    cloud_cover: threshold on noise of unit variance: high is clear.
    cloud_scale: features per unit of the ceiling.
    roll, hill, mountain: heights; hill_start, mountain_start: distances from which they rise.
    snow_line: height.
    flower_threshold: on noise of unit variance: high is bare.
    offset: of the world in the noise.
    objects: far ones first; their order is the order of their instance ids.
    """

    biome: Biome
    horizon: float
    eye: float
    focal: float
    sun: tuple[float, float]
    sun_visible: bool
    cloud_cover: float
    cloud_scale: float
    roll: float
    hill: float
    hill_start: float
    mountain: float
    mountain_start: float
    snow_line: float
    water: Water
    road: Road | None
    flower_threshold: float
    offset: tuple[float, float]
    objects: tuple[SceneObject, ...]


def sample_layout(seed: int) -> Layout:
    """The layout of scene `seed`. The order of the draws is part of what a seed means: new ones go last."""
    rng = random_state(Stream.LAYOUT, seed)
    biome = BIOMES[rng.randint(len(BIOMES))]
    eye = rng.uniform(2.4, 4.2)
    mountain = rng.uniform(*biome.mountain)
    water_width, water_distance = _sample_water(rng, biome)
    road = Road(
        x=rng.uniform(-1.5, 1.5),
        sway=rng.uniform(-2.5, 2.5),
        phase=rng.uniform(0, 6.28),
        half_width=rng.uniform(0.6, 1.1),
    )
    horizon = rng.uniform(0.36, 0.56)
    return Layout(
        biome=biome,
        horizon=horizon,
        eye=eye,
        focal=rng.uniform(1.0, 1.3),
        sun=(float(rng.uniform(0.08, 0.42) * rng.choice([-1, 1])), horizon * rng.uniform(0.2, 0.7)),
        sun_visible=rng.rand() < 0.5,
        cloud_cover=rng.uniform(-0.2, 2.0),
        cloud_scale=rng.uniform(0.5, 0.9),
        roll=rng.uniform(*biome.roll),
        hill=rng.uniform(*biome.hill),
        hill_start=rng.uniform(22, 42),
        mountain=mountain,
        mountain_start=rng.uniform(70, 120),
        snow_line=mountain * rng.uniform(0.2, 1.0),
        water=Water(
            x=rng.uniform(-6, 6), z=water_distance, width=water_width, tilt=rng.uniform(-0.6, 0.6)
        ),
        road=road if rng.rand() < biome.road else None,
        flower_threshold=rng.uniform(0.0, 0.7) if rng.rand() < biome.flowers else 9.0,
        offset=(rng.uniform(0, 256), rng.uniform(0, 256)),
        objects=_scatter_objects(rng, biome),
    )


def _sample_water(rng: np.random.RandomState, biome: Biome) -> tuple[float, float]:
    """Width and distance. All are drawn whatever the biome, so that what is drawn after them does not depend on it."""
    widths = {
        'lake': rng.uniform(9, 24),
        'river': rng.uniform(1.5, 3.5),
        'sea': rng.uniform(0, 8),
        'none': 0.0,
    }
    distances = {'lake': rng.uniform(20, 38), 'sea': rng.uniform(8, 18), 'river': 0.0, 'none': 0.0}
    return widths[biome.water], distances[biome.water]


def _scatter_objects(rng: np.random.RandomState, biome: Biome) -> tuple[SceneObject, ...]:
    """Trees and rocks over the panorama, far ones first."""
    num_trees, num_rocks = (
        rng.randint(biome.trees[0], biome.trees[1] + 1),
        rng.randint(biome.rocks[0], biome.rocks[1] + 1),
    )
    if not rng.rand() < 0.75:
        num_rocks = 0
    draws = rng.rand(num_trees + num_rocks, 8).tolist()
    objects = [_tree(draw, biome) for draw in draws[:num_trees]] + [
        _rock(draw) for draw in draws[num_trees:]
    ]
    return tuple(sorted(objects, key=lambda thing: -thing.z))


def _tree(draw: list[float], biome: Biome) -> SceneObject:
    """draw: 8 numbers in [0, 1), as below."""
    z, u, height, kind, variant, mirrored, tone, aspect = draw
    z, u = 9 * 9**z, PANORAMA * u - PANORAMA / 2
    kind = 'conifer' if kind < biome.conifers else 'broadleaf'
    height = (3.0 if kind == 'conifer' else 2.6) + 2.8 * height**2
    if (
        z < 16 and abs(u) < 0.24
    ):  # A tree right before the lens hides the scene: near ones step aside and frame it.
        u += -0.24 if u < 0 else 0.24
    return SceneObject(
        z, u, height, kind, int(6 * variant), mirrored < 0.5, tone, 0.85 + 0.35 * aspect
    )


def _rock(draw: list[float]) -> SceneObject:
    """draw: as for a tree, the fourth without use."""
    z, u, height, _, variant, mirrored, tone, aspect = draw
    return SceneObject(
        5 * 6**z,
        PANORAMA * u - PANORAMA / 2,
        0.35 + 1.3 * height**3,
        'boulder',
        int(6 * variant),
        mirrored < 0.5,
        tone,
        1.7 * (0.85 + 0.35 * aspect),
    )
