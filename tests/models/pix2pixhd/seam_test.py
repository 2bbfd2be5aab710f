"""pix2pixHD behind the seam: devices, resume, styles, export, memory, bad input."""

import pathlib
import shutil

import jax
import numpy as np
import pytest
from jax import export as jax_export

import spade_jax
from spade_jax import export
from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.errors import UserError
from spade_jax.memory.step_memory import step_memory
from spade_jax.models.model import build_model
from spade_jax.models.train_state import init_train_state
from spade_jax.sampling.style_flags import StyleOptions, StylesOfPhotos
from spade_jax.training.train_loop import train
from tests.distributed.replicas_test import assert_same_update, largest_difference, run
from tests.fixtures.small import random_batch, step_of
from tests.fixtures.states import final_state
from tests.program import write_folders

TINY = dict(
    model='pix2pixhd',
    crop_size=16,
    load_size=16,
    generator_width=2,
    num_enhancers=1,
    enhancer_blocks=1,
    generator_downsamplings=1,
    generator_blocks=1,
    frozen_epochs=1,
    instance_features=True,
    feature_dim=2,
    encoder_width=2,
    encoder_downsamplings=1,
    discriminator_width=2,
    discriminator_depth=2,
    num_discriminators=2,
    perceptual_weight=0.0,
    image_pool_size=3,
    batch_size=4,
    num_classes=3,
)


def config_of(root, **options):
    folders = dict(dataset='folders', data_dir=str(root), condition='labels+edges')
    epochs = dict(constant_epochs=3, decay_epochs=0, checkpoint_every=2, num_grid_samples=2)
    return Config.create(**{**TINY, **folders, **epochs, **options})


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp('data'), count=8, size=(16, 16))


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """The work directory of a run of 6 steps; the first two freeze the global generator."""
    workdir = tmp_path_factory.mktemp('run')
    train(config_of(data), str(workdir))
    return workdir


def test_run_resumed_before_the_fresh_optimizer_is_exact(data, trained, tmp_path):
    train(config_of(data, max_steps=1), str(tmp_path))
    train(config_of(data), str(tmp_path))
    states = final_state(tmp_path), final_state(trained)
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert states[0].networks['image_pool']['image_pool']['pairs'][..., -1].all()


def test_first_epochs_train_enhancer_and_encoder_only():
    config = Config.create(**TINY, feature_regions='labels')
    model, state = build_model(config), init_train_state(config)
    after, _ = jax.jit(step_of(config, model, updates=model.updates_at(0, 0)))(
        state, random_batch(config)
    )
    before, after = (s.networks['generator']['params'] for s in (state, after))
    jax.tree.map(np.testing.assert_array_equal, after['global'], before['global'])
    assert largest_difference(after['enhancer_1'], before['enhancer_1']) > 0
    assert model.updates_at(9, 1) == model.updates


