"""The demo that ships with the package: it draws, its styles differ and leave the layout alone, and it is small and of no one machine."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.checkpoints.checkpointer import newest_of_run
from spade_jax.config.config import Config
from spade_jax.evaluation.layout_judge import accuracy, fit_judge
from spade_jax.evaluation.style_distances import color_distance, mean_pairwise_distance
from spade_jax.landscapes import render_scene
from tests import program

DEMO = pathlib.Path(spade_jax.DEMO)
SEEDS = range(4)


def pictures_of(directory):
    return np.stack(
        [np.asarray(Image.open(path)) for path in sorted((DEMO / directory).glob('*.png'))]
    )


@pytest.fixture(scope='module')
def generator():
    return spade_jax.load(spade_jax.DEMO)


@pytest.fixture(scope='module')
def labels():
    return pictures_of('labels')


@pytest.fixture(scope='module')
def random_styles(generator, labels):
    """[seeds, maps, H, W, 3]."""
    return np.stack([generator(labels, seed=seed) for seed in SEEDS])


def test_it_is_small_whole_and_of_no_machine(labels):
    files = [path for path in DEMO.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 10.5e6
    with newest_of_run(spade_jax.DEMO) as (checkpoints, step):
        config, _ = checkpoints.restore_run(step)
    assert all(
        getattr(config, field) == getattr(Config.create(), field)
        for field in ('data_dir', 'records_dir', 'init_from', 'vgg19_weights')
    )
    for path in files:
        if path.suffix != '.png':
            assert not re.search(rb'/(tmp|home|root|demo)/', path.read_bytes()), (
                path
            )  # an absolute path, to the directory itself too
    photos = pictures_of('photos')
    assert labels.shape == (
        8,
        config.data.image_height,
        config.data.image_width,
    ) and photos.shape == (*labels.shape, 3)


def test_one_seed_draws_the_same_bits(labels, random_styles):
    again = spade_jax.load(spade_jax.DEMO)(labels, seed=SEEDS[1])
    np.testing.assert_array_equal(again, random_styles[1])


def test_seeds_differ_in_style(random_styles):
    distances = [mean_pairwise_distance(pictures) for pictures in random_styles.swapaxes(0, 1)]
    assert np.mean(distances) > 8 and min(distances) > 3  # grey levels; of one seed 0


def test_the_style_of_a_picture_brings_its_colours(generator, labels):
    photos = pictures_of('photos')
    one, other = (np.roll(np.arange(len(labels)), shift) for shift in (1, 2))
    pictures = generator(labels, style=generator.encode(photos[one]))
    to_one, to_other = (
        np.mean(
            [
                color_distance(picture, label, photos[i], labels[i])
                for picture, label, i in zip(pictures, labels, which)
            ]
        )
        for which in (one, other)
    )
    assert to_one < 0.7 * to_other


@pytest.mark.slow
def test_all_styles_follow_the_layout(generator, labels, random_styles):
    scenes = [render_scene(seed, *labels.shape[1:]) for seed in range(96)]
    judge = fit_judge(
        np.stack([scene.image for scene in scenes]),
        np.stack([scene.label for scene in scenes]),
        generator.config.data.num_classes,
    )
    real = accuracy(judge.predict(pictures_of('photos')), labels)
    drawn = [accuracy(judge.predict(pictures), labels) for pictures in random_styles]
    assert min(drawn) > 0.8 * real
    assert max(drawn) - min(drawn) < 0.1
    assert accuracy(judge.predict(random_styles[0]), np.roll(labels, 1, axis=0)) < 0.6 * min(
        drawn
    )  # it is this layout that they follow


@pytest.mark.slow
def test_other_runs_start_from_it(tmp_path):
    folders = program.write_folders(tmp_path / 'data')
    result = program.run(
        f'--workdir={tmp_path}/run',
        f'--init_from={spade_jax.DEMO}',
        '--dataset=folders',
        f'--data_dir={folders}',
        '--num_classes=13',
        '--max_steps=1',
        *program.SMALL,
        num_devices=1,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / 'run' / 'checkpoints' / '1').is_dir()
