"""The look of a scene: the light and the reflectances of a style. Single colors are [3, 1]."""

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.color import radiance
from spade_jax.landscapes.interpolation import mix
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.style import Style

# Display colors in 0..255. From spring over summer to autumn:
_GRASS = (116, 164, 62), (98, 142, 54), (158, 140, 62)
_HILL = (70, 112, 66), (48, 88, 56), (128, 84, 46)
_CROWN = (146, 178, 72), (84, 124, 48), (214, 128, 40)
# From cold to warm stone:
_ROCK = (112, 112, 122), (134, 116, 104), (158, 108, 82)
_SAND = (232, 214, 172), (230, 188, 126)
_WATER = (20, 52, 78), (24, 84, 96)
_PETALS = (226, 60, 48), (240, 120, 150), (160, 104, 214), (246, 214, 70), (248, 240, 232)


class Tones(NamedTuple):
    """The dark and the light tone of a material."""

    dark: np.ndarray
    light: np.ndarray

    def at(self, amount: np.ndarray) -> np.ndarray:
        """Colors [3, N] for amounts [N], 0 dark, 1 light, clipped."""
        return mix(self.dark, self.light, amount.clip(0, 1))


class Palette(NamedTuple):
    """Linear reflectances."""

    grass: Tones
    hill: Tones
    rock: Tones
    snow: Tones
    sand: Tones
    road: Tones
    conifer: Tones
    crown: Tones
    petals: np.ndarray
    trunk: np.ndarray
    water: np.ndarray


class Look(NamedTuple):
    """The palette and the light of a style in a layout; see `Style`."""

    zenith: np.ndarray
    horizon: np.ndarray
    glow: np.ndarray
    sunlight: np.ndarray
    ambient: np.ndarray
    haze_light: np.ndarray  # linear color of the haze
    direction: np.ndarray  # [3], unit vector to the light; x right, y up, z away
    haze: float
    mist: float
    palette: Palette


def look_of(layout: Layout, style: Style) -> Look:
    """The look of a layout in a style."""
    colors = style.zenith, style.horizon, style.glow, style.sunlight, style.ambient
    colors = (np.asarray(color, np.float32)[:, None] for color in colors)
    zenith, horizon, glow, sunlight, ambient = colors
    # Bluer than the horizon, so that ridges stand out against the sky.
    haze_light = radiance(0.72 * horizon + 0.28 * zenith)
    # From the sun's side but from behind the camera: a scene lit from behind is all shadow.
    x = (1.0 if layout.sun[0] > 0 else -1.0) * (1.0 - 0.35 * style.sun_height)
    direction = np.array([x, 0.25 + 0.75 * style.sun_height, -0.35], np.float32)
    direction /= np.linalg.norm(direction)
    light = zenith, horizon, glow, sunlight, ambient, haze_light, direction
    return Look(*light, style.haze, style.mist, _palette(style))


def haze_amount(look: Look, z, height):
    """Share of haze, [0, 0.88), for a distance and a height over the water; broadcasts."""
    density = z * (0.0016 + 0.0034 * look.haze)
    thickness = density * (0.8 + 1.2 * look.mist * np.exp(-np.maximum(height, 0) / 5))
    return 0.88 * (1 - np.exp(-thickness))


def _palette(style: Style) -> Palette:
    dry = 0.55 * style.dryness
    grass = mix(_along(_GRASS, style.season), _reflectance(196, 172, 96), dry)  # to straw
    hill, crown = (_along(stops, style.season) for stops in (_HILL, _CROWN))
    rock, sand = (_along(stops, style.rock_warmth) for stops in (_ROCK, _SAND))
    return Palette(
        grass=Tones(0.50 * grass, 1.25 * grass),
        hill=Tones(0.40 * hill, 1.15 * hill),
        rock=Tones(0.55 * rock, 1.25 * rock),
        snow=Tones(_reflectance(214, 224, 240), _reflectance(250, 251, 253)),
        sand=Tones(0.70 * sand, sand),
        road=Tones(_reflectance(124, 98, 78), _reflectance(186, 156, 124)),
        conifer=Tones(_reflectance(20, 42, 34), _reflectance(82, 122, 74) * (1 - 0.3 * dry)),
        crown=Tones(0.22 * crown, 1.1 * crown),
        petals=_along(_PETALS, style.flower_hue),
        trunk=_reflectance(92, 70, 54),
        water=_along(_WATER, style.water_teal),
    )


def _reflectance(*rgb: float) -> np.ndarray:
    """The linear reflectance of a display color in 0..255, with a gamma of 2."""
    return ((np.asarray(rgb, np.float32) / 255) ** 2)[:, None]


def _along(stops: tuple[tuple[int, int, int], ...], amount: float) -> np.ndarray:
    """The reflectance at `amount` in [0, 1] along equally spaced stops."""
    place = amount * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    start, end = (_reflectance(*stop) for stop in stops[low : low + 2])
    return mix(start, end, np.float32(place - low))
