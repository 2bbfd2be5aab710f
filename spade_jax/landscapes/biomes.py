"""The kinds of country that layouts are drawn from."""

from __future__ import annotations

from typing import NamedTuple


class Biome(NamedTuple):
    """Ranges (low, high) from which a layout is drawn.

    Lengths are world units, about a metre near the camera; mountains are stage scenery, not to scale.

    water: 'lake', 'river', 'sea' or 'none'.
    roll: height of the near ground's waves.
    hill, mountain: their heights.
    beach: height of sand above the water.
    road, flowers: probability that there are any.
    trees, rocks: how many are scattered over the whole panorama.
    conifers: their share in the trees.
    """

    water: str
    roll: tuple[float, float]
    hill: tuple[float, float]
    mountain: tuple[float, float]
    beach: float
    road: float
    flowers: float
    trees: tuple[int, int]
    conifers: float
    rocks: tuple[int, int]
    desert: bool = False


MOUNTAIN_LAKE = Biome(
    'lake',
    roll=(0.3, 0.7),
    hill=(4, 8),
    mountain=(40, 66),
    beach=0.16,
    road=0.15,
    flowers=0.35,
    trees=(40, 90),
    conifers=0.9,
    rocks=(6, 24),
)
COAST = Biome(
    'sea',
    roll=(0.3, 0.8),
    hill=(3, 7),
    mountain=(0, 34),
    beach=0.50,
    road=0.15,
    flowers=0.25,
    trees=(8, 40),
    conifers=0.15,
    rocks=(8, 30),
)
RIVER_VALLEY = Biome(
    'river',
    roll=(0.3, 0.7),
    hill=(4, 8),
    mountain=(34, 60),
    beach=0.12,
    road=0.20,
    flowers=0.40,
    trees=(30, 80),
    conifers=0.6,
    rocks=(6, 20),
)
HILLS = Biome(
    'none',
    roll=(0.6, 1.2),
    hill=(6, 11),
    mountain=(0, 26),
    beach=0.0,
    road=0.80,
    flowers=0.60,
    trees=(24, 60),
    conifers=0.15,
    rocks=(0, 10),
)
FOREST = Biome(
    'none',
    roll=(0.4, 0.9),
    hill=(5, 9),
    mountain=(10, 40),
    beach=0.0,
    road=0.60,
    flowers=0.30,
    trees=(130, 190),
    conifers=0.6,
    rocks=(0, 12),
)
DESERT = Biome(
    'none',
    roll=(1.2, 2.2),
    hill=(1, 3),
    mountain=(16, 42),
    beach=1e3,
    road=0.35,
    flowers=0.0,
    trees=(0, 10),
    conifers=0.0,
    rocks=(12, 40),
    desert=True,
)
HIGHLAND = Biome(
    'lake',
    roll=(0.5, 1.0),
    hill=(3, 6),
    mountain=(34, 56),
    beach=0.0,
    road=0.30,
    flowers=0.45,
    trees=(6, 30),
    conifers=1.0,
    rocks=(24, 60),
)

BIOMES = (MOUNTAIN_LAKE, COAST, RIVER_VALLEY, HILLS, FOREST, DESERT, HIGHLAND)
