"""Averaged weights, and the statistics that batch normalisation draws with."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.batch import Batch
from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.errors import UserError
from spade_jax.models.spade.model import build_networks, layout_of, to_uint8
from spade_jax.models.train_state import init_train_state
from spade_jax.sampling.recalibration import with_statistics
from spade_jax.sampling.styles import NoStyles
from tests.sampling import tiny

CONFIG = dataclasses.replace(tiny.PLAIN, num_classes=3, dontcare=False)


@pytest.fixture(scope='module')
def generator():
    return tiny.generator(CONFIG)


@pytest.fixture(scope='module')
def maps():
    return np.random.default_rng(0).integers(0, 3, (4, 32, 32)).astype(np.uint8)


def test_statistics_of_the_batch_are_those_of_training(generator, maps):
    drawn = generator.with_statistics_of_batch()(maps, batch_size=4)
    network = build_networks(CONFIG).generator
    expected = to_uint8(
        network.apply(
            generator._generator,
            layout_of(Batch(None, maps, None), CONFIG),
            train=True,
            mutable=['batch_stats'],
        )[0]
    )
    assert np.abs(drawn.astype(int) - np.asarray(expected)).max() <= 1
    assert np.abs(drawn.astype(int) - generator(maps)).max() > 1


def test_recalibrated_statistics_are_means_over_the_batches(generator, maps):
    one, other = maps[:2], maps[2:]
    recalibrated = generator.recalibrated([(one, None, None), (other, None, None)])
    statistics = [
        generator.recalibrated([(batch, None, None)])._generator['batch_stats']
        for batch in (one, other)
    ]
    jax.tree.map(
        lambda mean, a, b: np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5, atol=1e-6),
        recalibrated._generator['batch_stats'],
        *statistics,
    )
    # Of one batch they are its own, but for the variance, which is the unbiased one: the first layer sees 2 x 1 x 1 pixels, the last 2 x 32 x 32.
    first = statistics[0]['head']['norm_0']['norm']
    network = build_networks(CONFIG).generator
    _, seen = network.apply(
        generator._generator,
        layout_of(Batch(None, one, None), CONFIG),
        train=False,
        capture_intermediates=True,
        mutable=['intermediates'],
    )
    x = np.asarray(seen['intermediates']['first']['__call__'][0])
    np.testing.assert_allclose(first['mean'], x.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(first['var'], x.var((0, 1, 2), ddof=1), rtol=1e-3, atol=1e-7)


def test_statistics_over_the_maps_of_a_directory(generator, maps, tmp_path):
    for i, label in enumerate(maps[:3]):
        Image.fromarray(label).save(tmp_path / f'{i}.png')
    folder = LabelFolder(CONFIG, str(tmp_path), '')
    found = with_statistics(generator, 'recalibrated', folder, NoStyles(), size=None, batch_size=2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        found._generator['batch_stats'],
        generator.recalibrated([(maps[:2], None, None)])._generator['batch_stats'],
    )  # the third alone is no whole batch
    assert (
        with_statistics(generator, 'running', folder, NoStyles(), size=None, batch_size=2)
        is generator
    )
    assert with_statistics(
        generator, 'batch', folder, NoStyles(), size=None, batch_size=2
    ).statistics_of_batch


def test_a_model_without_batch_statistics_is_refused():
    generator = tiny.generator(CONFIG.replace(generator_norm='instance'))
    for choose in (generator.with_statistics_of_batch, lambda: generator.recalibrated([])):
        with pytest.raises(UserError, match='normalises every picture by its own statistics'):
            choose()


def test_averaged_weights_are_drawn_with_where_there_are_any(tmp_path, maps):
    config = CONFIG.replace(ema_decay=0.9)
    state = init_train_state(config, build_networks(config))
    kernel = state.average['generator']['params']['to_rgb']['kernel']
    state.average['generator']['params']['to_rgb']['kernel'] = kernel + np.float32(0.3)
    with Checkpointer(str(tmp_path / 'averaging')) as checkpoints:
        checkpoints.save(state, config, 1)
    averaged, trained, chosen = (
        spade_jax.load(str(tmp_path / 'averaging'), averaged=choice)
        for choice in (None, False, True)
    )
    assert np.array_equal(averaged(maps), chosen(maps)) and not np.array_equal(
        averaged(maps), trained(maps)
    )
    with Checkpointer(str(tmp_path / 'plain')) as checkpoints:
        checkpoints.save(init_train_state(CONFIG, build_networks(CONFIG)), CONFIG, 1)
    with pytest.raises(UserError, match='kept no average of its weights'):
        spade_jax.load(str(tmp_path / 'plain'), averaged=True)
