"""pix2pix on the seam: trained, resumed, sampled, exported; its noise and its options."""

import functools
import os
import pathlib

import jax
import numpy as np
import pytest
from jax import export as jax_export

import spade_jax
from spade_jax import export
from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.layers.dropout import LATENT_DIM, dropout_of
from spade_jax.memory.step_memory import step_memory
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_networks, abstract_train_state, init_train_state
from spade_jax.random_streams import Stream
from spade_jax.sampling.trained_generator import TrainedGenerator
from spade_jax.training.train_loop import train
from spade_jax.training.train_step import seeded_noise
from tests.data.miniatures import pairs
from tests.distributed.replicas_test import assert_same_update, run
from tests.fixtures.small import random_batch, step_of
from tests.fixtures.states import assert_same_state, final_state

WIDTHS = dict(generator_width=2, discriminator_width=2)
# Networks that compile in seconds, with dropout.
SMALL = dict(
    WIDTHS,
    crop_size=16,
    load_size=16,
    pix2pix_generator='resnet',
    pix2pix_blocks=1,
    pix2pix_patch='1',
)
LABELS = dict(SMALL, num_classes=3, batch_size=8)
UNET = dict(WIDTHS, crop_size=64, load_size=256, pix2pix_depth=6, pix2pix_patch='16')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data')
    pairs(directory)
    return directory


def config_of(data, **options):
    fields = dict(dataset='pairs', condition='rgb', data_dir=str(data), direction='b_to_a')
    folders = dict(train_image_dir='train', validation_image_dir='val')
    schedule = dict(batch_size=2, constant_epochs=1, decay_epochs=1, checkpoint_every=2)
    return Config.create('pix2pix', **{**SMALL, **fields, **folders, **schedule, **options})


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """The work directory of a run of four steps, two of them in the decay."""
    workdir = tmp_path_factory.mktemp('run')
    train(config_of(data), str(workdir))
    return workdir


def test_run_resumes_exactly(data, trained, tmp_path):
    train(config_of(data, max_steps=1), str(tmp_path))
    train(config_of(data), str(tmp_path))
    assert_same_state(final_state(tmp_path), final_state(trained))
    assert int(final_state(trained).step) == 4


def conditions(count, size=(16, 16)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3)).astype(np.uint8)


def test_seed_and_neighbors_of_samples(trained):
    generator, maps = spade_jax.load(str(trained)), conditions(3)
    assert generator.latent_dim == LATENT_DIM
    images = generator(maps, seed=1)
    np.testing.assert_array_equal(images, generator(maps, seed=1))
    assert np.any(images != generator(maps, seed=2))
    # The noise of a map depends on its index alone, and each is normalized by itself.
    alone = generator(maps[:1], seed=1)
    assert np.abs(images[:1].astype(int) - alone).max() <= 1
    styles = np.random.default_rng(3).standard_normal((3, LATENT_DIM), np.float32)
    last = generator(maps[2], style=styles[2]).astype(int)
    assert np.abs(last - generator(maps, style=styles)[2]).max() <= 1
    prepared = generator.prepare(maps[2])(styles)
    assert prepared.shape == images.shape
    assert np.abs(prepared[2].astype(int) - last).max() <= 1
    assert np.any(prepared[0] != prepared[1])
    assert generator(conditions(1, (16, 24))).shape == (1, 16, 24, 3)


def test_generator_is_exported(trained, tmp_path):
    generator, path = spade_jax.load(str(trained)), os.path.join(tmp_path, 'x.jaxexport')
    assert list(export.export(generator, path)) == ['labels', 'style']
    exported = jax_export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    style = np.random.default_rng(3).standard_normal((2, LATENT_DIM), np.float32)
    images = np.asarray(exported.call(conditions(2), style)).astype(int)
    assert np.abs(images - generator(conditions(2), style=style)).max() <= 1


def test_statistics_at_sampling_are_of_the_image_or_the_training():
    images = {}
    for kind in ('image', 'running'):
        config = Config.create('pix2pix', **LABELS, pix2pix_statistics=kind, pix2pix_dropout=False)
        generator = TrainedGenerator(config, init_train_state(config).networks)
        labels = np.asarray(random_batch(config).label[:2])
        assert generator.latent_dim is None
        images[kind] = generator(labels)
        if kind == 'image':
            batch_of_one = generator.with_batch_statistics()(labels[:1])
            np.testing.assert_array_equal(images['image'][:1], batch_of_one)
    assert np.any(images['image'] != images['running'])


@pytest.mark.usefixtures('eight_devices')
def test_eight_devices_give_the_update_of_one():
    config = Config.create('pix2pix', **LABELS, learning_rate=1e-4)
    assert_same_update(run(config, 1, num_steps=2), run(config, 8, num_steps=2))


