"""Procedural landscapes: images with label maps and instance maps, rendered from a seed.

The renderer behind the `scenes` data set. It traces a height field column by column, classifies and
lights each ground pixel, adds haze, places trees and rocks as sprites with normals, and mirrors
them in the water.

Layout and style are separate: the layout depends on the seed alone, so one label map can be
rendered in many styles, which is the one-to-many mapping that a style encoder learns. Most layouts
are wide countries; a share are simple compositions, in which one thing is large and near.

    seed -> layout -> terrain -> ground and its classes --+
    seed or argument -> style -> look (light, palette) ---+-> sky, ground, objects, water -> scene

Conventions:
  Screen coordinates are in image heights: u from the center to the right, v from the top down. A
    scene is the same at every resolution, and a wider image shows more of it.
  World coordinates are x to the right, y up and z away from the camera, in about meters.
  Rendering is at twice the resolution. Colors are averaged; labels and instances take the majority.
  Channels come first, [3, N] or [3, H, W], and single colors are [3, 1], so that the inner loops of
    NumPy run over pixels.
  Random numbers come from `np.random.RandomState`, whose streams are frozen.
  It needs NumPy alone, so that the processes that render a data set start quickly.
"""

from spade_jax.landscapes.classes import CLASSES, SceneClass
from spade_jax.landscapes.renderer import Scene, render_scene
from spade_jax.landscapes.style import Style, sample_style

# Raised with every change of the rendered scenes: prepared data are known by it.
VERSION = '1.1.0'

__all__ = ['CLASSES', 'VERSION', 'Scene', 'SceneClass', 'Style', 'render_scene', 'sample_style']
