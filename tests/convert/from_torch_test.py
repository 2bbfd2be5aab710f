"""Files of the reference implementation become work directories."""

import json
import os
import re
import shlex

import jax
import numpy as np
import pytest

import spade_jax
from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.config.flags import (
    config_from_flags,
    described_options,
    flags_to_resume,
    given_options,
)
from spade_jax.config.model_options import MODELS, RegisteredModel
from spade_jax.convert import from_torch
from spade_jax.convert.from_torch import convert, faults_of
from spade_jax.errors import UserError
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.models.spade import published
from spade_jax.models.spade.reference_names import to_variables
from spade_jax.models.train_state import abstract_train_state, init_train_state
from tests import parity, program
from tests.convert.released_files import (
    golden_maps,
    options_to_give,
    random_states,
    write_files,
    zero_states,
)
from tests.fixtures.cli import parsed_flags, succeed_inline
from tests.fixtures.small import assert_trees_allclose

SMALL = Config.create(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=4,
    generator_multipliers='2,1',
    spade_hidden=4,
    discriminator_width=4,
    discriminator_depth=2,
    num_discriminators=1,
)
OPTIONS = dict(num_classes=3, crop_size=32)


def converted(tmp_path, states, **options):
    """Write the files, convert them to tmp_path/run; returns the Config and the names."""
    options = options or OPTIONS
    files, workdir = write_files(tmp_path / 'files', states), tmp_path / 'run'
    config, read = convert(str(files), 'latest', str(workdir), options, options)
    return config, [os.path.basename(path) for path in read]


def restored(tmp_path, step=0):
    with Checkpointer(str(tmp_path / 'run'), read_only=True) as checkpointer:
        config = checkpointer.metadata(step).config
        return config, checkpointer.restore(step, abstract_train_state(config), config)


def assert_same_trees(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.fixture
def states():
    return random_states(SMALL)


def golden_generator(case):
    """The golden case and its states, with an encoder that fits."""
    golden = parity.Golden(case)
    states = {'generator': golden.state('sd')}
    if golden.options['use_vae']:
        narrow = dict(generator_width=1, discriminator_width=1, encoder_width=1, spade_hidden=1)
        states['encoder'] = zero_states(parity.config_of(golden.options, **narrow))['encoder']
    return golden, states


def test_converted_generator_samples_golden_images(tmp_path):
    golden, states = golden_generator(parity.cases('generator')[-1])
    converted(tmp_path, states, **options_to_give(golden))
    generator = spade_jax.load(str(tmp_path / 'run'))
    style = golden['in/z'] if golden.options['use_vae'] else None
    images = generator(*golden_maps(golden), style=style)
    # The reference clips, multiplies by 255 and truncates.
    expected = np.clip((golden['out/eval'].astype(np.float64) + 1) / 2 * 255, 0, 255)
    difference = np.abs(images.astype(int) - expected.astype(np.uint8))
    assert expected.std() > 10, 'flat images show nothing'
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def check_variables(tmp_path, golden, states, network, **options):
    """The converted variables are those with which the network has its golden outputs."""
    converted(tmp_path, states, **options_to_give(golden))
    _, state = restored(tmp_path)
    expected = to_variables(golden.state('sd'), network, **options)
    assert_same_trees(state.networks[network], expected)


@pytest.mark.parametrize('case', parity.cases('generator'))
def test_convert_reads_golden_generator(case, tmp_path):
    golden, states = golden_generator(case)
    grid_size = tuple(golden.meta['latent_hw']) if golden.options['use_vae'] else None
    check_variables(tmp_path, golden, states, 'generator', grid_size=grid_size)


@pytest.mark.parametrize('case', parity.cases('discriminator'))
def test_convert_reads_golden_discriminator(case, tmp_path):
    golden = parity.Golden(case)
    generator = zero_states(parity.config_of(golden.options, generator_width=1))['generator']
    states = {'generator': generator, 'discriminator': golden.state('sd')}
    check_variables(tmp_path, golden, states, 'discriminator')


@pytest.mark.parametrize('case', parity.usable_encoders())
def test_convert_reads_golden_encoder(case, tmp_path):
    golden = parity.Golden(case)
    generator = zero_states(parity.config_of(golden.options, generator_width=1))['generator']
    states = {'generator': generator, 'encoder': golden.state('sd')}
    check_variables(tmp_path, golden, states, 'encoder')


@pytest.fixture(scope='module')
def conversion(tmp_path_factory):
    """What `convert` returned for a generator and a discriminator, and what it saved."""
    directory, options = tmp_path_factory.mktemp('conversion'), dict(seed=5, ema_decay=0.9)
    returned = converted(directory, random_states(SMALL), **OPTIONS, **options)
    return *returned, *restored(directory)


def test_convert_saves_its_config(conversion):
    config, _, saved, _ = conversion
    assert config.run.seed == 5
    assert saved == config


def test_convert_returns_read_files(conversion):
    _, files, *_ = conversion
    assert files == ['latest_net_G.npz', 'latest_net_D.npz']


def test_convert_keeps_every_weight(conversion):
    *_, state = conversion
    assert_same_trees(state.networks, init_train_state(SMALL).networks)


def test_convert_makes_fresh_optimizers(conversion):
    *_, state = conversion
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((state.step, state.optimizers)))


