"""Published files of pix2pixHD become work directories, and back."""

import jax
import numpy as np
import pytest

import spade_jax
from spade_jax.checkpoints.checkpointer import open_latest
from spade_jax.config.config import Config
from spade_jax.convert import to_torch
from spade_jax.convert.from_torch import convert
from spade_jax.errors import UserError
from spade_jax.files.weight_files import read_state, write_state
from spade_jax.models.pix2pixhd import published
from spade_jax.models.train_state import abstract_train_state, init_train_state

DESCRIBED = dict(
    model='pix2pixhd',
    dataset='folders',
    num_classes=3,
    crop_size=32,
    load_size=32,
    condition='labels+edges',
)
TINY = dict(
    **DESCRIBED,
    generator_width=2,
    generator_downsamplings=3,
    generator_blocks=2,
    discriminator_width=2,
    discriminator_depth=3,
)
MODELS = {
    'global': dict(num_discriminators=3),
    'local': dict(num_enhancers=2, enhancer_blocks=2, crop_size=64, load_size=64),
    'features': dict(
        instance_features=True, feature_dim=2, encoder_width=2, encoder_downsamplings=2
    ),
    'batch': dict.fromkeys(('generator_norm', 'discriminator_norm'), 'sync_batch'),
    'no_matching': dict(feature_matching_weight=0.0),
}


def files_of(config, directory):
    """Write the files of initial networks; returns the state before the first step."""
    directory.mkdir()
    state = init_train_state(config)
    for network, variables in state.networks.items():
        path = directory / f'latest_net_{published.FILES[network]}.npz'
        write_state(str(path), published.to_reference(variables, network, config))
    return state


def converted(tmp_path, options):
    workdir = str(tmp_path / 'run')
    return convert(str(tmp_path / 'files'), 'latest', workdir, options, options)[0], workdir


@pytest.mark.parametrize('name', MODELS)
def test_files_tell_the_architecture(name, tmp_path):
    config = Config.create(**{**TINY, **MODELS[name]})
    state = files_of(config, tmp_path / 'files')
    described = {**DESCRIBED, **{n: v for n, v in MODELS[name].items() if n in DESCRIBED}}
    found, workdir = converted(tmp_path, described)
    assert found == config
    with open_latest(workdir) as (checkpointer, step):
        restored = checkpointer.restore(step, abstract_train_state(found), found)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored).networks, state.networks)
    (tmp_path / 'back').mkdir()
    _, files = to_torch.export(workdir, str(tmp_path / 'back'), 'npz', 'latest')
    assert len(files) == len(state.networks)
    for file in files:
        ours = read_state(file)
        for entry, array in read_state(file.replace('back', 'files')).items():
            np.testing.assert_array_equal(ours[entry], array)


def test_what_files_do_not_tell_is_asked_for(tmp_path):
    files_of(Config.create(**TINY), tmp_path / 'files')
    with pytest.raises(UserError, match='4 channels.*num_classes=N.*; nor the image size'):
        converted(tmp_path, dict(model='pix2pixhd'))
    with pytest.raises(UserError, match='takes a layout of 4 channels, but .* makes 3'):
        converted(tmp_path, {**DESCRIBED, 'condition': 'labels'})
    with pytest.raises(UserError, match='generator_blocks is 2, not 5'):
        converted(tmp_path, {**DESCRIBED, 'generator_blocks': 5})


def test_missing_encoder_is_named(tmp_path):
    config = Config.create(**{**TINY, **MODELS['features']})
    files_of(config, tmp_path / 'files')
    (tmp_path / 'files' / 'latest_net_E.npz').unlink()
    with pytest.raises(UserError, match='takes 2 features, but there is no file.*net_E'):
        converted(tmp_path, DESCRIBED)


def features_files(tmp_path):
    """The files of a model with features, and the place of its clusters."""
    files_of(Config.create(**{**TINY, **MODELS['features']}), tmp_path / 'files')
    return tmp_path / 'files' / 'features_clustered_010.npy'


def test_published_clusters_are_the_random_styles(tmp_path):
    path = features_files(tmp_path)
    table = {0: np.array([[1.0, 2], [3, 4]]), 2: np.array([[5.0, 6]])}
    np.save(path, table)  # pyright: ignore[reportArgumentType]
    _, workdir = converted(tmp_path, DESCRIBED)
    generator = spade_jax.load(workdir)
    assert generator.clusters.counts.tolist() == [2, 0, 1]
    np.testing.assert_array_equal(generator.clusters.cluster(1), [3, 4, 0, 0, 5, 6])
    latents = generator._latents(None, 20, seed=1)
    assert {tuple(row) for row in latents} == {(1, 2, 0, 0, 5, 6), (3, 4, 0, 0, 5, 6)}


@pytest.mark.parametrize(
    'table, message',
    [
        ({3: np.zeros((1, 2))}, 'for the class 3, but the model has 3 classes with 2 features'),
        ({0: np.zeros((1, 3))}, 'the shape .1, 3. for the class 0'),
    ],
)
def test_clusters_of_another_model_are_refused(tmp_path, table, message):
    np.save(features_files(tmp_path), table)
    with pytest.raises(UserError, match=message):
        converted(tmp_path, DESCRIBED)
    assert not (tmp_path / 'run').exists()


def test_random_styles_without_clusters_are_warned_of(tmp_path):
    features_files(tmp_path)
    _, workdir = converted(tmp_path, DESCRIBED)
    with pytest.warns(UserWarning, match='no clusters of features yet: all random styles are equ'):
        assert not spade_jax.load(workdir)._latents(None, 2, seed=1).any()


def test_generator_is_recognized():
    networks = init_train_state(Config.create(**TINY)).networks
    state = published.to_reference(networks['generator'], 'generator', Config.create(**TINY))
    assert published.recognizes(state)
    assert not published.recognizes({'head_0.conv_0.weight': np.zeros(1)})
    assert not published.recognizes({'model.1.weight': np.zeros((1, 3, 7, 7))})  # No bias.
