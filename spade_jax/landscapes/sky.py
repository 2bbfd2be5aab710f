"""Render sky, clouds and sun."""

import numpy as np

from spade_jax.landscapes.canvas import Canvas
from spade_jax.landscapes.classes import CLOUD, SKY, SUN, SUN_INSTANCE
from spade_jax.landscapes.color import radiance
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.look import Look, Tones
from spade_jax.landscapes.noise import texture


def render_sky(canvas: Canvas, layout: Layout, look: Look, rows: int) -> None:
    """Fill the first `rows` rows of the canvas, R."""
    u, v = canvas.u, canvas.v[:rows, None]
    sun_u, sun_v = layout.sun
    sun_distance = np.sqrt(np.square(u - sun_u) + np.square(v - sun_v))  # [R, W]
    cloud, opacity = _cloud_ceiling(canvas, layout, look, v, sun_distance)
    light = mix(_clear_sky(layout, look, v, sun_distance), cloud, opacity)
    if layout.puffs:
        cumulus, dense = _cumulus(canvas, layout, look, v)
        light, opacity = mix(light, cumulus, dense), np.maximum(opacity, dense)
    label = np.where(opacity > 0.5, CLOUD, SKY)
    if layout.sun_visible:
        disc = sun_distance < layout.sun_radius
        label[disc] = SUN
        light[:, disc] = 0.75 * radiance(0.6 * look.glow + 0.4) + 0.6 * look.sunlight
        canvas.instance[:rows][disc] = SUN_INSTANCE
    canvas.light[:, :rows], canvas.label[:rows] = light, label


def _clear_sky(layout: Layout, look: Look, v: np.ndarray, sun_distance: np.ndarray) -> np.ndarray:
    """Light [3, R, W]: blue overhead, pale at the horizon, warm around the sun."""
    height = ((layout.horizon - v) / 0.6).clip(0, 1)  # [R, 1]
    zenith, horizon, glow = (color[..., None] for color in (look.zenith, look.horizon, look.glow))
    # A mixture of display colors: mixed as light, dusk would be magenta.
    sky = radiance(mix(zenith, horizon, np.exp(-3.2 * height)))  # [3, R, 1]
    warmth = 0.60 * np.exp(np.square(sun_distance) / -0.06)
    strength = np.float32(0.25 + 0.75 * layout.sun_visible)
    return sky + warmth * (radiance(glow) - sky) * strength


def _cloud_ceiling(
    canvas: Canvas, layout: Layout, look: Look, v: np.ndarray, sun_distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light [3, R, W] and opacity [R, W] of flat clouds that dissolve towards the horizon."""
    away = 1 / (np.maximum(layout.horizon - v, 0) + 0.16)  # [R, 1]
    x = canvas.u * away * layout.cloud_scale + layout.offset[0]
    y = np.broadcast_to(away * layout.cloud_scale * 1.5 + layout.offset[1], x.shape)
    footprint = np.broadcast_to(layout.cloud_scale * away / canvas.rows, x.shape)
    density = texture(x, y, footprint)
    thinning = density - texture(x + 0.10 * np.sign(layout.sun[0]), y + 0.14, footprint)
    clearing = 1.2 * np.exp(-np.square(sun_distance / 0.11)) if layout.sun_visible else 0.0
    body = density - layout.cloud_cover - clearing - 1.2 * smoothstep(away, 3.4, 6.2)
    shine = (0.62 + 0.55 * thinning - 0.16 * body).clip(0, 1)
    return _cloud_tones(look).at(shine), smoothstep(body, -0.18, 0.36)


def _cumulus(
    canvas: Canvas, layout: Layout, look: Look, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light [3, R, W] and opacity [R, W] of the puffs of cumulus clouds."""
    u, side = canvas.u, np.sign(layout.sun[0])
    body = np.full((len(v), len(u)), -9, np.float32)  # 1 at the center of a puff, 0 at its edge
    facing = np.zeros_like(body)  # how far a puff faces the light, about [-1, 1]
    for puff in layout.puffs:
        a, b = (u - puff.u) / puff.radius_u, (v - puff.v) / puff.radius_v
        inside = 1 - a * a - b * b
        front = inside > body
        body = np.where(front, inside, body)
        facing = np.where(front, 0.55 * side * a - 0.75 * b, facing)
    x, y = np.broadcast_arrays(u * 3 + layout.offset[0], v * 3.6 + layout.offset[1])
    footprint = np.full(body.shape, 3 / canvas.rows, np.float32)
    billows = texture(x, y, footprint)
    relief = billows - texture(x - 0.09 * side, y + 0.12, footprint)
    body = body + 0.3 * billows
    shine = 0.6 + 0.36 * facing + 0.34 * relief
    return _cloud_tones(look).at(shine), smoothstep(body, -0.05, 0.22)


def _cloud_tones(look: Look) -> Tones:
    """The shaded and the sunlit side of a cloud, each [3, 1, 1]."""
    horizon = radiance(look.horizon)
    dark = 0.55 * radiance(look.zenith) + 0.36 * horizon
    sunlit = 0.75 * radiance(0.5 * look.glow + 0.5) * look.sunlight / look.sunlight.max()
    bright = sunlit + 0.25 * horizon
    return Tones(dark[..., None], bright[..., None])
