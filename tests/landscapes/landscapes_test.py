import os
import subprocess
import sys

import numpy as np
import pytest

from spade_jax import landscapes
from spade_jax.errors import UserError
from spade_jax.landscapes.classes import ROCK, SKY, SUN, SUN_INSTANCE, TREE

DIGEST = """
import hashlib
from spade_jax import landscapes
scenes = [landscapes.render_scene(seed, 48, 64) for seed in range(4)]
digest = hashlib.sha256(b"".join(part.tobytes() for scene in scenes for part in scene)).hexdigest()
"""


@pytest.fixture(scope='module')
def scenes():
    return [landscapes.render_scene(seed, 64, 64) for seed in range(200)]


def python_output(script):
    path = os.pathsep.join(filter(None, sys.path))
    environment = dict(os.environ, PYTHONPATH=path, PYTHONHASHSEED='1')
    command = [sys.executable, '-c', script]
    return subprocess.check_output(command, env=environment, text=True).strip()


def test_scene_has_shapes_and_dtypes():
    scene = landscapes.render_scene(0, 32, 48)
    found = [(part.shape, part.dtype) for part in scene]
    assert found == [((32, 48, 3), np.uint8), ((32, 48), np.uint8), ((32, 48), np.uint16)]


def test_another_process_renders_same_bytes():
    here = {}
    exec(DIGEST, here)
    assert python_output(DIGEST + 'print(digest)') == here['digest']


def test_rendering_leaves_global_random_state_alone():
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    landscapes.render_scene(11, 32, 32)
    assert np.random.rand() == expected


def test_style_changes_image_but_not_maps():
    styles = [landscapes.sample_style(seed) for seed in range(6)]
    rendered = [landscapes.render_scene(5, 64, 64, style) for style in styles]
    for other in rendered[1:]:
        np.testing.assert_array_equal(other.label, rendered[0].label)
        np.testing.assert_array_equal(other.instance, rendered[0].instance)
    means = np.array([scene.image.mean(axis=(0, 1)) for scene in rendered])
    gaps = np.abs(means[:, None] - means[None]).max(axis=-1)[np.triu_indices(6, 1)]
    assert np.median(gaps) > 15  # of 255


def test_default_style_is_sampled_from_seed():
    given = landscapes.render_scene(3, 32, 32, landscapes.sample_style(3))
    np.testing.assert_array_equal(given.image, landscapes.render_scene(3, 32, 32).image)


def test_equal_styles_have_equal_hashes():
    style, same = landscapes.sample_style(3), landscapes.sample_style(3)
    assert style == same
    assert hash(style) == hash(same)


def test_different_styles_are_unequal():
    style = landscapes.sample_style(3)
    assert style != landscapes.sample_style(4)
    assert style != style._replace(glow=(1.0, 0.5, 0.0))


def test_red_sunlight_makes_image_redder():
    style = landscapes.sample_style(3)
    plain = landscapes.render_scene(3, 32, 32, style).image
    red = landscapes.render_scene(3, 32, 32, style._replace(sunlight=(3.0, 0.0, 0.0))).image
    assert red[..., 0].mean() > plain[..., 0].mean()
    assert red[..., 1].mean() < plain[..., 1].mean()


def test_import_needs_numpy_alone():
    """Each process that renders a data set imports the module again."""
    script = 'import sys; from spade_jax import landscapes; print(*sys.modules)'
    loaded = {name.split('.')[0] for name in python_output(script).split()}
    assert 'numpy' in loaded
    assert not {'jax', 'flax', 'tensorflow', 'PIL'} & loaded


def test_every_class_is_common(scenes):
    num_classes = len(landscapes.CLASSES)
    counts = [np.bincount(scene.label.ravel(), minlength=num_classes) for scene in scenes]
    present = np.mean(np.array(counts) > 0, axis=0)
    classes = zip(landscapes.CLASSES, present, strict=True)
    assert not {entry.name: share for entry, share in classes if share < 0.08}


def test_labels_are_classes(scenes):
    assert max(scene.label.max() for scene in scenes) < len(landscapes.CLASSES)


def test_scenes_are_varied(scenes):
    counts = [len(np.unique(scene.label)) for scene in scenes]
    assert min(counts) >= 2  # Sky over the sea.
    assert 6 <= np.median(counts) <= 10
    assert len({scene.label.tobytes() for scene in scenes}) == len(scenes)


def test_instance_has_one_label(scenes):
    for scene in scenes:
        pairs = np.unique(np.stack([scene.instance.ravel(), scene.label.ravel()]), axis=1)
        instances = pairs[0][pairs[0] > 0]
        assert len(np.unique(instances)) == len(instances)


def test_countable_classes_have_instances(scenes):
    for scene in scenes:
        countable = np.isin(scene.label, [SUN, TREE, ROCK])
        np.testing.assert_array_equal(scene.instance > 0, countable)
        np.testing.assert_array_equal(scene.instance == SUN_INSTANCE, scene.label == SUN)


def test_scene_is_same_at_every_resolution(scenes):
    for seed in range(10):
        large = landscapes.render_scene(seed, 128, 128)
        assert (large.label[::2, ::2] == scenes[seed].label).mean() > 0.9


def test_wider_image_shows_more_of_the_scene():
    square, wide = landscapes.render_scene(4, 64, 64), landscapes.render_scene(4, 64, 128)
    assert (wide.label[:, 32:96] == square.label).mean() > 0.97
    for margin in (wide.image[:, :32], wide.image[:, 96:]):
        assert len(np.unique(margin)) > 20


@pytest.mark.parametrize('height, width', [(16, 16), (16, 64), (90, 16), (33, 47)])
def test_scene_of_odd_size_has_that_size(height, width):
    for seed in range(8):
        assert landscapes.render_scene(seed, height, width).label.shape == (height, width)


def test_colors_fit_labels(scenes):
    """Sky is brighter than trees of the same image, the sun brighter than the whole image."""
    for scene in scenes[:40]:
        light = scene.image.mean(axis=-1)
        tree, sun = scene.label == TREE, scene.label == SUN
        if tree.sum() > 20:
            assert light[scene.label == SKY].mean() > light[tree].mean()
        if sun.sum() > 6:
            assert light[sun].mean() > light.mean()


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((0, 15, 64), 'height=15 .*; use 16 or more'),
        ((0, 64, 8), 'width=8 .*; use 16 or more'),
        ((0, 64, 257), 'width=257 .*; use a width of 256 or less'),
        ((-1, 64, 64), 'seed=-1 is negative; use 0 or more'),
    ],
)
def test_render_rejects_argument_out_of_range(arguments, message):
    with pytest.raises(UserError, match=message):
        landscapes.render_scene(*arguments)


def test_classes_have_distinct_names_and_colors():
    count = len(landscapes.CLASSES)
    assert len({entry.name for entry in landscapes.CLASSES}) == count
    assert len({entry.color for entry in landscapes.CLASSES}) == count
