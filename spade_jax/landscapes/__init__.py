"""Procedural landscapes: a label map, an instance map and the picture that goes with them.

The renderer behind the `scenes` data set. A height field is traced column by column (the nearest surface that a pixel's ray meets), every ground pixel is
classified from its place in the world, lit, and veiled by haze; trees and rocks are sprites with normals; water mirrors what stands behind it.

Layout and style are separate. `render_scene(seed, ...)` draws layout from the seed alone, so one label map can be had in any light: the many-valued
mapping that a style encoder is there to learn.

    seed -> layout -> terrain -> ground and its classes --+
    seed, or given -> style -> lighting and palette ------+-> sky, lit materials, objects, water -> image, label, instance

Conventions:
  Screen places are in image heights, u from the middle to the right, v from the top down, so a scene is the same at every resolution and a wider image
    shows more of it. World places are x to the right, y up and z away from the camera, in units of about a metre.
  Everything is drawn at twice the resolution: colours are averaged, labels and instances follow the majority of the four samples.
  Colours come first: [3, N] or [3, H, W], and single ones [3, 1], so that NumPy's inner loops run over pixels and not over three channels.
  Random numbers come from `np.random.RandomState`, whose streams NumPy keeps fixed for good; nothing global is read or written.
  It needs NumPy alone, so that the processes which render a data set start at once.
"""

from spade_jax.landscapes.classes import (
    CLASSES,
    CLOUD,
    FLOWERS,
    GRASS,
    HILL,
    MOUNTAIN,
    ROAD,
    ROCK,
    SAND,
    SKY,
    SNOW,
    SUN,
    SUN_INSTANCE,
    TREE,
    WATER,
    SceneClass,
)
from spade_jax.landscapes.renderer import MAX_ASPECT_RATIO, MIN_SIZE, Scene, render_scene
from spade_jax.landscapes.style import Style, sample_style

__all__ = [
    'CLASSES',
    'CLOUD',
    'FLOWERS',
    'GRASS',
    'HILL',
    'MAX_ASPECT_RATIO',
    'MIN_SIZE',
    'MOUNTAIN',
    'ROAD',
    'ROCK',
    'SAND',
    'SKY',
    'SNOW',
    'SUN',
    'SUN_INSTANCE',
    'Scene',
    'SceneClass',
    'Style',
    'TREE',
    'WATER',
    'render_scene',
    'sample_style',
]
