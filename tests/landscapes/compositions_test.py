"""Simple compositions: how many there are, what fills them, and mountains of a given silhouette."""

import numpy as np
import pytest

from spade_jax import landscapes
from spade_jax.landscapes import compositions, renderer
from spade_jax.landscapes.classes import (
    CLASSES,
    CLOUD,
    FLOWERS,
    GRASS,
    HILL,
    MOUNTAIN,
    ROAD,
    ROCK,
    SAND,
    SKY,
    SNOW,
    SUN,
    TREE,
    WATER,
)
from spade_jax.landscapes.layout import Summit, sample_panorama

# Composition -> the classes of its large thing, and their least share of the image, on average.
LARGE = {
    'peak': ((MOUNTAIN, SNOW), 0.25),
    'horizon': ((SKY, GRASS, SAND, WATER), 0.8),
    'tree': ((TREE,), 0.1),
    'hill': ((HILL,), 0.2),
    'cloud': ((CLOUD,), 0.07),
    'sun': ((SUN,), 0.012),
    'road': ((ROAD,), 0.07),
    'river': ((WATER,), 0.12),
    'rocks': ((ROCK,), 0.04),
    'lake': ((WATER,), 0.3),
    'flowers': ((FLOWERS,), 0.2),
}


def render(monkeypatch, layout, seed=0, size=64, **style):
    monkeypatch.setattr(renderer, 'sample_layout', lambda seed: layout)
    style = landscapes.sample_style(seed)._replace(**style)
    return landscapes.render_scene(seed, size, size, style)


def triangle(**changes):
    """A layout with one mountain of straight flanks over a plain."""
    values = dict(z=100, depth=60, u=0.1, rise=0.7, left=0.4, right=0.3, bulge=1, steepness=1)
    summit = Summit(**(values | dict(rough=0.0, wooded=False) | changes))
    layout = compositions._bare(sample_panorama(3))
    return layout._replace(horizon=0.8, summits=(summit,), snow_line=1e3, sun_visible=False)


def test_share_of_scenes_is_composed():
    names = [compositions.sample_layout(seed).composition for seed in range(500)]
    assert abs(np.mean([name != '' for name in names]) - compositions.SHARE) < 0.06
    assert set(names) == {'', *LARGE}


def test_wide_countries_are_not_changed():
    seed = next(s for s in range(50) if not compositions.sample_layout(s).composition)
    assert compositions.sample_layout(seed) == sample_panorama(seed)


@pytest.mark.parametrize('name', LARGE)
def test_composition_has_a_large_thing(name, monkeypatch):
    classes, least = LARGE[name]
    shares = []
    for seed in range(8):
        layout = compositions.composed(name, sample_panorama(seed), np.random.RandomState(seed))
        label = render(monkeypatch, layout, seed, 32).label
        shares.append(np.isin(label, classes).mean())
    assert np.mean(shares) > least


def test_every_class_is_sometimes_large():
    largest = np.zeros(len(CLASSES))
    for seed in range(100):
        label = landscapes.render_scene(seed, 24, 24).label
        largest = np.maximum(largest, np.bincount(label.ravel(), minlength=len(CLASSES)) / 24**2)
    small = {CLOUD: 0.1, SUN: 0.02, ROAD: 0.1, ROCK: 0.06, SNOW: 0.1}
    assert not {c.name for i, c in enumerate(CLASSES) if largest[i] < small.get(i, 0.25)}


@pytest.mark.parametrize('bulge', [1.0, 2.0])
def test_mountain_has_its_silhouette(bulge, monkeypatch):
    label = render(monkeypatch, triangle(bulge=bulge)).label
    u = (np.arange(64) + 0.5) / 64 - 0.5
    part = np.abs(u - 0.1) / np.where(u < 0.1, 0.4, 0.3)
    rise = 0.7 * np.maximum(1 - part**bulge, 0)
    inside = rise > 0.1
    tops = (label != SKY).argmax(axis=0) / 64
    # Spurs may stand out in front of a flank.
    assert np.abs(tops - 0.8 + rise)[inside].mean() < 0.05
    assert abs(tops.min() - 0.1) < 0.03
    assert label[32, 36] == MOUNTAIN


@pytest.mark.parametrize('sun_u', [-0.3, 0.3])
def test_face_at_the_side_of_the_sun_is_brighter(sun_u, monkeypatch):
    layout = triangle(left=0.4, right=0.4, u=0.0)._replace(sun=(sun_u, 0.1))
    scene = render(monkeypatch, layout, haze=0.2, mist=0.0, sunlight=(1.5, 1.5, 1.5))
    light, rock = scene.image.mean(axis=-1), scene.label == MOUNTAIN
    left, right = (light[:, half][rock[:, half]].mean() for half in (np.s_[:32], np.s_[32:]))
    assert (right > 1.15 * left) if sun_u > 0 else (left > 1.15 * right)


def test_snow_follows_the_height(monkeypatch):
    label = render(monkeypatch, triangle()._replace(snow_line=30)).label
    rows = np.indices(label.shape)[0]
    assert rows[label == SNOW].mean() < rows[label == MOUNTAIN].mean() - 10
    assert (label == SNOW).sum() > 50
