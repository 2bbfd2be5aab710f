"""The layout of a scene: everything that its labels depend on, sampled from the seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.biomes import BIOMES, Biome
from spade_jax.landscapes.random_state import Stream, random_state

PANORAMA = 4.0  # Width in image heights over which objects are scattered.


class Water(NamedTuple):
    """A lake, river or sea, in world units.

    Attributes:
      x, z: Center of a lake, offset of a river, distance of the sea's shore.
      width: Width of a lake, a river or the sea's beach.
      tilt: How far it runs across the view.
    """

    x: float
    z: float
    width: float
    tilt: float


class Road(NamedTuple):
    """A road, in world units.

    Attributes:
      x: Where it starts.
      sway, phase: Amplitude and phase (radians) of its bends.
      half_width: Half of its width.
    """

    x: float
    sway: float
    phase: float
    half_width: float


class SceneObject(NamedTuple):
    """A tree or a rock.

    Attributes:
      z: Distance in world units.
      u: Screen coordinate of its center, in image heights.
      height: World units.
      kind: 'conifer', 'broadleaf' or 'boulder'.
      variant: Index of the sprite of its kind.
      mirrored: True if the sprite is flipped.
      tone: 0 dark, 1 light.
      aspect: Width over height.
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
    """A layout. Screen coordinates are in image heights, lengths in world units.

    Attributes:
      biome: The kind of country.
      horizon: v of the horizon.
      eye: Height of the camera over the water.
      focal: Focal length in image heights.
      sun: u and v.
      sun_visible: True if the sun is in the sky.
      cloud_cover: Threshold on noise of unit variance: high is clear.
      cloud_scale: Features per unit of the ceiling.
      roll, hill, mountain: Heights of the near ground's waves, of hills and of mountains.
      hill_start, mountain_start: Distances from which they rise.
      snow_line: Height above which there is snow.
      water: Water, if the biome has any.
      road: The road, if there is one.
      flower_threshold: On noise of unit variance: high is bare.
      offset: Offset of the world in the noise.
      objects: Far ones first; instance ids follow this order.
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
    """Sample the layout of a scene. The order of the samples is frozen: new ones go last."""
    rng = random_state(Stream.LAYOUT, seed)
    biome = BIOMES[rng.randint(len(BIOMES))]
    relief, cover = biome.relief, biome.cover
    eye = rng.uniform(2.4, 4.2)
    mountain = rng.uniform(*relief.mountain)
    width, z = _sample_water(rng, biome)
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
        roll=rng.uniform(*relief.roll),
        hill=rng.uniform(*relief.hill),
        hill_start=rng.uniform(22, 42),
        mountain=mountain,
        mountain_start=rng.uniform(70, 120),
        snow_line=mountain * rng.uniform(0.2, 1.0),
        water=Water(x=rng.uniform(-6, 6), z=z, width=width, tilt=rng.uniform(-0.6, 0.6)),
        road=road if rng.rand() < cover.road else None,
        flower_threshold=rng.uniform(0.0, 0.7) if rng.rand() < cover.flowers else 9.0,
        offset=(rng.uniform(0, 256), rng.uniform(0, 256)),
        objects=_scatter_objects(rng, biome),
    )


def _sample_water(rng: np.random.RandomState, biome: Biome) -> tuple[float, float]:
    """Width and distance. Samples for every biome, so that later samples do not depend on it."""
    lake, river, sea = rng.uniform(9, 24), rng.uniform(1.5, 3.5), rng.uniform(0, 8)
    widths = {'lake': lake, 'river': river, 'sea': sea, 'none': 0.0}
    distances = {'lake': rng.uniform(20, 38), 'sea': rng.uniform(8, 18), 'river': 0.0, 'none': 0.0}
    return widths[biome.water], distances[biome.water]


def _scatter_objects(rng: np.random.RandomState, biome: Biome) -> tuple[SceneObject, ...]:
    """Trees and rocks over the panorama, far ones first."""
    (few_trees, most_trees), (few_rocks, most_rocks) = biome.cover.trees, biome.cover.rocks
    num_trees, num_rocks = (
        rng.randint(few_trees, most_trees + 1),
        rng.randint(few_rocks, most_rocks + 1),
    )
    if not rng.rand() < 0.75:
        num_rocks = 0
    samples = rng.rand(num_trees + num_rocks, 8).tolist()
    objects = [_tree(numbers, biome.cover.conifers) for numbers in samples[:num_trees]]
    objects += map(_rock, samples[num_trees:])
    return tuple(sorted(objects, key=lambda scene_object: -scene_object.z))


def _tree(numbers: list[float], conifers: float) -> SceneObject:
    """A tree from 8 random numbers in [0, 1)."""
    z, u, height, kind, variant, mirrored, tone, aspect = numbers
    z, u = 9 * 9**z, PANORAMA * u - PANORAMA / 2
    kind = 'conifer' if kind < conifers else 'broadleaf'
    height = (3.0 if kind == 'conifer' else 2.6) + 2.8 * height**2
    # A tree in front of the camera would hide the scene: near ones frame it.
    if z < 16 and abs(u) < 0.24:
        u += -0.24 if u < 0 else 0.24
    aspect = 0.85 + 0.35 * aspect
    return SceneObject(z, u, height, kind, int(6 * variant), mirrored < 0.5, tone, aspect)


def _rock(numbers: list[float]) -> SceneObject:
    """A rock from 8 random numbers in [0, 1), of which the fourth is unused."""
    z, u, height, _, variant, mirrored, tone, aspect = numbers
    z, u = 5 * 6**z, PANORAMA * u - PANORAMA / 2
    height, aspect = 0.35 + 1.3 * height**3, 1.7 * (0.85 + 0.35 * aspect)
    return SceneObject(z, u, height, 'boulder', int(6 * variant), mirrored < 0.5, tone, aspect)
