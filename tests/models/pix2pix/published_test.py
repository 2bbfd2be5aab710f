"""Files of the published code of pix2pix become work directories, and back."""

import os

import jax
import numpy as np
import pytest

import spade_jax
from spade_jax.config.config import Config
from spade_jax.convert.from_torch import check_system, convert
from spade_jax.convert.to_torch import export, unsupported_by_reference
from spade_jax.errors import UserError
from spade_jax.files.weight_files import read_state, write_state
from spade_jax.models.model import build_model
from spade_jax.models.pix2pix.published import FILES, infer_config, recognizes, to_reference
from spade_jax.models.train_state import abstract_networks, init_train_state
from spade_jax.sampling.trained_generator import TrainedGenerator

WIDTHS = dict(generator_width=2, discriminator_width=4)
RESNET = dict(pix2pix_generator='resnet', crop_size=256)
ARCHITECTURES = [
    dict(),
    dict(pix2pix_depth=5, pix2pix_norm='instance', pix2pix_patch='16'),
    dict(pix2pix_depth=7, pix2pix_norm='none', pix2pix_patch='1'),
    dict(RESNET, pix2pix_patch='286'),
    dict(RESNET, pix2pix_blocks=6, pix2pix_norm='instance', pix2pix_dropout=False),
    dict(RESNET, pix2pix_blocks=6, pix2pix_norm='instance'),
    dict(RESNET, pix2pix_blocks=6, pix2pix_dropout=False, pix2pix_patch='34'),
]


def config_of(**options):
    data = dict(dataset='pairs', condition='rgb', train_image_dir='train')
    data['validation_image_dir'] = 'val'
    return Config.create('pix2pix', **{**data, **WIDTHS, **options})


def zero_states(config):
    networks = abstract_networks(build_model(config))
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), networks)
    return states_of(zeros, config)


def states_of(networks, config):
    return {name: to_reference(networks[name], name, config) for name in FILES}


def refusal(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    return str(error.value)


@pytest.mark.parametrize('options', ARCHITECTURES)
def test_files_tell_the_architecture(options):
    config = config_of(**options)
    states = zero_states(config)
    assert recognizes(states['generator'])
    assert infer_config(states, {}, {}) == config
    alone = {'generator': states['generator']}
    defaults = dict(discriminator_width=64, pix2pix_patch='70')
    assert infer_config(alone, {}, {}) == config.replace(**defaults)


def test_depth_beyond_the_published_size_enlarges_it():
    config = config_of(pix2pix_depth=9, crop_size=512, load_size=512)
    assert infer_config(zero_states(config), {}, {}) == config


def test_label_maps_of_a_published_model_are_described_by_flags():
    config = Config.create('pix2pix', **WIDTHS, num_classes=5, condition='labels+edges')
    states, given = zero_states(config), dict(num_classes=5, condition='labels+edges')
    assert infer_config(states, given, given).data.layout_channels == 6
    text = refusal(infer_config, states, {}, {})
    assert text.startswith('the generator takes a condition of 6 channels, but condition=rgb has 3')


def test_flags_that_contradict_the_files_are_refused():
    states = zero_states(config_of())
    given = dict(pix2pix_depth=7, pix2pix_norm='batch')
    text = refusal(infer_config, states, given, given)
    assert text.startswith('the flags contradict the files: pix2pix_depth is 8, not 7; leave')


def test_files_are_converted_and_written_back(tmp_path):
    """With counts of batches in one file, and without the file of the discriminator."""
    config = config_of(pix2pix_generator='resnet', pix2pix_blocks=1, crop_size=256)
    networks = init_train_state(config).networks
    state = states_of(networks, config)['generator']
    counts = {
        name.replace('running_mean', 'num_batches_tracked'): np.int64(7)
        for name in state
        if name.endswith('running_mean')
    }
    write_state(str(tmp_path / 'latest_net_G.npz'), state | counts)
    given = dict(model='pix2pix')
    converted, files = convert(str(tmp_path), 'latest', str(tmp_path / 'run'), given, given)
    assert [os.path.basename(path) for path in files] == ['latest_net_G.npz']
    assert converted.model.pix2pix_blocks == 1 and converted.data.dataset == 'pairs'
    generator = spade_jax.load(str(tmp_path / 'run'))
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    expected = TrainedGenerator(config, networks)(image, seed=3)
    np.testing.assert_array_equal(generator(image, seed=3), expected)
    os.mkdir(tmp_path / 'out')
    export(str(tmp_path / 'run'), str(tmp_path / 'out'), 'npz', 'latest')
    back = read_state(str(tmp_path / 'out' / 'latest_net_G.npz'))
    assert back.keys() == state.keys() | counts.keys()
    for name, array in (state | counts).items():
        np.testing.assert_array_equal(back[name], array, name)
    assert unsupported_by_reference(config) == ['--pix2pix_blocks=1']


def test_statistics_of_old_instance_normalizations_are_left_out(tmp_path):
    options = dict(pix2pix_depth=5, pix2pix_norm='instance')
    state = states_of(init_train_state(config_of(**options)).networks, config_of(**options))
    old = {
        f'model.model.1.model.2.{last}': np.ones(4, np.float32)
        for last in ('running_mean', 'running_var')
    }
    write_state(str(tmp_path / 'latest_net_G.npz'), state['generator'] | old)
    given = dict(model='pix2pix')
    config, _ = convert(str(tmp_path), 'latest', str(tmp_path / 'run'), given, given)
    assert config.model.pix2pix_norm == 'instance'


def test_files_of_other_systems_are_named():
    unet = zero_states(config_of())['generator']
    text = refusal(check_system, unet, 'x_net_G.pth', 'spade')
    assert text == (
        'x_net_G.pth is the generator of a model=pix2pix, not of model=spade; add --model=pix2pix'
    )
    array = np.zeros(1, np.float32)
    spade = {'fc.weight': array, 'head_0.norm_0.mlp_shared.0.weight': array}
    assert 'is the generator of a model=spade' in refusal(check_system, spade, 'x', 'pix2pix')
    clade = {'head_0.norm_0.class_specified_affine.weight': array}
    assert 'is the generator of CLADE' in refusal(check_system, clade, 'x', 'pix2pix')
    oasis = {'body.0.norm_0.first_norm.running_mean': array}
    assert 'is the generator of OASIS' in refusal(check_system, oasis, 'x', 'spade')
    nothing = refusal(infer_config, {'generator': {'a.weight': array}}, {}, {})
    assert nothing.startswith('generator: its entries (a.weight, ...) are not those of pix2pix')
    wrong = {'generator': unet, 'discriminator': {'scale0_layer0.0.weight': array}}
    assert 'not those of pix2pix' in refusal(infer_config, wrong, {}, {})
