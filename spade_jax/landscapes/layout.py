"""The layout of a scene: everything that its labels depend on, sampled from the seed."""

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.biomes import BIOMES, Biome
from spade_jax.landscapes.random_state import Stream, random_state

PANORAMA = 4.0  # Width in image heights over which objects are scattered.


class Water(NamedTuple):
    """A lake, river or sea, in world units."""

    x: float  # center of a lake, offset of a river
    z: float  # center of a lake, distance of the sea's shore
    width: float  # of a lake, a river or the sea's beach
    tilt: float  # how far it runs across the view
    sway: float = 3.2  # amplitude of a river's bends


class Road(NamedTuple):
    """A road, in world units."""

    x: float  # where it starts
    sway: float  # amplitude of its bends
    phase: float  # of its bends, in radians
    half_width: float
    reach: float = 75.0  # distance up to which it is seen


class SceneObject(NamedTuple):
    """A tree or a rock."""

    z: float  # distance in world units
    u: float  # center
    height: float  # world units
    kind: str  # 'conifer', 'broadleaf' or 'boulder'
    variant: int  # index of the sprite of its kind
    mirrored: bool  # True if the sprite is flipped
    tone: float  # 0 dark, 1 light
    aspect: float  # width over height


class Summit(NamedTuple):
    """A large, near mountain or hill with a given silhouette; see `summits.py`.

    Its half widths, from the center to either foot, are in image heights.
    """

    z: float  # distance of its crest in world units
    depth: float  # from there to its foot at the camera's side, in world units
    u: float  # center
    rise: float  # above the horizon in image heights
    left: float
    right: float
    bulge: float  # 1 straight flanks; larger: a round top
    steepness: float  # 1 straight flanks; smaller: steep at the foot; larger: hollow
    rough: float  # of its silhouette, in image heights
    wooded: bool  # a hill, no mountain


class Puff(NamedTuple):
    """An ellipse of a cumulus cloud, in image heights."""

    u: float
    v: float
    radius_u: float
    radius_v: float


class Layout(NamedTuple):
    """A layout; lengths are in world units."""

    biome: Biome
    horizon: float  # v
    eye: float  # height of the camera over the water
    focal: float  # focal length in image heights
    sun: tuple[float, float]  # u, v
    sun_visible: bool
    cloud_cover: float  # threshold on noise of unit variance: high is clear
    cloud_scale: float  # features per unit of the ceiling
    roll: float  # height of the near ground's waves
    hill: float  # height
    hill_start: float  # distance from which hills rise
    mountain: float  # height
    mountain_start: float  # distance from which mountains rise
    snow_line: float  # height above which there is snow
    water: Water
    road: Road | None
    flower_threshold: float  # on noise of unit variance: high is bare
    offset: tuple[float, float]  # of the world in the noise
    objects: tuple[SceneObject, ...]  # far ones first; instance ids follow this order
    sun_radius: float = 0.042  # image heights
    flower_reach: float = 45.0  # distance up to which there are flowers
    summits: tuple[Summit, ...] = ()
    puffs: tuple[Puff, ...] = ()
    composition: str = ''  # its name, if it is no wide country


def sample_panorama(seed: int) -> Layout:
    """Sample a wide country. The order of the samples is frozen: new ones go last."""
    rng = random_state(Stream.LAYOUT, seed)
    uniform = rng.uniform
    biome = BIOMES[rng.randint(len(BIOMES))]
    eye, mountain = uniform(2.4, 4.2), uniform(*biome.mountain)
    # Samples for every kind of water, so that later samples do not depend on it.
    widths = {'lake': uniform(9, 24), 'river': uniform(1.5, 3.5), 'sea': uniform(0, 8)}
    distances = {'lake': uniform(20, 38), 'sea': uniform(8, 18)}
    width, z = (lengths.get(biome.water, 0.0) for lengths in (widths, distances))
    road = Road(uniform(-1.5, 1.5), uniform(-2.5, 2.5), uniform(0, 6.28), uniform(0.6, 1.1))
    horizon = uniform(0.36, 0.56)
    return Layout(
        biome=biome,
        horizon=horizon,
        eye=eye,
        focal=uniform(1.0, 1.3),
        sun=(float(uniform(0.08, 0.42) * rng.choice([-1, 1])), horizon * uniform(0.2, 0.7)),
        sun_visible=rng.rand() < 0.5,
        cloud_cover=uniform(-0.2, 2.0),
        cloud_scale=uniform(0.5, 0.9),
        roll=uniform(*biome.roll),
        hill=uniform(*biome.hill),
        hill_start=uniform(22, 42),
        mountain=mountain,
        mountain_start=uniform(70, 120),
        snow_line=mountain * uniform(0.2, 1.0),
        water=Water(uniform(-6, 6), z, width, tilt=uniform(-0.6, 0.6)),
        road=road if rng.rand() < biome.road else None,
        flower_threshold=uniform(0.0, 0.7) if rng.rand() < biome.flowers else 9.0,
        offset=(uniform(0, 256), uniform(0, 256)),
        objects=_scatter_objects(rng, biome),
    )


def _scatter_objects(rng: np.random.RandomState, biome: Biome) -> tuple[SceneObject, ...]:
    """Trees and rocks over the panorama, far ones first."""
    trees, rocks = (rng.randint(low, high + 1) for low, high in (biome.trees, biome.rocks))
    if not rng.rand() < 0.75:
        rocks = 0
    samples = rng.rand(trees + rocks, 8).tolist()
    objects = [_tree(numbers, biome.conifers) for numbers in samples[:trees]]
    objects += map(_rock, samples[trees:])
    return tuple(sorted(objects, key=lambda item: -item.z))


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
