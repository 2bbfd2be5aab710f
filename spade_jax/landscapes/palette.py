"""The reflectances of a style."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.color import along_stops, reflectance
from spade_jax.landscapes.interpolation import mix
from spade_jax.landscapes.style import Style


class Tones(NamedTuple):
    """The dark and the light tone of a material: linear reflectances [3, 1]."""

    dark: np.ndarray
    light: np.ndarray

    def at(self, amount: np.ndarray) -> np.ndarray:
        """Colors [3, N] for amounts [N], 0 dark, 1 light, clipped."""
        return mix(self.dark, self.light, amount.clip(0, 1))


class Palette(NamedTuple):
    """Linear reflectances: tones of materials, and single colors [3, 1]."""

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


# From spring over summer to autumn.
_GRASS = reflectance(116, 164, 62), reflectance(98, 142, 54), reflectance(158, 140, 62)
_HILL = reflectance(70, 112, 66), reflectance(48, 88, 56), reflectance(128, 84, 46)
_CROWN = reflectance(146, 178, 72), reflectance(84, 124, 48), reflectance(214, 128, 40)
_STRAW = reflectance(196, 172, 96)
# From cold to warm stone.
_ROCK = reflectance(112, 112, 122), reflectance(134, 116, 104), reflectance(158, 108, 82)
_SAND = reflectance(232, 214, 172), reflectance(230, 188, 126)
_PETALS = (
    *(reflectance(226, 60, 48), reflectance(240, 120, 150), reflectance(160, 104, 214)),
    *(reflectance(246, 214, 70), reflectance(248, 240, 232)),
)
_WATER = reflectance(20, 52, 78), reflectance(24, 84, 96)


def palette_of(style: Style) -> Palette:
    """The palette of a style."""
    dry = 0.55 * style.dryness
    grass = mix(along_stops(_GRASS, style.season), _STRAW, dry)
    hill = along_stops(_HILL, style.season)
    crown = along_stops(_CROWN, style.season)
    rock = along_stops(_ROCK, style.rock_warmth)
    sand = along_stops(_SAND, style.rock_warmth)
    return Palette(
        grass=Tones(0.50 * grass, 1.25 * grass),
        hill=Tones(0.40 * hill, 1.15 * hill),
        rock=Tones(0.55 * rock, 1.25 * rock),
        snow=Tones(reflectance(214, 224, 240), reflectance(250, 251, 253)),
        sand=Tones(0.70 * sand, sand),
        road=Tones(reflectance(124, 98, 78), reflectance(186, 156, 124)),
        conifer=Tones(reflectance(20, 42, 34), reflectance(82, 122, 74) * (1 - 0.3 * dry)),
        crown=Tones(0.22 * crown, 1.1 * crown),
        petals=along_stops(_PETALS, style.flower_hue),
        trunk=reflectance(92, 70, 54),
        water=along_stops(_WATER, style.water_teal),
    )
