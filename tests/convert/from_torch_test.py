"""Files of the reference implementation, through the command line, to its pictures."""

import os

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.convert.from_torch import convert
from spade_jax.errors import UserError
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import abstract_networks, init_train_state, with_fresh_optimizers
from tests import parity, program
from tests.convert import released_files

SMALL = Config.create(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    discriminator_depth=2,
    num_discriminators=1,
    encoder_width=2,
    encoder_input_size=64,
    style_dim=4,
)
FLAGS = dict(num_classes=3, crop_size=32, upsampling='normal')


def run(*arguments):
    result = program.run(*arguments, num_devices=1)
    assert result.returncode == 0, result.stderr
    return result.stdout


def restored(workdir):
    with Checkpointer(workdir, read_only=True) as checkpoints:
        config, _ = checkpoints.restore_run(0)
        return config, checkpoints.restore(
            0,
            like=with_fresh_optimizers(config, *abstract_networks(config, build_networks(config))),
        )


def truncated(golden, key):
    """What the reference writes to a file: clipped, times 255, truncated."""
    return np.clip((golden[key].astype(np.float64) + 1) / 2 * 255, 0, 255).astype(np.uint8)


def assert_same_pictures(actual, expected):
    """Equal to one grey level, and nearly everywhere to none."""
    difference = np.abs(np.asarray(actual, int) - np.asarray(expected, int))
    assert expected.std() > 10, 'flat pictures show nothing'
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize('format', ['npz', 'pth', 'safetensors'])
@pytest.mark.parametrize(
    'case',
    [case for case in parity.cases('generator') if not parity.Golden(case).options['use_vae']],
)
def test_pictures_of_generators_without_latent(case, format, tmp_path):
    if format == 'pth':
        pytest.importorskip('torch')
    golden = parity.Golden(case)
    files = released_files.write_files(
        tmp_path / 'files', {'generator': golden.state('sd')}, format=format
    )
    output = run(
        '--mode=convert',
        f'--torch_checkpoint_dir={files}',
        f'--workdir={tmp_path / "run"}',
        *released_files.format_flags(released_files.model_fields(golden)),
    )
    assert 'the discriminator is a fresh one' in output
    run(
        '--mode=sample',
        f'--workdir={tmp_path / "run"}',
        f'--output_dir={tmp_path / "pictures"}',
        *released_files.write_maps(tmp_path, golden),
    )
    expected = truncated(golden, 'out/eval')
    assert_same_pictures(
        [np.asarray(Image.open(tmp_path / 'pictures' / f'{i}.png')) for i in range(len(expected))],
        expected,
    )


@pytest.mark.parametrize(
    'case', [case for case in parity.cases('generator') if parity.Golden(case).options['use_vae']]
)
def test_pictures_of_generators_with_latent(case, tmp_path):
    golden = parity.Golden(case)
    fields, options = released_files.model_fields(golden), golden.options
    encoder = released_files.random_states(
        Config.create(
            **fields
            | dict(
                load_size=fields['crop_size'],
                generator_width=2,
                spade_hidden=2,
                style_encoder=True,
                encoder_width=2,
                discriminator_width=2,
                style_dim=options['z_dim'],
            )
        )
    )['encoder']
    files = released_files.write_files(
        tmp_path / 'files', {'generator': golden.state('sd'), 'encoder': encoder}
    )
    run(
        '--mode=convert',
        f'--torch_checkpoint_dir={files}',
        f'--workdir={tmp_path / "run"}',
        *released_files.format_flags(fields),
    )
    generator = spade_jax.load(str(tmp_path / 'run'))
    labels = golden['in/label'][..., 0].astype(np.int64)
    labels = np.where(labels == options['label_nc'], 255, labels)
    instances = None if options['no_instance'] else golden['in/instance'][..., 0].astype(np.int64)
    assert_same_pictures(
        generator(labels, instances, style=golden['in/z']), truncated(golden, 'out/eval')
    )


