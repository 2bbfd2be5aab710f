"""Placing, lighting and drawing trees and rocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.canvas import Canvas
from spade_jax.landscapes.classes import (
    FIRST_OBJECT_INSTANCE,
    FLOWERS,
    GRASS,
    HILL,
    MOUNTAIN,
    ROCK,
    SAND,
    SNOW,
    TREE,
    WATER,
)
from spade_jax.landscapes.interpolation import mix
from spade_jax.landscapes.layout import Layout, SceneObject
from spade_jax.landscapes.lighting import Lighting, haze_amount, veil
from spade_jax.landscapes.palette import Palette
from spade_jax.landscapes.sprites import Sprite, boulder, broadleaf, conifer, level_for
from spade_jax.landscapes.terrain import Terrain


class _Kind(NamedTuple):
    """sprite: of a variant; tones: field of `Palette`; shadow: depth of its shadow in its heights."""

    sprite: Callable[[int], Sprite]
    label: int
    tones: str
    stands_on: tuple[int, ...]
    shadow: float


_KINDS = {
    'conifer': _Kind(conifer, TREE, 'conifer', (GRASS, FLOWERS, HILL), 0.10),
    'broadleaf': _Kind(broadleaf, TREE, 'crown', (GRASS, FLOWERS, HILL, SAND), 0.10),
    'boulder': _Kind(boulder, ROCK, 'rock', (GRASS, SAND, HILL, WATER, SNOW, MOUNTAIN), 0.20),
}


class _Place(NamedTuple):
    """Where an object stands on the canvas, in pixels; it may overhang the canvas.

    x, y: its foot; width, height: its size.
    left, top, right, bottom: the box of whole pixels that it is drawn into.
    ground: height of its foot over the water, world units.
    """

    x: float
    y: float
    width: float
    height: float
    left: int
    top: int
    right: int
    bottom: int
    ground: float


def draw_objects(
    canvas: Canvas, layout: Layout, lighting: Lighting, palette: Palette, terrain: Terrain
):
    """Draws trees and rocks where their foot is in sight and on ground that suits them; feet under the lower border always are."""
    ground_label = (
        canvas.label.copy()
    )  # What a tree stands on must not depend on the trees behind it.
    steps = np.searchsorted(terrain.z, [thing.z for thing in layout.objects])
    for instance, (thing, step) in enumerate(zip(layout.objects, steps), FIRST_OBJECT_INSTANCE):
        place = _place(canvas, layout, terrain, ground_label, thing, step)
        if place is not None:
            _cast_shadow(canvas, lighting, thing, place)
            _draw_sprite(canvas, lighting, palette, thing, place, instance)


def _place(
    canvas: Canvas,
    layout: Layout,
    terrain: Terrain,
    ground_label: np.ndarray,
    thing: SceneObject,
    step: int,
) -> _Place | None:
    """Where the object is drawn; None if it is out of the picture, hidden, or not on ground that suits it. step: of the terrain at its distance."""
    rows, columns, first_u = canvas.rows, canvas.columns, canvas.u[0]
    height = thing.height * layout.focal / thing.z  # Image heights.
    width = height * thing.aspect
    left, right = (thing.u - 0.5 * width - first_u) * rows, (thing.u + 0.5 * width - first_u) * rows
    if right < 1 or left > columns - 1 or height * rows < 2:
        return None
    x = (thing.u - first_u) * rows
    column = int(min(max(x, 0), columns - 1))
    ground = max(float(terrain.height[step, column]), 0.0)
    foot = layout.horizon + layout.focal * (layout.eye - ground) / thing.z  # v
    row = int(min(max(foot * rows, 0), rows - 1))
    if foot > 1.25:
        return None
    if foot < 1:
        in_sight = 0.9 * thing.z < canvas.z[row, column] < 1.2 * thing.z
        if not in_sight or ground_label[row, column] not in _KINDS[thing.kind].stands_on:
            return None
    left, top = int(left), int((foot - height) * rows)
    right, bottom = max(int(right), left + 2), max(int(foot * rows) + 1, top + 2)
    return _Place(x, foot * rows, width * rows, height * rows, left, top, right, bottom, ground)


def _cast_shadow(canvas: Canvas, lighting: Lighting, thing: SceneObject, place: _Place):
    """Darkens a soft ellipse of ground under an object, drawn out away from the light."""
    radius_x, radius_y = 1.3 * (0.5 * place.width), place.height * _KINDS[thing.kind].shadow
    x, y = place.x - 0.25 * place.width * lighting.direction[0], place.y
    x0, x1 = max(int(x - radius_x), 0), min(int(x + radius_x) + 1, canvas.columns)
    y0, y1 = max(int(y - radius_y), 0), min(int(y + radius_y) + 1, canvas.rows)
    if x0 >= x1 or y0 >= y1:
        return
    a, b = (np.arange(x0, x1) - x) / radius_x, (np.arange(y0, y1) - y) / radius_y
    shade = 0.55 * (1.2 * (1 - a * a - (b * b)[:, None])).clip(0, 1)
    near = np.abs(canvas.z[y0:y1, x0:x1] - thing.z) < 0.35 * thing.z
    canvas.light[:, y0:y1, x0:x1] *= 1 - shade * near


def _draw_sprite(
    canvas: Canvas,
    lighting: Lighting,
    palette: Palette,
    thing: SceneObject,
    place: _Place,
    instance: int,
):
    """Draws the object into its box where nothing nearer stands."""
    x0, x1 = max(place.left, 0), min(place.right, canvas.columns)
    y0, y1 = max(place.top, 0), min(place.bottom, canvas.rows)
    if x0 >= x1 or y0 >= y1:
        return
    kind = _KINDS[thing.kind]
    level = level_for(kind.sprite(thing.variant), place.bottom - place.top)
    texel_x = (np.arange(x0, x1) - place.left) * level.size // (place.right - place.left)
    texel_y = (np.arange(y0, y1) - place.top) * level.size // (place.bottom - place.top)
    if thing.mirrored:
        texel_x = level.size - 1 - texel_x
    texel = (texel_y * level.size)[:, None] + texel_x  # [h, w]
    shown = np.flatnonzero(level.solid[texel] & (canvas.z[y0:y1, x0:x1] > 0.97 * thing.z))
    pixel = (np.arange(y0, y1) * canvas.columns)[:, None] + np.arange(x0, x1)
    pixel = pixel.ravel()[shown]
    light = _lit_texels(lighting, palette, thing, level.texels.take(texel.ravel()[shown], axis=1))
    canvas.set_light(
        pixel, veil(lighting, light, 0.9 * float(haze_amount(lighting, thing.z, place.ground)))
    )
    canvas.set_surface(pixel, kind.label, instance, thing.z)


def _lit_texels(
    lighting: Lighting, palette: Palette, thing: SceneObject, texels: np.ndarray
) -> np.ndarray:
    """Light [3, N] that the texels [5, N] of an object send."""
    normal_x, normal_y, normal_z, tone, trunk = texels
    light_x, light_y, light_z = lighting.direction
    if thing.mirrored:
        light_x = -light_x
    facing = np.maximum(normal_x * light_x + normal_y * light_y - normal_z * light_z, 0)
    sky = 0.65 + 0.35 * normal_y
    color = getattr(palette, _KINDS[thing.kind].tones).at(tone + 0.3 * (thing.tone - 0.5))
    color = mix(color, palette.trunk, trunk)
    return color * (facing * lighting.sunlight * 1.1 + sky * lighting.ambient)
