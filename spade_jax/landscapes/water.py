"""Render lakes, rivers and the sea: mirrors with ripples."""

import numpy as np

from spade_jax.landscapes.canvas import Canvas
from spade_jax.landscapes.classes import WATER
from spade_jax.landscapes.color import radiance
from spade_jax.landscapes.ground import Ground
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.look import Look, haze_amount
from spade_jax.landscapes.noise import texture


def render_water(canvas: Canvas, layout: Layout, look: Look, ground: Ground) -> None:
    """Render the visible water, near its own color, far the mirrored image (Fresnel)."""
    shown = np.flatnonzero((ground.label == WATER) & (canvas.label.take(ground.pixel) == WATER))
    if not len(shown):
        return
    water = ground.at(shown)
    ripple = texture(water.x * 0.35, water.z * 0.9, water.footprint * 2)
    ripple = ripple + 0.5 * texture(water.x * 1.3, water.z * 3.1, water.footprint * 5)
    reflection = _reflection(canvas, look, water, ripple)
    grazing = np.exp(-3.0 * (water.v - layout.horizon) / layout.focal)
    fresnel = (0.30 + 0.62 * grazing) * (1 + 0.10 * ripple.clip(-2, 2))
    light = mix(_body(look, water), reflection, fresnel.clip(0, 0.97))
    if layout.sun_visible:
        spread = 0.05 + 0.12 * (water.v - layout.horizon)
        path = np.exp(-np.square((canvas.u[water.column] - layout.sun[0]) / spread))
        light += 0.5 * (path * np.maximum(ripple - 0.7, 0)) * radiance(look.glow)
    haze = 0.7 * haze_amount(look, water.z, 3.0)
    canvas.set_light(water.pixel, mix(light, look.haze_light, haze))


def _reflection(canvas: Canvas, look: Look, water: Ground, ripple: np.ndarray) -> np.ndarray:
    """The light [3, N] of the image mirrored at the farthest shore."""
    rows, columns = canvas.rows, canvas.columns
    # One mirror line for all columns: a line along the near banks would tear the reflection.
    shore = int(np.percentile(water.row, 1))
    depth = np.maximum(water.row - shore, 0)  # pixels
    mirrored = shore - 1 - depth + ripple * (0.012 * rows * smoothstep(depth, 0, 0.08 * rows))
    # Rows above the top edge are folded back.
    mirrored = np.abs(mirrored).clip(0, max(shore - 1, 0)).astype(np.intp)
    # Mirrored places that are water themselves show haze.
    canvas.set_light(water.pixel, look.haze_light)
    higher = np.maximum(mirrored - rows // 64, 0)
    near, far = (canvas.light_at(row * columns + water.column) for row in (mirrored, higher))
    return 0.5 * (near + far)


def _body(look: Look, water: Ground) -> np.ndarray:
    """The light [3, N] of the water itself, sandy where it is shallow."""
    deep = look.palette.water * (look.ambient * 1.6 + 0.5 * look.sunlight)
    sandy = look.palette.sand.dark * (look.ambient + 0.5 * look.sunlight)
    shallow = np.exp(np.minimum(water.height, 0) * 5)
    return mix(deep, sandy, 0.45 * shallow)