def test_scores_and_styles_of_discriminators_and_encoders(tmp_path):
    """Golden discriminators and the golden encoder, beside a generator of random weights."""
    encoder = parity.Golden('encoder_crop256')
    for case in parity.cases('discriminator'):
        golden = parity.Golden(case)
        fields = dict(num_classes=5, dontcare=True, condition='labels+edges', crop_size=256)
        generator = released_files.random_states(
            Config.create(
                **fields,
                generator_width=2,
                spade_hidden=2,
                discriminator_width=2,
                encoder_width=2,
                style_encoder=True,
            )
        )['generator']
        files = released_files.write_files(
            tmp_path / case,
            {
                'generator': generator,
                'discriminator': golden.state('sd'),
                'encoder': encoder.state('sd'),
            },
        )
        output = run(
            '--mode=convert',
            f'--torch_checkpoint_dir={files}',
            f'--workdir={tmp_path / case / "run"}',
            *released_files.format_flags(fields),
        )
        assert 'fresh' not in output
        config, state = restored(str(tmp_path / case / 'run'))
        x = golden['in/x']
        outputs = build_networks(config).discriminator.apply(
            state.discriminator, x[..., :-3], x[..., -3:], train=False
        )
        for i, scale in enumerate(outputs):
            for j, layer in enumerate(scale):
                golden.check(layer, f'out/eval/{i}/{j}')
    for i in range(3):
        mean, log_variance = build_networks(config).encoder.apply(
            state.encoder, encoder[f'in/x{i}'], train=False
        )
        encoder.check(mean, f'out/eval{i}/mu')
        encoder.check(log_variance, f'out/eval{i}/logvar')


@pytest.fixture(scope='module')
def states():
    return released_files.random_states(SMALL)


def converted(tmp_path, states, **flags):
    flags = FLAGS | flags
    return convert(
        str(released_files.write_files(tmp_path / 'files', states)),
        'latest',
        str(tmp_path / 'run'),
        flags,
        flags,
    )


def test_a_work_directory_in_which_a_run_goes_on_is_refused(tmp_path, states):
    (tmp_path / 'run').mkdir()
    with exclusive_lock(str(tmp_path / 'run')):
        with pytest.raises(UserError, match='run is in use: process .* writes there'):
            converted(tmp_path, states)
    assert os.listdir(tmp_path / 'run') == ['train.lock']


def test_the_checkpoint_is_whole(tmp_path, states):
    config, files = converted(tmp_path, states, seed=5)
    assert [os.path.basename(file) for file in files] == ['latest_net_G.npz', 'latest_net_D.npz']
    saved, state = restored(str(tmp_path / 'run'))
    assert saved == config
    reference = init_train_state(SMALL, build_networks(SMALL))
    assert jax.tree.structure(state) == jax.tree.structure(reference)
    jax.tree.map(
        np.testing.assert_array_equal,
        (state.generator, state.discriminator),
        (reference.generator, reference.discriminator),
    )
    assert all(
        not np.any(leaf)
        for leaf in jax.tree.leaves(
            (state.step, state.generator_optimizer, state.discriminator_optimizer)
        )
    )


def test_a_fresh_discriminator_is_that_of_the_seed(tmp_path, states):
    config, _ = converted(
        tmp_path, {'generator': states['generator']}, seed=5, discriminator_width=4
    )
    assert config.model.discriminator_width == 4
    expected = init_train_state(config, build_networks(config)).discriminator
    jax.tree.map(
        np.testing.assert_array_equal, restored(str(tmp_path / 'run'))[1].discriminator, expected
    )


def test_names_of_parallel_modules_and_other_epochs(tmp_path, states):
    prefixed = {
        network: {f'module.{name}': array for name, array in state.items()}
        for network, state in states.items()
    }
    files = released_files.write_files(tmp_path / 'files', prefixed, epoch='40')
    with pytest.raises(UserError, match='it has other epochs: --torch_epoch=40'):
        convert(str(files), 'latest', str(tmp_path / 'run'), FLAGS, FLAGS)
    convert(str(files), '40', str(tmp_path / 'run'), FLAGS, FLAGS)
    kernel = restored(str(tmp_path / 'run'))[1].generator['params']['to_rgb']['kernel']
    np.testing.assert_array_equal(
        kernel, states['generator']['conv_img.weight'].transpose(2, 3, 1, 0)
    )


@pytest.mark.slow
def test_a_converted_model_trains_on(tmp_path, states):
    """Training starts from the converted weights, not from fresh ones: with next to no rate it stays there."""
    data = program.write_folders(tmp_path / 'data')
    files = released_files.write_files(tmp_path / 'files', states)
    flags = [
        '--dataset=folders',
        f'--data_dir={data}',
        '--num_classes=3',
        '--crop_size=32',
        '--load_size=36',
        '--upsampling=normal',
        '--perceptual_weight=0',
        '--batch_size=2',
        '--learning_rate=1e-9',
        '--generator_norm=instance',
        '--seed=9',
    ]
    states = dict(
        states,
        generator={
            name: array for name, array in states['generator'].items() if 'running' not in name
        },
    )
    files = released_files.write_files(tmp_path / 'files', states)
    output = run(
        '--mode=convert', f'--torch_checkpoint_dir={files}', f'--workdir={tmp_path / "run"}', *flags
    )
    repeated = output.split('To train on, repeat: ')[1].split()
    output = run(
        f'--workdir={tmp_path / "run"}',
        f'--data_dir={data}',
        *repeated,
        '--max_steps=2',
        '--checkpoint_every=2',
        '--num_grid_samples=1',
    )
    assert 'steps 1 to 2' in output
    with Checkpointer(str(tmp_path / 'run'), read_only=True) as checkpoints:
        config, examples = checkpoints.restore_run(2)
        state = checkpoints.restore(
            2,
            like=with_fresh_optimizers(config, *abstract_networks(config, build_networks(config))),
        )
    assert examples == 6 and int(state.step) == 2
    before = restored(str(tmp_path / 'run'))[1]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7),
        (state.generator['params'], state.discriminator['params']),
        (before.generator['params'], before.discriminator['params']),
    )