def test_masks_depend_on_the_example_alone():
    x = np.ones((4, 6, 5, 3), np.float32)
    noise = functools.partial(seeded_noise(0), Stream.STYLE_IN_GENERATOR_UPDATE, np.asarray(7))
    latents = np.asarray(noise(np.arange(4), LATENT_DIM))
    dropped = np.asarray(dropout_of(latents)(x, 5))
    assert set(np.unique(dropped)) == {0, 2}
    assert abs((dropped > 0).mean() - 0.5) < 0.1
    # A rounding error of the latent, the position in the batch and the neighbors do not matter.
    other = np.asarray(dropout_of(latents[2:] * 1.001)(x[2:], 5))
    np.testing.assert_array_equal(other, dropped[2:])
    assert all(np.any(dropped[0] != dropped[i]) for i in (1, 2, 3))
    assert np.any(np.asarray(dropout_of(latents)(x, 6)) != dropped)
    np.testing.assert_array_equal(dropout_of(None)(x, 5), x)


def test_both_updates_have_the_same_noise():
    """So the generator is judged by the fake images that the discriminator has just seen."""
    config = Config.create('pix2pix', **LABELS)
    model, batch, streams = build_model(config), random_batch(config), []

    def latents(stream, dim):
        streams.append(stream)
        return np.zeros((8, dim), np.float32)

    networks, names = abstract_networks(model), []
    for update in model.updates:
        loss = functools.partial(update.loss, batch=batch, noise=latents, _=None)
        output = jax.eval_shape(loss, networks)
        names.append((update.player, set(output.terms), set(output.updated)))
    assert streams == [Stream.STYLE_IN_GENERATOR_UPDATE] * 2
    both = {'generator', 'discriminator'}
    assert names[0] == ('discriminator', {'fake', 'real'}, both)
    assert names[1] == ('generator', {'gan', 'l1'}, {'discriminator'})


@pytest.mark.parametrize(
    'options',
    [
        dict(UNET, num_classes=3, condition='labels+edges'),
        dict(UNET, crop_size=128, aspect_ratio=2.0, condition='rgb', pix2pix_norm='instance'),
        dict(SMALL, condition='rgb', pix2pix_norm='none', ttur=True, ema_decay=0.9),
    ],
)
def test_step_in_bfloat16_keeps_shapes_and_types(options):
    config = Config.create('pix2pix', **options, compute_dtype='bfloat16', batch_size=2)
    data, state = config.data, abstract_train_state(config)
    label = jax.ShapeDtypeStruct((2, data.image_height, data.image_width), np.uint8)
    image = jax.ShapeDtypeStruct((*label.shape, 3), np.uint8)
    batch = Batch(image, label if data.uses_labels else image, label)
    after, metrics = jax.eval_shape(step_of(config), state, batch)
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (after, state)]
    assert kinds[0] == kinds[1]
    assert {leaf.dtype for leaf in metrics.values()} == {np.dtype('float32')}


def test_memory_is_estimated():
    assert step_memory(Config.create('pix2pix', **LABELS), 4).peak > 0


def test_options_of_the_other_sections_are_the_published_ones():
    config = Config.create('pix2pix')
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.adam_betas) == (2e-4, (0.5, 0.999))
    assert (optimizer.batch_size, optimizer.constant_epochs, optimizer.decay_epochs) == (
        1,
        100,
        100,
    )
    assert (optimizer.initialization, optimizer.init_gain) == ('normal', 0.02)
    assert config.losses.gan_loss == 'cross_entropy'
    assert [update.time_scale for update in build_model(config).updates] == [1, 1]


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(crop_size=96, load_size=96),
            'crop_size=96 is not divisible by 64 (6 halvings of --pix2pix_depth); use 64 or 128',
        ),
        (
            dict(aspect_ratio=2.0, crop_size=64),
            'aspect_ratio=2.0 gives images of 64x32, whose height is not divisible by 64',
        ),
        (
            dict(pix2pix_generator='resnet', crop_size=30),
            'crop_size=30 is not divisible by 4 (2 halvings); use 28 or 32',
        ),
        (dict(pix2pix_generator='resnet', crop_size=4), 'images of 4 pixels are too small'),
        (
            dict(pix2pix_patch='286'),
            'pix2pix_patch=286: images of 64 pixels leave no output; use --pix2pix_patch=142, or '
            'images of 96 pixels or more',
        ),
        (dict(pix2pix_depth=4), 'pix2pix_depth=4 is too small; use 5 or more'),
        (
            dict(spade_hidden=4),
            'spade_hidden is an option of model=spade, not of model=pix2pix; leave --spade_hidden',
        ),
        (dict(perceptual_weight=3.0), 'perceptual_weight is not of model=pix2pix'),
        (dict(feature_matching_weight=10.0), 'feature_matching_weight is not of model=pix2pix'),
    ],
)
def test_illegal_options_are_refused(options, message):
    options = UNET | options
    with pytest.raises(UserError) as error:
        Config.create('pix2pix', **options)
    assert str(error.value).startswith(message)


def test_option_of_pix2pix_is_refused_for_spade():
    with pytest.raises(UserError, match='l1_weight is an option of model=pix2pix, not of'):
        Config.create(l1_weight=10.0)
