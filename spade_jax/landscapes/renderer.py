"""Render a scene: from a seed, a size and a style to an image and its maps."""

from typing import NamedTuple

import numpy as np

from spade_jax.errors import UserError
from spade_jax.landscapes.canvas import Canvas, finish_image, finish_labels
from spade_jax.landscapes.compositions import sample_layout
from spade_jax.landscapes.ground import visible_ground
from spade_jax.landscapes.layout import PANORAMA
from spade_jax.landscapes.look import look_of
from spade_jax.landscapes.materials import ground_light
from spade_jax.landscapes.objects import render_objects
from spade_jax.landscapes.sky import render_sky
from spade_jax.landscapes.style import Style, sample_style
from spade_jax.landscapes.terrain import trace_terrain
from spade_jax.landscapes.water import render_water

MIN_SIZE = 16  # Pixels, height and width.
MAX_ASPECT_RATIO = PANORAMA  # Width over height: there are no objects beyond the panorama.


class Scene(NamedTuple):
    """A rendered scene."""

    image: np.ndarray  # [H, W, 3] uint8, red green blue
    label: np.ndarray  # [H, W] uint8, index into `CLASSES`
    instance: np.ndarray  # [H, W] uint16, 0 for what cannot be counted


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
    layout = sample_layout(seed)
    look = look_of(layout, style or sample_style(seed))
    canvas = Canvas.blank(height, width)
    terrain = trace_terrain(layout, canvas.u, canvas.rows)
    ground = visible_ground(terrain, layout, canvas.v)

    covered = np.bincount(ground.row, minlength=canvas.rows)
    last_sky_row = int(np.flatnonzero(covered < canvas.columns).max(initial=-1))
    render_sky(canvas, layout, look, last_sky_row + 1)
    canvas.set_light(ground.pixel, ground_light(layout, look, ground))
    canvas.set_surface(ground.pixel, ground.label, 0, ground.z)
    render_objects(canvas, layout, look, terrain)
    render_water(canvas, layout, look, ground)
    return Scene(finish_image(canvas, layout, look), *finish_labels(canvas))


def _check(seed: int, height: int, width: int) -> None:
    for name, value in (('height', height), ('width', width)):
        if value < MIN_SIZE:
            problem = f'{name}={value} is too small to show a landscape'
            raise UserError(problem, f'use {MIN_SIZE} or more')
    widest = int(MAX_ASPECT_RATIO * height)
    if width > widest:
        problem = f'width={width} is more than {MAX_ASPECT_RATIO:g} times height={height}'
        raise UserError(problem, f'use a width of {widest} or less')
    if seed < 0:
        raise UserError(f'seed={seed} is negative', 'use 0 or more')