def changed(states, network, **entries):
    state = dict(states[network])
    for name, array in entries.items():
        if array is None:
            del state[name]
        else:
            state[name] = array
    return dict(states, **{network: state})


def test_every_entry_that_does_not_fit_is_listed(tmp_path, states):
    broken = changed(
        states,
        'generator',
        **{
            'up_0.conv_0.bias': None,
            'head_0.conv_1.bias': None,
            'body.0.weight': np.zeros(3, np.float32),
            'conv_img.weight': np.zeros((3, 5, 3, 3), np.float32),
            'conv_img.bias': np.array([0, np.nan, 0], np.float32),
            'fc.bias': states['generator']['fc.bias'].astype(np.float64),
            'stray.num_batches_tracked': np.int64(3),
        },
    )
    broken = changed(
        broken, 'discriminator', **{'discriminator_0.model2.0.bias': np.array([np.inf], np.float32)}
    )
    with pytest.raises(UserError) as error:
        converted(tmp_path, broken)
    for part in (
        'generator: 2 missing (',
        'head_0.conv_1.bias',
        'up_0.conv_0.bias',
        '2 not known (body.0.weight, stray.num_batches_tracked)',
        '1 of another shape (conv_img.weight (3, 5, 3, 3), expected (3, 2, 3, 3))',
        '1 not float32 (fc.bias float64)',
        'generator: 1 not finite (conv_img.bias)',
        'discriminator: 1 not finite (discriminator_0.model2.0.bias)',
    ):
        assert part in str(error.value)
    assert not (tmp_path / 'run').exists()


def test_a_discriminator_of_another_layout_is_refused(tmp_path, states):
    other = released_files.random_states(
        Config.create(
            num_classes=4,
            crop_size=32,
            load_size=32,
            generator_width=2,
            spade_hidden=4,
            discriminator_width=4,
            discriminator_depth=2,
        )
    )
    with pytest.raises(
        UserError,
        match=r'discriminator: 2 of another shape .*\(4, 7, 4, 4\), expected \(4, 6, 4, 4\)',
    ):
        converted(tmp_path, dict(states, discriminator=other['discriminator']))


def test_a_second_conversion_replaces_nothing(tmp_path, states):
    converted(tmp_path, states)
    with pytest.raises(UserError, match='has checkpoints already'):
        converted(tmp_path, states)


def test_two_files_of_one_network_are_refused(tmp_path, states):
    released_files.write_files(tmp_path / 'files', states, format='safetensors')
    with pytest.raises(UserError, match='the generator has several files'):
        converted(tmp_path, states)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], '--torch_checkpoint_dir is missing'),
        (['--torch_checkpoint_dir=no/such/place'], 'no such directory'),
        (['--torch_checkpoint_dir={empty}'], 'has no file latest_net_G.pth'),
        (
            ['--torch_checkpoint_dir={files}'],
            'how the 3 channels of the layout divide: --num_classes=N',
        ),
        (
            [
                '--torch_checkpoint_dir={files}',
                '--num_classes=7',
                '--crop_size=32',
                '--upsampling=normal',
            ],
            'a layout of 3 channels, but num_classes=7 make 7',
        ),
        (['--torch_checkpoint_dir={truncated}'], 'is not a readable .npz file'),
    ],
)
def test_refusals_of_the_program(tmp_path, states, arguments, message):
    places = {name: tmp_path / name for name in ('empty', 'files', 'truncated')}
    places['empty'].mkdir()
    released_files.write_files(places['files'], states)
    path = released_files.write_files(places['truncated'], states) / 'latest_net_G.npz'
    path.write_bytes(path.read_bytes()[:-100])
    assert message in program.refusal(
        '--mode=convert',
        f'--workdir={tmp_path / "run"}',
        *(argument.format(**places) for argument in arguments),
        num_devices=1,
    )