def test_microbatches_do_not_change_the_step():
    metrics = {}
    for number in (1, 2):
        options = {**TINY, 'image_pool_size': 0, 'accumulation_steps': number}
        config = Config.create(**options, feature_regions='labels')
        _, metrics[number] = jax.jit(step_of(config))(
            init_train_state(config), random_batch(config)
        )
    for name, value in metrics[1].items():
        np.testing.assert_allclose(metrics[2][name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_features_are_clustered_by_class(trained):
    generator = spade_jax.load(str(trained))
    clusters = generator.clusters
    assert (
        clusters.counts.tolist() == [min(10, c) for c in clusters.counts] and clusters.counts.all()
    )
    labels = np.random.default_rng(0).integers(0, 3, (2, 16, 16))
    latent = generator._latents(None, 2, seed=1)
    centers = {tuple(center) for center in clusters.centers.reshape(-1, 2)}
    assert {tuple(row) for row in latent.reshape(-1, 2)} <= centers
    images = generator(labels, labels, seed=1)
    assert images.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(images, generator(labels, labels, style=latent))


def test_clusters_that_a_run_did_not_write_are_written_when_it_is_started_again(
    data, trained, tmp_path
):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    written = spade_jax.load(str(tmp_path)).clusters
    (tmp_path / 'feature_clusters.npz').unlink()
    train(config_of(data), str(tmp_path))
    again = spade_jax.load(str(tmp_path)).clusters
    np.testing.assert_array_equal(again.centers, written.centers)
    assert again.counts.all()


def test_style_is_taken_from_image_with_its_maps(data, trained):
    generator = spade_jax.load(str(trained))
    folder = LabelFolder(
        generator.config.data, *(str(data / f'val_{n}') for n in ('label', 'inst', 'img'))
    )
    of_photos = StylesOfPhotos(generator, folder).of(0, np.arange(2))
    one = [str(data / f'val_{role}' / '1') for role in ('img', 'label', 'inst')]
    options = StyleOptions(
        style_image=f'{one[0]}.jpg', style_label=f'{one[1]}.png', style_instance=f'{one[2]}.png'
    )
    np.testing.assert_allclose(
        options.styles(generator, folder).of(0, np.arange(1))[0], of_photos[1], rtol=1e-5, atol=1e-6
    )
    example = folder.read(1)
    latent = generator.encode(folder.read_photo(1), example.label, example.instance)
    np.testing.assert_allclose(latent, of_photos[1], rtol=1e-5, atol=1e-6)
    chosen = StyleOptions(style_cluster=0).styles(generator, folder).of(0, np.arange(2))
    np.testing.assert_array_equal(chosen, 2 * [generator.clusters.centers[:, 0].reshape(-1)])


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(style_cluster=0, seed_to=2, style_interpolation=5), 'seed_to=2 with style_cluster=0'),
        (dict(style_image='a.png'), 'without a label map.*style_label'),
        (dict(style_image='a.png', style_label='b.png'), 'without a instance map|style_instance'),
        (dict(style_label='b.png'), 'without an image'),
    ],
)
def test_bad_style_flags_are_refused(data, trained, options, message):
    generator = spade_jax.load(str(trained))
    folder = LabelFolder(generator.config.data, str(data / 'val_label'), str(data / 'val_inst'))
    with pytest.raises(UserError, match=message):
        StyleOptions(**options).styles(generator, folder)


def test_image_without_label_map_cannot_be_encoded(trained):
    with pytest.raises(UserError, match='no label maps'):
        spade_jax.load(str(trained)).encode(np.zeros((16, 16, 3), np.uint8))


def test_exported_generator_is_the_same(trained, tmp_path):
    generator, path = spade_jax.load(str(trained)), str(tmp_path / 'generator.jaxexport')
    assert list(export.export(generator, path)) == ['labels', 'instances', 'style']
    labels = np.random.default_rng(0).integers(0, 3, (2, 16, 16)).astype(np.int32)
    style = generator._latents(None, 2, seed=3)
    exported = jax_export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    images = np.asarray(exported.call(labels, labels, style)).astype(int)
    assert np.abs(images - generator(labels, labels, style=style)).max() <= 1


def test_memory_is_estimated():
    config = Config.create(**{**TINY, 'feature_regions': 'labels'})
    assert step_memory(config, 4).peak > 0


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(crop_size=18, load_size=18), '18 is not divisible by 4 .2 halvings.*use 16 or 20'),
        (dict(crop_size=4, load_size=4), 'a single pixel.*use sides of 8 or more'),
        (dict(num_enhancers=0), 'frozen_epochs=1 freezes.*num_enhancers=1'),
        (dict(constant_epochs=0), 'frozen_epochs=1 is more than constant_epochs=0.*at most 0'),
        (dict(accumulation_steps=2), 'image_pool_size=3 with accumulation_steps=2'),
        (dict(feature_regions='instances'), 'feature_regions=instances with condition=labels'),
        (dict(condition='rgb'), 'instance_features with condition=rgb'),
        (dict(spade_hidden=3), 'spade_hidden is an option of model=spade, not of model=pix2pixhd'),
        (dict(discriminator_steps=2), 'discriminator_steps is not of model=pix2pixhd'),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Config.create(**{**TINY, 'feature_regions': 'labels', **options})


@pytest.mark.usefixtures('eight_devices')
def test_eight_devices_compute_the_step_of_one():
    norms = dict.fromkeys(('generator_norm', 'encoder_norm', 'discriminator_norm'), 'sync_batch')
    options = {**TINY, 'batch_size': 8, 'learning_rate': 1e-5, 'feature_regions': 'labels', **norms}
    config = Config.create(**options)
    one, eight = run(config, 1), run(config, 8)
    assert_same_update(one, eight)
    pools = [state.networks['image_pool'] for _, state, _ in (one, eight)]
    assert largest_difference(*pools) < 1e-3
    statistics = [state.networks['discriminator']['batch_stats'] for _, state, _ in (one, eight)]
    assert largest_difference(*statistics) < 1e-4
