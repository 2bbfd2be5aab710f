"""The style of a scene, its light and palette, sampled independently of its layout."""

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.random_state import Stream, random_state

Color = tuple[float, float, float]


class Style(NamedTuple):
    """The appearance of a scene. Plain numbers, so that styles can be compared and hashed.

    Colors are red, green, blue. The other numbers are about in [0, 1].
    """

    zenith: Color  # display color of the sky overhead, in [0, 1]
    horizon: Color  # display color
    glow: Color  # display color around the sun
    sunlight: Color  # linear intensity of the direct light
    ambient: Color  # linear intensity of the light from the sky
    sun_height: float  # 0 grazing, 1 overhead
    haze: float  # everywhere, thicker with distance
    mist: float  # haze in the low ground
    season: float  # 0 spring, 0.5 summer, 1 autumn
    dryness: float  # of the grass
    rock_warmth: float  # place along the stops of the palette, as the next two
    water_teal: float
    flower_hue: float


# Moods: combinations of hour and weather.
_SKIES = {  # zenith, horizon, glow; in 0..255
    'dawn': ((98, 136, 190), (242, 208, 192), (255, 190, 150)),
    'day': ((44, 104, 190), (190, 220, 242), (255, 250, 235)),
    'golden hour': ((84, 130, 186), (252, 220, 166), (255, 186, 96)),
    'dusk': ((62, 70, 128), (236, 184, 150), (250, 184, 128)),
    'overcast': ((140, 156, 172), (206, 214, 220), (238, 238, 236)),
}
_LIGHTS = {  # sunlight, ambient; sun_height, haze and mist
    'dawn': ((1.40, 1.02, 0.80), (0.44, 0.49, 0.62), (0.30, 0.50, 0.9)),
    'day': ((1.62, 1.52, 1.36), (0.40, 0.50, 0.66), (0.75, 0.30, 0.1)),
    'golden hour': ((1.90, 1.30, 0.70), (0.40, 0.43, 0.56), (0.34, 0.40, 0.3)),
    'dusk': ((1.15, 0.66, 0.50), (0.36, 0.37, 0.56), (0.20, 0.40, 0.4)),
    'overcast': ((0.55, 0.56, 0.56), (0.62, 0.66, 0.70), (0.85, 0.55, 0.5)),
}


def sample_style(seed: int) -> Style:
    """Sample a style: a mixture of two moods, the first with the larger weight, and a palette."""
    rng = random_state(Stream.STYLE, seed)
    names = list(_SKIES)
    first, second = names[rng.randint(len(names))], names[rng.randint(len(names))]
    moods = [(*_SKIES[name], *_LIGHTS[name]) for name in (first, second)]
    a, b = np.array(moods, np.float32)  # [5, 3] each
    share = 0.35 * rng.rand() ** 2
    *sky, sunlight, ambient, air = (1 - share) * a + share * b
    noisy = (color / 255 + rng.uniform(-0.03, 0.03, 3) for color in sky)
    zenith, horizon, glow = (_color(color.clip(0.02, 0.985)) for color in noisy)
    light = (color * np.float32(rng.uniform(0.92, 1.1)) for color in (sunlight, ambient))
    sunlight, ambient = map(_color, light)
    sun_height, haze, mist = (number * rng.uniform(0.75, 1.25) for number in air.tolist())
    palette = rng.rand(5).tolist()  # season, dryness, rock_warmth, water_teal, flower_hue
    return Style(zenith, horizon, glow, sunlight, ambient, sun_height, haze, mist, *palette)


def _color(channels: np.ndarray) -> Color:
    """The color as plain numbers in the precision of the image."""
    red, green, blue = channels.astype(np.float32).tolist()
    return red, green, blue
