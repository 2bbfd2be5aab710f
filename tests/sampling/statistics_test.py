"""EMA weights, and the statistics of batch normalization when sampling."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.errors import UserError
from spade_jax.models.model import build_model, to_uint8
from spade_jax.models.train_state import create_train_state
from spade_jax.sampling.sample_files import SampleRequest, with_statistics
from spade_jax.sampling.styles import NoStyles
from tests.sampling import tiny

CONFIG = tiny.PLAIN.replace(dontcare=False)


@pytest.fixture(scope='module')
def generator():
    return tiny.generator(CONFIG)


@pytest.fixture(scope='module')
def labels():
    return np.random.default_rng(0).integers(0, 3, (4, 32, 32)).astype(np.uint8)


@pytest.fixture
def request_of_folder(labels, tmp_path):
    for i, label in enumerate(labels[:3]):
        Image.fromarray(label).save(tmp_path / f'{i}.png')
    maps = LabelFolder(CONFIG.data, str(tmp_path))
    return SampleRequest(maps, NoStyles(), None, batch_size=2)


def statistics(generator):
    return generator._variables['generator']['batch_stats']


def test_batch_statistics_are_those_of_training_mode(generator, labels):
    images = generator.with_batch_statistics()(labels, batch_size=4).astype(int)
    model = build_model(CONFIG)
    sample = functools.partial(model.sample, train=True, mutable=('batch_stats',))
    trained, _ = jax.jit(sample)(generator._variables, model.condition(labels))
    np.testing.assert_allclose(images, to_uint8(trained), atol=1)
    assert np.abs(images - generator(labels)).max() > 1


def test_recalibrated_statistics_are_means_over_batches(generator, labels):
    batches = [(labels[:2], None, None), (labels[2:], None, None)]
    mean = statistics(generator.recalibrated(batches))
    single = [statistics(generator.recalibrated([batch])) for batch in batches]
    jax.tree.map(
        lambda mean, a, b: np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-5, atol=1e-6),
        mean,
        *single,
    )


def test_recalibrated_statistics_of_first_layer(generator, labels):
    """Mean and unbiased variance of the input of the first layer."""
    found = statistics(generator.recalibrated([(labels[:2], None, None)]))['head']['norm_0']['norm']
    model = build_model(CONFIG)
    options = dict(train=False, capture_intermediates=True, mutable=['intermediates'])
    apply = jax.jit(functools.partial(model.networks['generator'].apply, **options))
    _, seen = apply(generator._variables['generator'], model.condition(labels[:2]))
    x = np.asarray(seen['intermediates']['first']['__call__'][0])
    np.testing.assert_allclose(found['mean'], x.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found['var'], x.var((0, 1, 2), ddof=1), rtol=1e-3, atol=1e-7)


def test_recalibration_takes_full_batches_of_the_maps(generator, labels, request_of_folder):
    found = with_statistics(generator, 'recalibrated', request_of_folder)
    # The third map alone is not a full batch.
    expected = generator.recalibrated([(labels[:2], None, None)])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        statistics(found),
        statistics(expected),
    )


def test_running_statistics_are_those_of_the_generator(generator, request_of_folder):
    assert with_statistics(generator, 'running', request_of_folder) is generator


def test_batch_statistics_are_chosen(generator, request_of_folder):
    assert with_statistics(generator, 'batch', request_of_folder).use_batch_statistics


@pytest.mark.parametrize('kind', ['batch', 'recalibrated'])
def test_model_without_batch_statistics_is_refused(kind, request_of_folder):
    generator = tiny.generator(CONFIG.replace(generator_norm='instance'))
    with pytest.raises(UserError, match='this model has no batch normalization'):
        with_statistics(generator, kind, request_of_folder)


def test_loaded_generator_samples_with_ema_by_default(labels, tmp_path):
    config = CONFIG.replace(ema_decay=0.9)
    state = create_train_state(config, tiny.state(CONFIG).networks)
    to_rgb = state.ema['generator']['params']['to_rgb']
    to_rgb['kernel'] = to_rgb['kernel'] + np.float32(0.3)
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(state, config, 1)
    default, raw, ema = (
        spade_jax.load(str(tmp_path), use_ema=choice)(labels) for choice in (None, False, True)
    )
    np.testing.assert_array_equal(default, ema)
    assert np.any(default != raw)


def test_run_without_ema_has_none_to_load(tmp_path):
    tiny.write_checkpoint(CONFIG, tmp_path)
    with pytest.raises(UserError, match='the run has no EMA of its weights'):
        spade_jax.load(str(tmp_path), use_ema=True)
