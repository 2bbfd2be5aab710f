"""The unconditional GAN on the seam: training, growth, sampling, export, memory, data."""

import json
import os
import pathlib

import jax
import numpy as np
import pytest
from jax import export as jax_export
from PIL import Image

import spade_jax
from spade_jax import export
from spade_jax.config.config import Config
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import UserError
from spade_jax.memory.step_memory import step_memory
from spade_jax.models.train_state import init_train_state
from spade_jax.training.fine_tuning import transplanted
from spade_jax.training.train_loop import train
from tests.distributed.replicas_test import largest_difference, metrics_difference, run
from tests.fixtures.cli import refusal, succeed_inline
from tests.fixtures.states import final_state
from tests.program import write_folders

OPTIONS = dict(model='gan', crop_size=8, load_size=8, gan_width=4, gan_latent_dim=8, batch_size=8)
# Grids of 4x4 in steps 0 to 2; those of 8x8 fade in over the steps 3 and 4.
GROWING = dict(OPTIONS, grow='8:3', fade_steps=2, gan_loss='hinge')


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """A directory of photos alone."""
    root = write_folders(tmp_path_factory.mktemp('data'), count=16, size=(8, 8))
    for directory in [*root.glob('*_label'), *root.glob('*_inst')]:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    return root


def config_of(root, **options) -> Config:
    folders = dict(dataset='folders', data_dir=str(root), constant_epochs=3, log_every=1)
    return Config.create(**{**GROWING, **folders, **options})


@pytest.fixture(scope='module')
def trained(photos, tmp_path_factory):
    """The work directory of a run of 6 steps through all levels."""
    workdir = tmp_path_factory.mktemp('run')
    train(config_of(photos), str(workdir))
    return workdir


def test_gan_trains_on_photos_alone_through_all_levels(trained):
    lines = pathlib.Path(trained, 'metrics.jsonl').read_text().splitlines()
    last = json.loads(lines[-1])
    assert last['step'] == 6
    assert {'g_gan', 'd_fake', 'd_real', 'd_logits_real', 'generator_learning_rate'} <= set(last)
    networks, start = final_state(trained).networks, init_train_state(config_of('')).networks
    assert networks['generator']['schedule']['steps'] == 5  # The end of the last fade.
    for network in start:
        for name, params in start[network]['params'].items():
            assert largest_difference(params, networks[network]['params'][name]) > 0, name


def test_gan_resumes_exactly_at_a_switch_and_within_a_fade(photos, trained, tmp_path):
    for step in (3, 4, 0):
        train(config_of(photos, max_steps=step), str(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, final_state(tmp_path), final_state(trained))


@pytest.mark.usefixtures('eight_devices')
@pytest.mark.parametrize(
    'options', [{}, dict(gan_norm='sync_batch', gan_loss='minimax', gan_spectral_norm=True)]
)
def test_eight_devices_train_as_one(options):
    config = Config.create(**OPTIONS, **options)
    one, eight = run(config, 1, num_steps=2), run(config, 8, num_steps=2)
    assert metrics_difference(one, eight) < 2e-5


def test_command_samples_the_images_of_the_api(trained, tmp_path):
    flags = [f'--workdir={trained}', f'--output_dir={tmp_path}', '--num_samples=3', '--seed=5']
    assert f'3 images: {tmp_path}' in succeed_inline('--mode=sample', *flags)
    images = [np.asarray(Image.open(tmp_path / f'0000{i}.png')) for i in range(3)]
    generator = spade_jax.load(str(trained))
    np.testing.assert_array_equal(generator(num=3, seed=5), images)
    np.testing.assert_array_equal(generator(seed=5), images[0])
    assert not (tmp_path / 'gallery').exists()  # There are no label maps.


def test_label_maps_are_refused(trained):
    generator = spade_jax.load(str(trained))
    with pytest.raises(UserError, match='this model has no condition: give num'):
        generator(np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(UserError, match='num=-1'):
        generator(num=-1)
    result = refusal('--mode=sample', f'--workdir={trained}', '--label_dir=maps')
    assert 'label_dir=maps, but model=gan has no condition' in result


def test_photos_alone_are_validated(photos, tmp_path):
    flags = ['--model=gan', '--dataset=folders', f'--data_dir={photos}', '--load_size=8']
    flags += ['--crop_size=8', f'--output_dir={tmp_path}']
    text = succeed_inline('--mode=validate_data', *flags)
    assert text.startswith('train: 16 photos, 16 usable ones\n')
    assert 'To train:' in text and 'perceptual_weight' not in text
    (photos / 'train_img' / 'broken.png').write_bytes(b'no image')
    result = refusal('--mode=validate_data', *flags)
    (photos / 'train_img' / 'broken.png').unlink()
    assert '1 defect in 1 file' in result


def test_records_of_photos_alone_are_read(photos, tmp_path):
    flags = ['--model=gan', '--dataset=folders', f'--data_dir={photos}', '--load_size=8']
    succeed_inline('--mode=prepare_data', *flags, '--crop_size=8', f'--records_dir={tmp_path}')
    data = config_of(photos, records_dir=str(tmp_path)).data
    records, files = (open_source(each, 'train') for each in (data, config_of(photos).data))
    assert records.read(3).label.shape == (8, 8, 0)
    np.testing.assert_array_equal(records.read(3).image, files.read(3).image)


def test_gan_is_exported_without_label_maps(trained, tmp_path):
    generator, path = spade_jax.load(str(trained)), os.path.join(tmp_path, 'gan.jaxexport')
    assert list(export.export(generator, path)) == ['style']
    style = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    exported = jax_export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    images = np.asarray(exported.call(style)).astype(int)
    assert np.abs(images - generator(num=3, style=style)).max() <= 1


def test_memory_of_gan_is_estimated():
    config = Config.create(**OPTIONS)
    assert step_memory(config, 4).peak > step_memory(config.replace(gan_width=2), 4).peak


def test_new_run_takes_over_weights_but_not_the_schedule(trained):
    networks = final_state(trained).networks
    new, _ = transplanted(init_train_state(config_of('')).networks, networks)
    assert new['generator']['schedule']['steps'] == 0
    jax.tree.map(
        np.testing.assert_array_equal, new['generator']['params'], networks['generator']['params']
    )
