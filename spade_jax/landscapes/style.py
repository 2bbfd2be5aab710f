"""Light and palette of a scene, drawn apart from its layout."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.random_state import Stream, random_state

Color = tuple[float, float, float]


class Style(NamedTuple):
    """What a scene looks like, as against what is in it. Plain numbers throughout, so that styles can be compared and hashed.

    Colours are red, green, blue. The other numbers lie about in [0, 1].

    time_of_day: the mood that weighs most; for the reader, nothing is drawn from it.
    zenith, horizon: display colours in [0, 1] of the sky overhead and at the horizon.
    glow: display colour in [0, 1] around the sun.
    sunlight, ambient: linear intensities of the direct light and of the light from the whole sky.
    sun_height: 0 grazing, 1 overhead.
    haze: everywhere, thicker with distance.
    mist: haze that lies in the low ground.
    season: 0 spring, 0.5 summer, 1 autumn.
    dryness: of the grass.
    rock_warmth, water_teal, flower_hue: places along the stops of the palette.
    """

    time_of_day: str
    zenith: Color
    horizon: Color
    glow: Color
    sunlight: Color
    ambient: Color
    sun_height: float
    haze: float
    mist: float
    season: float
    dryness: float
    rock_warmth: float
    water_teal: float
    flower_hue: float


class _Mood(NamedTuple):
    """The part of a style that belongs to an hour and a weather; zenith, horizon and glow in 0..255."""

    zenith: tuple[int, int, int]
    horizon: tuple[int, int, int]
    glow: tuple[int, int, int]
    sunlight: tuple[float, float, float]
    ambient: tuple[float, float, float]
    sun_height: float
    haze: float
    mist: float


_MOODS = {
    'dawn': _Mood(
        (98, 136, 190),
        (242, 208, 192),
        (255, 190, 150),
        (1.40, 1.02, 0.80),
        (0.44, 0.49, 0.62),
        0.30,
        0.50,
        0.9,
    ),
    'day': _Mood(
        (44, 104, 190),
        (190, 220, 242),
        (255, 250, 235),
        (1.62, 1.52, 1.36),
        (0.40, 0.50, 0.66),
        0.75,
        0.30,
        0.1,
    ),
    'golden hour': _Mood(
        (84, 130, 186),
        (252, 220, 166),
        (255, 186, 96),
        (1.90, 1.30, 0.70),
        (0.40, 0.43, 0.56),
        0.34,
        0.40,
        0.3,
    ),
    'dusk': _Mood(
        (62, 70, 128),
        (236, 184, 150),
        (250, 184, 128),
        (1.15, 0.66, 0.50),
        (0.36, 0.37, 0.56),
        0.20,
        0.40,
        0.4,
    ),
    'overcast': _Mood(
        (140, 156, 172),
        (206, 214, 220),
        (238, 238, 236),
        (0.55, 0.56, 0.56),
        (0.62, 0.66, 0.70),
        0.85,
        0.55,
        0.5,
    ),
}


def sample_style(seed: int) -> Style:
    """Mixes two moods, the first weighing most, and draws the palette."""
    rng = random_state(Stream.STYLE, seed)
    names = list(_MOODS)
    first, second = names[rng.randint(len(names))], names[rng.randint(len(names))]
    share = 0.35 * rng.rand() ** 2
    mood = [
        (1 - share) * np.asarray(a, np.float32) + share * np.asarray(b, np.float32)
        for a, b in zip(_MOODS[first], _MOODS[second])
    ]
    zenith, horizon, glow = (
        _color(np.clip(color / 255 + rng.uniform(-0.03, 0.03, 3), 0.02, 0.985))
        for color in mood[:3]
    )
    sunlight, ambient = (_color(light * np.float32(rng.uniform(0.92, 1.1))) for light in mood[3:5])
    sun_height, haze, mist = (float(number) * rng.uniform(0.75, 1.25) for number in mood[5:])
    season, dryness, rock_warmth, water_teal, flower_hue = rng.rand(5).tolist()
    return Style(
        first,
        zenith,
        horizon,
        glow,
        sunlight,
        ambient,
        sun_height,
        haze,
        mist,
        season,
        dryness,
        rock_warmth,
        water_teal,
        flower_hue,
    )


def _color(channels: np.ndarray) -> Color:
    return tuple(channels.astype(np.float32).tolist())  # In the precision of the picture.
