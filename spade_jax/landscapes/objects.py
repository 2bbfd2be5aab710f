"""Place, light and render trees and rocks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spade_jax.landscapes import classes
from spade_jax.landscapes.canvas import Canvas
from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, ROCK, SAND, TREE
from spade_jax.landscapes.interpolation import mix
from spade_jax.landscapes.layout import Layout, SceneObject
from spade_jax.landscapes.look import Look, haze_amount
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
    box: tuple[int, int, int, int]  # left, top, right, bottom, in whole pixels
    ground: float  # height of its foot over the water in world units


def render_objects(canvas: Canvas, layout: Layout, look: Look, terrain: Terrain) -> None:
    """Render objects whose foot is visible, or below the image, and on suitable ground."""
    ground_label = canvas.label.copy()  # Trees do not stand on the trees behind them.
    for instance, item in enumerate(layout.objects, start=classes.FIRST_OBJECT_INSTANCE):
        place = _place(canvas, layout, terrain, ground_label, item)
        if place is not None:
            _cast_shadow(canvas, look, item, place)
            _render_sprite(canvas, look, item, place, instance)


def _place(
    canvas: Canvas, layout: Layout, terrain: Terrain, ground_label: np.ndarray, item: SceneObject
) -> _Place | None:
    """The place of an object; None if it is outside, hidden, or on unsuitable ground."""
    rows, columns, first_u, z = canvas.rows, canvas.columns, canvas.u[0], item.z
    height = item.height * layout.focal / z  # image heights
    width = height * item.aspect
    left, right = ((item.u + side * width - first_u) * rows for side in (-0.5, 0.5))
    if right < 1 or left > columns - 1 or height * rows < 2:
        return None
    x = (item.u - first_u) * rows
    column = int(min(max(x, 0), columns - 1))
    ground = max(float(terrain.height[np.searchsorted(terrain.z, z), column]), 0.0)
    foot = layout.horizon + layout.focal * (layout.eye - ground) / z  # v
    row = int(min(max(foot * rows, 0), rows - 1))
    if foot > 1.25:
        return None
    if foot < 1:
        visible = 0.9 * z < canvas.z[row, column] < 1.2 * z
        if not visible or ground_label[row, column] not in _KINDS[item.kind].stands_on:
            return None
    left, top = int(left), int((foot - height) * rows)
    box = left, top, max(int(right), left + 2), max(int(foot * rows) + 1, top + 2)
    return _Place(x, foot * rows, width * rows, height * rows, box, ground)


def _on_canvas(canvas: Canvas, left: int, top: int, right: int, bottom: int):
    """The columns and the rows of a box that are on the canvas, and their slices."""
    x0, x1 = np.clip((left, right), 0, canvas.columns)
    y0, y1 = np.clip((top, bottom), 0, canvas.rows)
    return np.arange(x0, x1), np.arange(y0, y1), np.s_[y0:y1, x0:x1]


def _cast_shadow(canvas: Canvas, look: Look, item: SceneObject, place: _Place) -> None:
    """Darken a soft ellipse of ground below an object, shifted away from the light."""
    radius_x, radius_y = 1.3 * (0.5 * place.width), place.height * _KINDS[item.kind].shadow
    x, y = place.x - 0.25 * place.width * look.direction[0], place.y
    left, right = int(x - radius_x), int(x + radius_x) + 1
    top, bottom = int(y - radius_y), int(y + radius_y) + 1
    columns, rows, box = _on_canvas(canvas, left, top, right, bottom)
    a, b = (columns - x) / radius_x, (rows - y) / radius_y
    shade = 0.55 * (1.2 * (1 - a * a - (b * b)[:, None])).clip(0, 1)
    near = np.abs(canvas.z[box] - item.z) < 0.35 * item.z
    canvas.light[:, *box] *= 1 - shade * near


def _render_sprite(canvas: Canvas, look: Look, item: SceneObject, place: _Place, instance: int):
    """Render an object into its box where nothing nearer is."""
    left, top, right, bottom = place.box
    columns, rows, box = _on_canvas(canvas, *place.box)
    kind = _KINDS[item.kind]
    level = level_for(kind.sprite(item.variant), bottom - top)
    texel_x = (columns - left) * level.size // (right - left)
    texel_y = (rows - top) * level.size // (bottom - top)
    if item.mirrored:
        texel_x = level.size - 1 - texel_x
    texel = (texel_y * level.size)[:, None] + texel_x  # [h, w]
    shown = np.flatnonzero(level.solid[texel] & (canvas.z[box] > 0.97 * item.z))
    pixel = ((rows * canvas.columns)[:, None] + columns).ravel()[shown]  # [N]
    texels = level.texels.take(texel.ravel()[shown], axis=1)  # [5, N]
    haze = 0.9 * float(haze_amount(look, item.z, place.ground))
    canvas.set_light(pixel, mix(_lit_texels(look, item, texels), look.haze_light, haze))
    canvas.set_surface(pixel, kind.label, instance, item.z)


def _lit_texels(look: Look, item: SceneObject, texels: np.ndarray) -> np.ndarray:
    """The light [3, N] of the texels [5, N] of an object."""
    normal_x, normal_y, normal_z, tone, trunk = texels
    light_x, light_y, light_z = look.direction
    if item.mirrored:
        light_x = -light_x
    facing = np.maximum(normal_x * light_x + normal_y * light_y - normal_z * light_z, 0)
    sky = 0.65 + 0.35 * normal_y
    tones = getattr(look.palette, _KINDS[item.kind].tones)
    color = mix(tones.at(tone + 0.3 * (item.tone - 0.5)), look.palette.trunk, trunk)
    return color * (facing * look.sunlight * 1.1 + sky * look.ambient)
