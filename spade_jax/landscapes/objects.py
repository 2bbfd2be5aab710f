"""Place, light and render trees and rocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spade_jax.landscapes import classes
from spade_jax.landscapes.canvas import Canvas
from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, ROCK, SAND, TREE
from spade_jax.landscapes.interpolation import mix
from spade_jax.landscapes.layout import Layout, SceneObject
from spade_jax.landscapes.lighting import Lighting, haze_amount, veil
from spade_jax.landscapes.palette import Palette
from spade_jax.landscapes.sprites import Sprite, boulder, broadleaf, conifer, level_for
from spade_jax.landscapes.terrain import Terrain


class _Kind(NamedTuple):
    """A kind of object."""

    sprite: Callable[[int], Sprite]  # of a variant
    label: int
    tones: str  # field of `Palette`
    stands_on: tuple[int, ...]  # classes of the ground
    shadow: float  # depth of the shadow in heights of the object


_ROCK_GROUND = (GRASS, SAND, HILL, classes.WATER, classes.SNOW, classes.MOUNTAIN)
_KINDS = {
    'conifer': _Kind(conifer, TREE, 'conifer', (GRASS, FLOWERS, HILL), 0.10),
    'broadleaf': _Kind(broadleaf, TREE, 'crown', (GRASS, FLOWERS, HILL, SAND), 0.10),
    'boulder': _Kind(boulder, ROCK, 'rock', _ROCK_GROUND, 0.20),
}


class _Place(NamedTuple):
    """Where an object is on the canvas, in pixels; it may exceed the canvas."""

    x: float  # of its foot
    y: float
    width: float
    height: float
    left: int  # of the box of whole pixels
    top: int
    right: int
    bottom: int
    ground: float  # height of its foot over the water in world units


def render_objects(
    canvas: Canvas, layout: Layout, lighting: Lighting, palette: Palette, terrain: Terrain
) -> None:
    """Render objects whose foot is visible, or below the image, and on suitable ground."""
    ground_label = canvas.label.copy()  # Trees do not stand on the trees behind them.
    steps = np.searchsorted(terrain.z, [scene_object.z for scene_object in layout.objects])
    for number, (scene_object, step) in enumerate(zip(layout.objects, steps, strict=True)):
        ground_row = terrain.height[step]
        place = _place(canvas, layout, ground_row, ground_label, scene_object)
        if place is not None:
            instance = classes.FIRST_OBJECT_INSTANCE + number
            _cast_shadow(canvas, lighting, scene_object, place)
            _render_sprite(canvas, lighting, palette, scene_object, place, instance)


def _place(
    canvas: Canvas,
    layout: Layout,
    ground_row: np.ndarray,
    ground_label: np.ndarray,
    scene_object: SceneObject,
) -> _Place | None:
    """The place of an object; None if it is outside, hidden, or on unsuitable ground.

    ground_row: [W], height of the terrain at the distance of the object.
    """
    rows, columns, first_u, z = canvas.rows, canvas.columns, canvas.u[0], scene_object.z
    height = scene_object.height * layout.focal / z  # image heights
    width = height * scene_object.aspect
    left = (scene_object.u - 0.5 * width - first_u) * rows
    right = (scene_object.u + 0.5 * width - first_u) * rows
    if right < 1 or left > columns - 1 or height * rows < 2:
        return None
    x = (scene_object.u - first_u) * rows
    column = int(min(max(x, 0), columns - 1))
    ground = max(float(ground_row[column]), 0.0)
    foot = layout.horizon + layout.focal * (layout.eye - ground) / z  # v
    row = int(min(max(foot * rows, 0), rows - 1))
    if foot > 1.25:
        return None
    if foot < 1:
        visible = 0.9 * z < canvas.z[row, column] < 1.2 * z
        if not visible or ground_label[row, column] not in _KINDS[scene_object.kind].stands_on:
            return None
    left, top = int(left), int((foot - height) * rows)
    right, bottom = max(int(right), left + 2), max(int(foot * rows) + 1, top + 2)
    return _Place(x, foot * rows, width * rows, height * rows, left, top, right, bottom, ground)


def _cast_shadow(canvas: Canvas, lighting: Lighting, scene_object: SceneObject, place: _Place):
    """Darken a soft ellipse of ground below an object, shifted away from the light."""
    depth = _KINDS[scene_object.kind].shadow
    radius_x, radius_y = 1.3 * (0.5 * place.width), place.height * depth
    x, y = place.x - 0.25 * place.width * lighting.direction[0], place.y
    x0, x1 = max(int(x - radius_x), 0), min(int(x + radius_x) + 1, canvas.columns)
    y0, y1 = max(int(y - radius_y), 0), min(int(y + radius_y) + 1, canvas.rows)
    if x0 >= x1 or y0 >= y1:
        return
    a, b = (np.arange(x0, x1) - x) / radius_x, (np.arange(y0, y1) - y) / radius_y
    shade = 0.55 * (1.2 * (1 - a * a - (b * b)[:, None])).clip(0, 1)
    near = np.abs(canvas.z[y0:y1, x0:x1] - scene_object.z) < 0.35 * scene_object.z
    canvas.light[:, y0:y1, x0:x1] *= 1 - shade * near


def _render_sprite(
    canvas: Canvas,
    lighting: Lighting,
    palette: Palette,
    scene_object: SceneObject,
    place: _Place,
    instance: int,
):
    """Render an object into its box where nothing nearer is."""
    x0, x1 = max(place.left, 0), min(place.right, canvas.columns)
    y0, y1 = max(place.top, 0), min(place.bottom, canvas.rows)
    if x0 >= x1 or y0 >= y1:
        return
    kind, z = _KINDS[scene_object.kind], scene_object.z
    level = level_for(kind.sprite(scene_object.variant), place.bottom - place.top)
    texel_x = (np.arange(x0, x1) - place.left) * level.size // (place.right - place.left)
    texel_y = (np.arange(y0, y1) - place.top) * level.size // (place.bottom - place.top)
    if scene_object.mirrored:
        texel_x = level.size - 1 - texel_x
    texel = (texel_y * level.size)[:, None] + texel_x  # [h, w]
    shown = np.flatnonzero(level.solid[texel] & (canvas.z[y0:y1, x0:x1] > 0.97 * z))
    pixel = (np.arange(y0, y1) * canvas.columns)[:, None] + np.arange(x0, x1)  # [h, w]
    pixel = pixel.ravel()[shown]  # [N]
    texels = level.texels.take(texel.ravel()[shown], axis=1)  # [5, N]
    light = _lit_texels(lighting, palette, scene_object, texels)
    haze = 0.9 * float(haze_amount(lighting, z, place.ground))
    canvas.set_light(pixel, veil(lighting, light, haze))
    canvas.set_surface(pixel, kind.label, instance, z)


def _lit_texels(
    lighting: Lighting, palette: Palette, scene_object: SceneObject, texels: np.ndarray
) -> np.ndarray:
    """The light [3, N] of the texels [5, N] of an object."""
    normal_x, normal_y, normal_z, tone, trunk = texels
    light_x, light_y, light_z = lighting.direction
    if scene_object.mirrored:
        light_x = -light_x
    facing = np.maximum(normal_x * light_x + normal_y * light_y - normal_z * light_z, 0)
    sky = 0.65 + 0.35 * normal_y
    tones = getattr(palette, _KINDS[scene_object.kind].tones)
    color = mix(tones.at(tone + 0.3 * (scene_object.tone - 0.5)), palette.trunk, trunk)
    return color * (facing * lighting.sunlight * 1.1 + sky * lighting.ambient)
