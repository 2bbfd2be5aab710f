"""Render a scene: from a seed, a size and a style to an image and its maps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.errors import UserError
from spade_jax.landscapes.canvas import Canvas, finish_image, finish_labels
from spade_jax.landscapes.ground import Ground, classify, visible_ground
from spade_jax.landscapes.layout import PANORAMA, sample_layout
from spade_jax.landscapes.lighting import haze_amount, light_ground, lighting_of, veil
from spade_jax.landscapes.materials import surface_of
from spade_jax.landscapes.objects import render_objects
from spade_jax.landscapes.palette import palette_of
from spade_jax.landscapes.sky import render_sky
from spade_jax.landscapes.style import Style, sample_style
from spade_jax.landscapes.terrain import trace_terrain
from spade_jax.landscapes.water import render_water

MIN_SIZE = 16  # Pixels, height and width.
MAX_ASPECT_RATIO = PANORAMA  # Width over height: there are no objects beyond the panorama.


class Scene(NamedTuple):
    """A rendered scene.

    Attributes:
      image: [H, W, 3] uint8, red green blue.
      label: [H, W] uint8, index into `CLASSES`.
      instance: [H, W] uint16, 0 for what cannot be counted.
    """

    image: np.ndarray
    label: np.ndarray
    instance: np.ndarray


def render_scene(seed: int, height: int, width: int, style: Style | None = None) -> Scene:
    """Render a scene; its maps depend on the seed and the size, its image also on the style.

    Args:
      seed: 0 or more.
      height: Pixels, 16 or more.
      width: Pixels, 16 or more, at most four times the height.
      style: `sample_style(seed)` by default.

    Raises:
      UserError: An argument is out of range.
    """
    _check(seed, height, width)
    seed = int(seed)  # Narrow NumPy integers would overflow in `random_state`.
    style = sample_style(seed) if style is None else style
    layout = sample_layout(seed)
    palette, lighting = palette_of(style), lighting_of(layout, style)
    canvas = Canvas.blank(height, width)

    terrain = trace_terrain(layout, canvas.u, canvas.rows)
    ground = visible_ground(terrain, layout, canvas.v)
    ground_label = classify(layout, ground)
    render_sky(canvas, layout, lighting, _num_sky_rows(canvas, ground))

    color, relief = surface_of(layout, palette, ground, ground_label)
    light = light_ground(layout, lighting, ground, color, relief)
    light = veil(lighting, light, haze_amount(lighting, ground.z, ground.height))
    canvas.set_light(ground.pixel, light)
    canvas.set_surface(ground.pixel, ground_label, 0, ground.z)

    render_objects(canvas, layout, lighting, palette, terrain)
    render_water(canvas, layout, lighting, palette, ground, ground_label)
    return Scene(finish_image(canvas, layout, lighting), *finish_labels(canvas))


def _check(seed: int, height: int, width: int):
    for name, value in (('height', height), ('width', width)):
        if value < MIN_SIZE:
            problem = f'{name}={value} is too small to show a landscape'
            raise UserError(problem, f'use {MIN_SIZE} or more')
    if width > MAX_ASPECT_RATIO * height:
        raise UserError(
            f'width={width} is more than {MAX_ASPECT_RATIO:g} times height={height}, '
            'where a landscape ends',
            f'use a width of {int(MAX_ASPECT_RATIO * height)} or less',
        )
    if seed < 0:
        raise UserError(f'seed={seed} is negative', 'use 0 or more')


def _num_sky_rows(canvas: Canvas, ground: Ground) -> int:
    """The number of rows from the top to the last one with any sky."""
    covered = np.bincount(ground.row, minlength=canvas.rows)
    return int(np.flatnonzero(covered < canvas.columns).max(initial=-1)) + 1
