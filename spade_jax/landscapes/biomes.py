"""The kinds of country that layouts are sampled from."""

from __future__ import annotations

from typing import NamedTuple


class Relief(NamedTuple):
    """Heights in world units; mountains are a backdrop and not to scale.

    Attributes:
      roll: Range of the height of the near ground's waves.
      hill, mountain: Ranges of their heights.
      beach: Height of sand above the water.
    """

    roll: tuple[float, float]
    hill: tuple[float, float]
    mountain: tuple[float, float]
    beach: float


class Cover(NamedTuple):
    """What is on the ground.

    Attributes:
      trees, rocks: Ranges of their numbers in the panorama.
      conifers: Share of conifers among the trees.
      flowers, road: Probabilities that there are any.
    """

    trees: tuple[int, int]
    conifers: float
    rocks: tuple[int, int]
    flowers: float
    road: float


class Biome(NamedTuple):
    """A kind of country.

    Attributes:
      water: 'lake', 'river', 'sea' or 'none'.
      relief: Heights.
      cover: What is on the ground.
      desert: True for sand and dunes in place of grass.
    """

    water: str
    relief: Relief
    cover: Cover
    desert: bool = False


MOUNTAIN_LAKE = Biome(
    'lake',
    Relief(roll=(0.3, 0.7), hill=(4, 8), mountain=(40, 66), beach=0.16),
    Cover(trees=(40, 90), conifers=0.9, rocks=(6, 24), flowers=0.35, road=0.15),
)
COAST = Biome(
    'sea',
    Relief(roll=(0.3, 0.8), hill=(3, 7), mountain=(0, 34), beach=0.50),
    Cover(trees=(8, 40), conifers=0.15, rocks=(8, 30), flowers=0.25, road=0.15),
)
RIVER_VALLEY = Biome(
    'river',
    Relief(roll=(0.3, 0.7), hill=(4, 8), mountain=(34, 60), beach=0.12),
    Cover(trees=(30, 80), conifers=0.6, rocks=(6, 20), flowers=0.40, road=0.20),
)
HILLS = Biome(
    'none',
    Relief(roll=(0.6, 1.2), hill=(6, 11), mountain=(0, 26), beach=0.0),
    Cover(trees=(24, 60), conifers=0.15, rocks=(0, 10), flowers=0.60, road=0.80),
)
FOREST = Biome(
    'none',
    Relief(roll=(0.4, 0.9), hill=(5, 9), mountain=(10, 40), beach=0.0),
    Cover(trees=(130, 190), conifers=0.6, rocks=(0, 12), flowers=0.30, road=0.60),
)
DESERT = Biome(
    'none',
    Relief(roll=(1.2, 2.2), hill=(1, 3), mountain=(16, 42), beach=1e3),
    Cover(trees=(0, 10), conifers=0.0, rocks=(12, 40), flowers=0.0, road=0.35),
    desert=True,
)
HIGHLAND = Biome(
    'lake',
    Relief(roll=(0.5, 1.0), hill=(3, 6), mountain=(34, 56), beach=0.0),
    Cover(trees=(6, 30), conifers=1.0, rocks=(24, 60), flowers=0.45, road=0.30),
)

BIOMES = (MOUNTAIN_LAKE, COAST, RIVER_VALLEY, HILLS, FOREST, DESERT, HIGHLAND)
