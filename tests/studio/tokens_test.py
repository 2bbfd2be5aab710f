"""The colors of the page can be told apart: WCAG's contrast of every pair that is used."""

import re

import pytest

from spade_jax.studio.handlers import STATIC

ROOMS = ['bg', 'panel', 'raised']


def themes():
    """The colors of each theme by name: [red, green, blue, opacity] from 0 to 1."""
    text = (STATIC / 'tokens.css').read_text()
    first, light = text.split('@media (prefers-color-scheme: light)')
    dark = dict(colors_in(first))
    return {'dark': dark, 'light': dark | dict(colors_in(light.split('@media')[0]))}


def colors_in(text):
    for name, value in re.findall(r'--([a-z-]+): (#[0-9a-f]{6}|rgb\([^)]+\));', text):
        if value.startswith('#'):
            yield name, [int(value[k : k + 2], 16) / 255 for k in (1, 3, 5)] + [1]
        else:
            *color, opacity = (float(number) for number in re.findall(r'[\d.]+', value))
            yield name, [part / 255 for part in color] + [opacity / 100]


def over(color, ground):
    """The color that one sees of a translucent one on a ground."""
    opacity = color[3]
    return [
        part * opacity + below * (1 - opacity)
        for part, below in zip(color[:3], ground[:3], strict=True)
    ] + [1]


def luminance(color):
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in color[:3]]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize('theme', ['dark', 'light'])
@pytest.mark.parametrize('name', ['text', 'quiet', 'accent', 'bad', 'good', 'warn'])
def test_text_is_readable_in_all_rooms(theme, name):
    colors = themes()[theme]
    for room in ROOMS:
        assert contrast(colors[name], colors[room]) >= 4.5, room


@pytest.mark.parametrize('theme', ['dark', 'light'])
@pytest.mark.parametrize('name', ['control', 'focus', 'accent'])
def test_borders_and_focus_can_be_seen_in_all_rooms(theme, name):
    colors = themes()[theme]
    for room in ROOMS:
        assert contrast(colors[name], colors[room]) >= 3, room


@pytest.mark.parametrize('theme', ['dark', 'light'])
def test_text_is_readable_where_something_is_chosen(theme):
    colors = themes()[theme]
    chosen = over(colors['tint'], colors['panel'])
    assert contrast(colors['text'], chosen) >= 4.5
    assert contrast(colors['quiet'], chosen) >= 4.5
    assert contrast(colors['accent'], chosen) >= 4.5
    assert contrast(colors['on-accent'], colors['accent']) >= 4.5


@pytest.mark.parametrize('badge', ['badge', 'badge-hover'])
@pytest.mark.parametrize('image', [0, 1])
def test_badge_is_readable_on_any_image(badge, image):
    colors = themes()['dark']
    assert contrast(colors['on-badge'], over(colors[badge], [image] * 3)) >= 4.5
