"""The landscape renderer: determinism, layout apart from style, contents, and one scene at every size."""

import os
import subprocess
import sys

import numpy as np
import pytest

from spade_jax import landscapes

DIGEST = """
import hashlib
from spade_jax.data.builders import landscapes
scenes = [landscapes.render_scene(seed, 48, 64) for seed in range(4)]
digest = hashlib.sha256(b"".join(part.tobytes() for scene in scenes for part in scene)).hexdigest()
"""


@pytest.fixture(scope='module')
def scenes():
    return [landscapes.render_scene(seed, 64, 64) for seed in range(200)]


def test_shapes_and_dtypes():
    scene = landscapes.render_scene(0, 32, 48)
    assert scene.image.shape == (32, 48, 3) and scene.image.dtype == np.uint8
    assert scene.label.shape == (32, 48) and scene.label.dtype == np.uint8
    assert scene.instance.shape == (32, 48) and scene.instance.dtype == np.uint16


def test_same_bytes_in_another_process():
    here = {}
    exec(DIGEST, here)
    command = [sys.executable, '-c', DIGEST + 'print(digest)']
    environment = dict(
        os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), PYTHONHASHSEED='1'
    )
    there = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert there == here['digest']


def test_global_random_state_is_left_alone():
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    landscapes.render_scene(11, 32, 32)
    assert np.random.rand() == expected


def test_style_changes_the_image_and_nothing_else():
    styles = [landscapes.sample_style(seed) for seed in range(6)]
    drawn = [landscapes.render_scene(5, 64, 64, style) for style in styles]
    for other in drawn[1:]:
        np.testing.assert_array_equal(other.label, drawn[0].label)
        np.testing.assert_array_equal(other.instance, drawn[0].instance)
    means = np.array([scene.image.mean(axis=(0, 1)) for scene in drawn])
    gaps = np.abs(means[:, None] - means[None]).max(axis=-1)[np.triu_indices(6, 1)]
    assert np.median(gaps) > 15  # of 255


def test_default_style_is_the_seeds_own():
    given = landscapes.render_scene(3, 32, 32, landscapes.sample_style(3))
    np.testing.assert_array_equal(given.image, landscapes.render_scene(3, 32, 32).image)


def test_styles_compare():
    style = landscapes.sample_style(3)
    assert style == landscapes.sample_style(3) and hash(style) == hash(landscapes.sample_style(3))
    assert style != landscapes.sample_style(4) and style != style._replace(glow=(1.0, 0.5, 0.0))


def test_a_style_can_be_changed_by_hand():
    style = landscapes.sample_style(3)
    plain, red = (
        landscapes.render_scene(3, 32, 32, s).image.astype(int)
        for s in (style, style._replace(sunlight=(3.0, 0.0, 0.0)))
    )
    assert red[..., 0].mean() > plain[..., 0].mean() and red[..., 1].mean() < plain[..., 1].mean()


def test_only_numpy_is_imported():
    """Each process that renders a data set imports it anew."""
    command = "import sys; from spade_jax.data.builders import landscapes; print(*{name.split('.')[0] for name in sys.modules})"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    loaded = subprocess.run(
        [sys.executable, '-c', command], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert 'numpy' in loaded and not {'jax', 'flax', 'tensorflow', 'PIL'} & set(loaded)


def test_every_class_is_common(scenes):
    present = np.mean(
        [np.bincount(s.label.ravel(), minlength=len(landscapes.CLASSES)) > 0 for s in scenes],
        axis=0,
    )
    rare = {c.name: share for c, share in zip(landscapes.CLASSES, present) if share < 0.08}
    assert not rare


def test_labels_are_classes_and_scenes_are_varied(scenes):
    assert max(s.label.max() for s in scenes) < len(landscapes.CLASSES)
    counts = [len(np.unique(s.label)) for s in scenes]
    assert min(counts) >= 4 and 7 <= np.median(counts) <= 11
    assert len({s.label.tobytes() for s in scenes}) == len(scenes)


def test_an_instance_has_one_label(scenes):
    things = {landscapes.SUN, landscapes.TREE, landscapes.ROCK}
    for scene in scenes:
        pairs = np.unique(np.stack([scene.instance.ravel(), scene.label.ravel()]), axis=1)
        pairs = pairs[:, pairs[0] > 0]
        assert len(np.unique(pairs[0])) == pairs.shape[1]
        assert set(pairs[1]) <= things
        np.testing.assert_array_equal(scene.instance > 0, np.isin(scene.label, list(things)))
        np.testing.assert_array_equal(
            scene.instance == landscapes.SUN_INSTANCE, scene.label == landscapes.SUN
        )


def test_a_scene_is_the_same_at_every_resolution(scenes):
    agreement = [
        (landscapes.render_scene(seed, 128, 128).label[::2, ::2] == scenes[seed].label).mean()
        for seed in range(10)
    ]
    assert min(agreement) > 0.9


def test_a_wider_image_shows_more_of_the_same_scene():
    square, wide = landscapes.render_scene(4, 64, 64), landscapes.render_scene(4, 64, 128)
    assert (wide.label[:, 32:96] == square.label).mean() > 0.97
    assert len(np.unique(wide.image[:, :32])) > 20 and len(np.unique(wide.image[:, 96:])) > 20


@pytest.mark.parametrize('height, width', [(16, 16), (16, 64), (90, 16), (33, 47)])
def test_odd_sizes(height, width):
    for seed in range(8):
        assert landscapes.render_scene(seed, height, width).label.shape == (height, width)


def test_labels_fit_the_colors(scenes):
    """Sky is brighter than trees in their own picture, the sun brighter than the whole."""
    for scene in scenes[:40]:
        light = scene.image.mean(axis=-1)
        tree, sun = scene.label == landscapes.TREE, scene.label == landscapes.SUN
        if tree.sum() > 20:
            assert light[scene.label == landscapes.SKY].mean() > light[tree].mean()
        if sun.sum() > 6:
            assert light[sun].mean() > light.mean()


@pytest.mark.parametrize(
    'arguments, name',
    [
        ((0, 15, 64), 'height=15'),
        ((0, 64, 8), 'width=8'),
        ((0, 64, 257), 'width=257 .* use a width of 256 or less'),
        ((-1, 64, 64), 'seed=-1'),
    ],
)
def test_errors_name_the_value(arguments, name):
    with pytest.raises(ValueError, match=name):
        landscapes.render_scene(*arguments)


def test_palette_colors_are_distinct():
    assert (
        len({c.color for c in landscapes.CLASSES})
        == len({c.name for c in landscapes.CLASSES})
        == len(landscapes.CLASSES)
    )
