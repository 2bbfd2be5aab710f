"""The light of a scene: where it comes from, what falls on a surface, and the haze between it and the camera."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.color import radiance
from spade_jax.landscapes.ground import Ground
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.style import Style
from spade_jax.landscapes.texture import texture


class Lighting(NamedTuple):
    """A style's light in one layout, worked out once for all that is lit by it. Colours are [3, 1] float32.

    zenith, horizon, glow: display colours of the sky.
    sunlight, ambient: linear intensities.
    direction: [3], unit vector to the light; x right, y up, z away.
    haze_light: linear colour of the veil.
    haze, mist: as in `Style`.
    """

    zenith: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray
    sunlight: np.ndarray
    ambient: np.ndarray
    direction: np.ndarray
    haze_light: np.ndarray
    haze: float
    mist: float


def lighting_of(layout: Layout, style: Style) -> Lighting:
    zenith, horizon, glow, sunlight, ambient = (
        np.asarray(color, np.float32)[:, None]
        for color in (style.zenith, style.horizon, style.glow, style.sunlight, style.ambient)
    )
    haze_light = radiance(
        0.72 * horizon + 0.28 * zenith
    )  # Bluer than the horizon, so that ridges stand off from the sky.
    return Lighting(
        zenith,
        horizon,
        glow,
        sunlight,
        ambient,
        _direction(layout, style),
        haze_light,
        style.haze,
        style.mist,
    )


def _direction(layout: Layout, style: Style) -> np.ndarray:
    """From the sun's side but over the shoulder, since a picture lit from behind is all shadow."""
    side = 1.0 if layout.sun[0] > 0 else -1.0
    direction = np.array(
        [side * (1.0 - 0.35 * style.sun_height), 0.25 + 0.75 * style.sun_height, -0.35], np.float32
    )
    return direction / np.linalg.norm(direction)


def light_ground(
    layout: Layout, lighting: Lighting, ground: Ground, color: np.ndarray, relief: np.ndarray
) -> np.ndarray:
    """Light [3, N] that the ground sends: sun on its slopes under drifting cloud shadows, and sky light from above.

    Args:
      color: [3, N], linear reflectance.
      relief: [N], about [-1, 1], brightens or darkens.
    """
    light_x, light_y, light_z = lighting.direction
    up = 1 / np.sqrt(
        1 + np.square(ground.slope_x) + np.square(ground.slope_z)
    )  # The upward part of the ground's normal.
    facing = np.maximum((light_y - light_x * ground.slope_x - light_z * ground.slope_z) * up, 0)
    clearing = texture(ground.x / 30 + layout.offset[1], ground.z / 30, ground.footprint / 10)
    sun = (
        facing * (0.62 + 0.38 * smoothstep(clearing, -0.6, 0.4)) * np.maximum(1 + relief * 1.5, 0.2)
    )
    sky = (0.55 + 0.45 * up) * (1 + 0.5 * relief)
    return color * (sun * lighting.sunlight + sky * lighting.ambient)


def haze_amount(lighting: Lighting, z, height):
    """Share of haze, [0, 0.88), in the light from distance z and height over the water; broadcasts."""
    thickness = (
        z
        * (0.0016 + 0.0034 * lighting.haze)
        * (0.8 + 1.2 * lighting.mist * np.exp(-np.maximum(height, 0) / 5))
    )
    return 0.88 * (1 - np.exp(-thickness))


def veil(lighting: Lighting, light: np.ndarray, amount) -> np.ndarray:
    """Light [3, N] behind haze; amount: a number or [N]."""
    return mix(light, lighting.haze_light, amount)