def test_convert_starts_ema_at_the_weights(conversion):
    *_, state = conversion
    params = state.networks['generator']['params']
    assert_same_trees(state.ema['generator']['params'], params)


def test_network_without_file_is_that_of_the_seed(tmp_path, states):
    generator = {'generator': states['generator']}
    config, _ = converted(tmp_path, generator, **OPTIONS, seed=5, discriminator_width=4)
    assert config.model.discriminator_width == 4
    expected = init_train_state(config).networks['discriminator']
    assert_same_trees(restored(tmp_path)[1].networks['discriminator'], expected)


def test_convert_removes_prefix_of_parallel_modules(tmp_path, states):
    prefixed = {
        network: {f'module.{name}': array for name, array in state.items()}
        for network, state in states.items()
    }
    converted(tmp_path, prefixed)
    kernel = restored(tmp_path)[1].networks['generator']['params']['to_rgb']['kernel']
    expected = states['generator']['conv_img.weight'].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)


def test_convert_reads_given_epoch(tmp_path, states):
    files = write_files(tmp_path / 'files', states, epoch='40')
    _, read = convert(str(files), '40', str(tmp_path / 'run'), OPTIONS, OPTIONS)
    assert os.path.basename(read[0]) == '40_net_G.npz'


def test_convert_suggests_existing_epochs(tmp_path, states):
    files = write_files(tmp_path / 'files', states, epoch='40')
    with pytest.raises(UserError, match='it has other epochs: --torch_epoch=40$'):
        convert(str(files), 'latest', str(tmp_path / 'run'), OPTIONS, OPTIONS)


def test_converted_model_trains_on(tmp_path):
    """At almost no learning rate the weights stay, so training starts from them."""
    data = program.write_folders(tmp_path / 'data')
    files = write_files(tmp_path / 'files', random_states(SMALL.replace(generator_norm='instance')))
    options = ['--dataset=folders', f'--data_dir={data}', '--num_classes=3', '--crop_size=32']
    options += ['--load_size=36', '--perceptual_weight=0', '--batch_size=2']
    options += ['--learning_rate=1e-9', '--seed=9']
    places = [f'--torch_checkpoint_dir={files}', f'--workdir={tmp_path / "run"}']
    output = succeed_inline('--mode=convert', *places, *options)
    repeated = shlex.split(output.split('To train on, repeat: ')[1])
    ends = ['--max_steps=2', '--checkpoint_every=2', '--num_grid_samples=1']
    succeed_inline(f'--workdir={tmp_path / "run"}', *repeated, *ends)
    before, after = (restored(tmp_path, step)[1].networks for step in (0, 2))
    for network in before:
        assert_trees_allclose(after[network]['params'], before[network]['params'], atol=1e-7)


def named(**arrays):
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


@pytest.mark.parametrize(
    'state, fault',
    [
        (named(a=[1]), '1 missing (b)'),
        (named(), '2 missing (a, b)'),
        (named(a=[1], b=[1], c=[1]), '1 unknown (c)'),
        (named(a=[1], b=[1, 2]), '1 of another shape (b (2,), expected (1,))'),
        (named(a=[1]) | {'b': np.ones(1)}, '1 not float32 (b float64)'),
        (named(a=[np.nan], b=[np.inf]), '2 not finite (a, b)'),
    ],
)
def test_faults_name_entries(state, fault):
    assert faults_of(state, named(a=[0], b=[0])) == [fault]


def test_fitting_state_has_no_faults():
    assert faults_of(named(a=[1]), named(a=[0])) == []


def test_convert_lists_faults_of_all_networks(tmp_path, states):
    generator = dict(states['generator'])
    del generator['G_middle_0.conv_0.bias']
    generator['stray.num_batches_tracked'] = np.int64(3)
    broken = np.full_like(states['discriminator']['discriminator_0.model2.0.bias'], np.inf)
    discriminator = states['discriminator'] | {'discriminator_0.model2.0.bias': broken}
    with pytest.raises(UserError) as error:
        converted(tmp_path, {'generator': generator, 'discriminator': discriminator})
    assert error.value.problem.partition('describe: ')[2].split('; ') == [
        'generator: 1 missing (G_middle_0.conv_0.bias)',
        'generator: 1 unknown (stray.num_batches_tracked)',
        'discriminator: 1 not finite (discriminator_0.model2.0.bias)',
    ]
    assert not (tmp_path / 'run').exists()


def test_convert_refuses_discriminator_of_another_layout(tmp_path, states):
    other = zero_states(SMALL.replace(num_classes=4))['discriminator']
    expected = 'discriminator: 1 of another shape (discriminator_0.model0.0.weight (4, 7, 4, 4), '
    with pytest.raises(UserError, match=re.escape(expected + 'expected (4, 6, 4, 4))')):
        converted(tmp_path, states | {'discriminator': other})


def test_convert_refuses_work_directory_with_checkpoints(tmp_path, states):
    converted(tmp_path, states)
    with pytest.raises(UserError, match='run has checkpoints already'):
        converted(tmp_path, states)


