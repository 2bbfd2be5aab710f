"""The kinds of country that layouts are sampled from."""

from typing import NamedTuple


class Biome(NamedTuple):
    """A kind of country: ranges of heights in world units, ranges of numbers, and shares."""

    water: str  # 'lake', 'river', 'sea', 'none'; in compositions 'bay' or 'ocean'
    roll: tuple[float, float]  # height of the near ground's waves
    hill: tuple[float, float]  # height
    mountain: tuple[float, float]  # height; mountains are a backdrop and not to scale
    beach: float  # height of sand above the water
    trees: tuple[int, int]  # number in the panorama
    conifers: float  # share among the trees
    rocks: tuple[int, int]  # number in the panorama
    flowers: float  # probability that there are any
    road: float  # probability
    desert: bool = False  # sand and dunes in place of grass


# Mountain lake, coast, river valley, hills, forest, desert, highland.
BIOMES = (
    # water, roll, hill, mountain, beach, trees, conifers, rocks, flowers, road, desert
    Biome('lake', (0.3, 0.7), (4, 8), (40, 66), 0.16, (40, 90), 0.90, (6, 24), 0.35, 0.15),
    Biome('sea', (0.3, 0.8), (3, 7), (0, 34), 0.50, (8, 40), 0.15, (8, 30), 0.25, 0.15),
    Biome('river', (0.3, 0.7), (4, 8), (34, 60), 0.12, (30, 80), 0.60, (6, 20), 0.40, 0.20),
    Biome('none', (0.6, 1.2), (6, 11), (0, 26), 0.0, (24, 60), 0.15, (0, 10), 0.60, 0.80),
    Biome('none', (0.4, 0.9), (5, 9), (10, 40), 0.0, (130, 190), 0.60, (0, 12), 0.30, 0.60),
    Biome('none', (1.2, 2.2), (1, 3), (16, 42), 1e3, (0, 10), 0.0, (12, 40), 0.0, 0.35, True),
    Biome('lake', (0.5, 1.0), (3, 6), (34, 56), 0.0, (6, 30), 1.00, (24, 60), 0.45, 0.30),
)
