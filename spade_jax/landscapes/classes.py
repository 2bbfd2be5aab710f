"""The classes of the label maps of landscapes."""

from typing import NamedTuple


class SceneClass(NamedTuple):
    """A class."""

    name: str
    color: tuple[int, int, int]  # sRGB in 0..255, for showing label maps


CLASSES: tuple[SceneClass, ...] = (
    SceneClass('sky', (135, 190, 235)),
    SceneClass('cloud', (236, 240, 245)),
    SceneClass('sun', (255, 221, 51)),
    SceneClass('mountain', (126, 110, 120)),
    SceneClass('snow', (200, 222, 255)),
    SceneClass('hill', (62, 104, 84)),
    SceneClass('grass', (124, 178, 66)),
    SceneClass('flowers', (214, 92, 150)),
    SceneClass('tree', (24, 88, 36)),
    SceneClass('water', (42, 98, 172)),
    SceneClass('sand', (236, 208, 150)),
    SceneClass('road', (170, 126, 90)),
    SceneClass('rock', (84, 84, 92)),
)
SKY, CLOUD, SUN, MOUNTAIN, SNOW, HILL, GRASS, FLOWERS, TREE, WATER, SAND, ROAD, ROCK = range(13)

# Instance ids: 0 is everything that cannot be counted; trees and rocks follow the sun.
SUN_INSTANCE = 1
FIRST_OBJECT_INSTANCE = 2