def test_convert_refuses_work_directory_in_use(tmp_path, states):
    (tmp_path / 'run').mkdir()
    with exclusive_lock(str(tmp_path / 'run')):
        with pytest.raises(UserError, match='run is in use: process .* writes there'):
            converted(tmp_path, states)
    assert os.listdir(tmp_path / 'run') == ['train.lock']


def test_convert_refuses_several_files_of_a_network(tmp_path, states):
    write_files(tmp_path / 'files', states, format='safetensors')
    with pytest.raises(UserError, match='the generator has several files: .*, .*; move all but'):
        converted(tmp_path, states)


def test_convert_refuses_missing_directory(tmp_path):
    with pytest.raises(UserError, match='torch_checkpoint_dir=.*nowhere: no such directory'):
        convert(str(tmp_path / 'nowhere'), 'latest', str(tmp_path / 'run'), {}, {})


def test_convert_refuses_directory_without_generator(tmp_path, states):
    with pytest.raises(UserError, match='has no file latest_net_G.pth'):
        converted(tmp_path, {'discriminator': states['discriminator']})


def test_convert_refuses_truncated_file(tmp_path, states):
    path = write_files(tmp_path / 'files', states) / 'latest_net_G.npz'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match='latest_net_G.npz is not a readable .npz file'):
        convert(str(tmp_path / 'files'), 'latest', str(tmp_path / 'run'), OPTIONS, OPTIONS)


def test_convert_refuses_model_without_published_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, 'toy', RegisteredModel('toy:Options', 'toy:Toy'))
    with pytest.raises(UserError, match='model=toy has no published weights to convert'):
        convert(str(tmp_path), 'latest', str(tmp_path / 'run'), {}, {'model': 'toy'})


def test_convert_asks_for_what_files_do_not_tell(tmp_path, states):
    with pytest.raises(UserError, match='how the 3 channels of the layout divide: --num_classes=N'):
        converted(tmp_path, states, crop_size=32)


def test_convert_refuses_wrong_number_of_classes(tmp_path, states):
    with pytest.raises(UserError, match='a layout of 3 channels, but num_classes=7 make 7'):
        converted(tmp_path, states, **OPTIONS | {'num_classes': 7})


def test_convert_reads_from_its_directory_alone(tmp_path, states):
    files = write_files(tmp_path / 'files', states)
    (files / 'inner').mkdir()
    with pytest.raises(UserError, match='torch_epoch=../latest is not the start of a file name'):
        convert(str(files / 'inner'), '../latest', str(tmp_path / 'run'), OPTIONS, OPTIONS)


def test_convert_refuses_directory_of_the_name_of_a_discriminator(tmp_path, states):
    (tmp_path / 'files' / 'latest_net_D.pth').mkdir(parents=True)
    with pytest.raises(UserError, match='latest_net_D.pth is not a readable .*not a regular file'):
        converted(tmp_path, {'generator': states['generator']})


def test_second_of_two_conversions_at_once_is_refused(tmp_path, states, monkeypatch):
    """The other one ends after this one has found no checkpoint, but before it has the lock."""
    read = from_torch.read_networks

    def while_another_converts(files):
        monkeypatch.setattr(from_torch, 'read_networks', read)
        converted(tmp_path, states)
        return read(files)

    monkeypatch.setattr(from_torch, 'read_networks', while_another_converts)
    with pytest.raises(UserError, match='run has checkpoints already'):
        converted(tmp_path, states)


@pytest.mark.parametrize(
    'flags',
    [
        ['--dataset=folders', '--num_classes=3', '--crop_size=32'],
        ['--num_classes=3', '--crop_size=32', '--load_size=40', '--noflip', '--ema_decay=0.9'],
        ['--num_classes=2', '--dontcare', '--crop_size=32', '--seed=4'],
        ['--num_classes=2', '--condition=labels+edges', '--crop_size=32'],
        ['--condition=rgb', '--crop_size=32', '--load_size=32'],
        ['--dataset=facades', '--num_classes=3', '--label_remap=1-3:0-2', '--crop_size=32'],
        ['--dataset=cityscapes_19', '--num_classes=2', '--condition=labels', '--crop_size=32'],
        ['--palette=PALETTE', '--dataset=folders', '--crop_size=32'],
        ['--palette=PALETTE', '--num_classes=3', '--crop_size=32'],
    ],
)
def test_printed_flags_are_those_of_the_run(tmp_path, states, flags):
    palette, names = tmp_path / 'a palette.json', ('sky', 'sea', 'sand')
    palette.write_text(json.dumps([{'name': name} for name in names]))
    given = [flag.replace('PALETTE', str(palette)) for flag in flags]
    with parsed_flags('--mode=convert', *given, f'--data_dir={tmp_path}') as values:
        described = described_options(values, dataset_may_be_unknown=True)
        config = published.infer_config(states, described, given_options(values))
        printed = shlex.split(' '.join(flags_to_resume(values, config)))
    assert f'--data_dir={tmp_path}' in printed
    with parsed_flags(*printed) as values:
        assert config_from_flags(values) == config
