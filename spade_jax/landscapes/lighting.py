"""The light of a scene: its direction, the light of surfaces, and haze."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.color import radiance
from spade_jax.landscapes.ground import Ground
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.noise import texture
from spade_jax.landscapes.style import Style


class Lighting(NamedTuple):
    """The light of a style in a layout. Colors are [3, 1] float32.

    Attributes:
      zenith, horizon, glow, sunlight, ambient, haze, mist: As in `Style`.
      haze_light: Linear color of the haze.
      direction: [3], unit vector to the light; x right, y up, z away.
    """

    zenith: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray
    sunlight: np.ndarray
    ambient: np.ndarray
    haze_light: np.ndarray
    direction: np.ndarray
    haze: float
    mist: float


def lighting_of(layout: Layout, style: Style) -> Lighting:
    """The lighting of a layout in a style."""
    names = ('zenith', 'horizon', 'glow', 'sunlight', 'ambient')
    colors = {name: np.asarray(getattr(style, name), np.float32)[:, None] for name in names}
    # Bluer than the horizon, so that ridges stand out against the sky.
    haze_light = radiance(0.72 * colors['horizon'] + 0.28 * colors['zenith'])
    direction = _direction(layout, style)
    return Lighting(
        **colors, haze_light=haze_light, direction=direction, haze=style.haze, mist=style.mist
    )


def _direction(layout: Layout, style: Style) -> np.ndarray:
    """From the sun's side but from behind the camera: a scene lit from behind is all shadow."""
    x = (1.0 if layout.sun[0] > 0 else -1.0) * (1.0 - 0.35 * style.sun_height)
    direction = np.array([x, 0.25 + 0.75 * style.sun_height, -0.35], np.float32)
    return direction / np.linalg.norm(direction)


def light_ground(
    layout: Layout, lighting: Lighting, ground: Ground, color: np.ndarray, relief: np.ndarray
) -> np.ndarray:
    """Light the ground: sun on its slopes under cloud shadows, and sky light from above.

    Args:
      layout: The layout.
      lighting: Its lighting.
      ground: The ground pixels.
      color: [3, N], linear reflectance.
      relief: [N], about [-1, 1], brightens or darkens.

    Returns:
      The light of the ground, [3, N].
    """
    light_x, light_y, light_z = lighting.direction
    # The upward component of the normal.
    up = 1 / np.sqrt(1 + np.square(ground.slope_x) + np.square(ground.slope_z))
    facing = np.maximum((light_y - light_x * ground.slope_x - light_z * ground.slope_z) * up, 0)
    clearing = texture(ground.x / 30 + layout.offset[1], ground.z / 30, ground.footprint / 10)
    shadow = 0.62 + 0.38 * smoothstep(clearing, -0.6, 0.4)
    sun = facing * shadow * np.maximum(1 + relief * 1.5, 0.2)
    sky = (0.55 + 0.45 * up) * (1 + 0.5 * relief)
    return color * (sun * lighting.sunlight + sky * lighting.ambient)


def haze_amount(lighting: Lighting, z, height):
    """Share of haze, [0, 0.88), for a distance and a height over the water; broadcasts."""
    density = z * (0.0016 + 0.0034 * lighting.haze)
    thickness = density * (0.8 + 1.2 * lighting.mist * np.exp(-np.maximum(height, 0) / 5))
    return 0.88 * (1 - np.exp(-thickness))


def veil(lighting: Lighting, light: np.ndarray, amount) -> np.ndarray:
    """The light [3, N] behind haze; amount: a number or [N]."""
    return mix(light, lighting.haze_light, amount)
