"""The demo that ships with the package: small, portable, with styles that keep the layout."""

import pathlib
import re

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.checkpoints.checkpointer import Checkpointer, open_latest
from spade_jax.config.config import Config
from spade_jax.evaluation.layout_judge import accuracy, fit_judge
from spade_jax.evaluation.style_distances import color_distance, mean_pairwise_distance
from spade_jax.landscapes import render_scene
from spade_jax.sampling import loading
from spade_jax.training.resume import initial_state

DEMO = pathlib.Path(spade_jax.DEMO)
SEEDS = range(3)


def read_images(folder):
    paths = sorted((DEMO / folder).glob('*.png'))
    return np.stack([np.asarray(Image.open(path)) for path in paths])


@pytest.fixture(scope='module')
def generator():
    return spade_jax.load(spade_jax.DEMO)


@pytest.fixture(scope='module')
def labels():
    return read_images('labels')


@pytest.fixture(scope='module')
def random_styles(generator, labels):
    """[seeds, maps, H, W, 3]."""
    return np.stack([generator(labels, seed=seed) for seed in SEEDS])


def demo_config():
    with open_latest(spade_jax.DEMO) as (checkpointer, step):
        return checkpointer.metadata(step).config


def test_demo_is_small():
    sizes = [path.stat().st_size for path in DEMO.rglob('*') if path.is_file()]
    assert sum(sizes) < 10.5e6


def test_demo_has_no_paths_of_a_machine():
    options, defaults = demo_config().options(), Config.create().options()
    for name in ('data_dir', 'records_dir', 'init_from', 'vgg19_weights'):
        assert options[name] == defaults[name]
    for path in DEMO.rglob('*'):
        if path.is_file() and path.suffix != '.png':
            assert not re.search(rb'/(tmp|home|root|demo|work)/', path.read_bytes()), path


def test_demo_has_label_maps_and_photos_of_its_size(labels):
    data = demo_config().data
    assert labels.shape == (8, data.image_height, data.image_width)
    assert read_images('photos').shape == (*labels.shape, 3)


def test_same_seed_gives_same_bits(labels, random_styles):
    again = spade_jax.load(spade_jax.DEMO)(labels, seed=SEEDS[1])
    np.testing.assert_array_equal(again, random_styles[1])


def test_seeds_differ_in_style(random_styles):
    # In gray levels; 0 for equal seeds.
    distances = [mean_pairwise_distance(images) for images in random_styles.swapaxes(0, 1)]
    assert np.mean(distances) > 8
    assert min(distances) > 3


def test_style_of_a_photo_transfers_its_colors(generator, labels):
    photos = read_images('photos')
    one, other = (np.roll(np.arange(len(labels)), shift) for shift in (1, 2))
    images = generator(labels, style=generator.encode(photos[one]))

    def distance(chosen):
        pairs = zip(images, labels, photos[chosen], labels[chosen], strict=True)
        return np.mean([color_distance(*pair) for pair in pairs])

    assert distance(one) < 0.7 * distance(other)


def test_all_styles_follow_the_layout(generator, labels, random_styles):
    scenes = [render_scene(seed, *labels.shape[1:]) for seed in range(48)]
    examples = [(scene.image, scene.label) for scene in scenes]
    judge = fit_judge(examples, generator.config.data.num_classes, steps=1000)
    real = accuracy(judge.predict(read_images('photos')), labels)
    sampled = [accuracy(judge.predict(images), labels) for images in random_styles]
    of_other_layout = accuracy(judge.predict(random_styles[0]), np.roll(labels, 1, axis=0))
    assert min(sampled) > 0.8 * real
    assert max(sampled) - min(sampled) < 0.1
    assert of_other_layout < 0.6 * min(sampled)


def test_training_starts_from_demo(tmp_path):
    config = demo_config().replace(init_from=spade_jax.DEMO)
    with Checkpointer(str(tmp_path)) as checkpointer:
        state = initial_state(checkpointer, config, str(tmp_path)).state
    with open_latest(spade_jax.DEMO) as (checkpointer, step):
        _, item = loading._read_generator(checkpointer, step)
    for name, network in item['networks'].items():
        jax.tree.map(np.testing.assert_array_equal, state.networks[name], network)
