"""The options that --mode=validate_data adds for this machine, and what it says about the run."""

import re
import types

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.config.flags import config_from_flags
from spade_jax.data.pipeline.input_pipeline import abstract_batch
from spade_jax.memory import machine_fit, step_memory
from tests import program
from tests.fixtures.cli import parsed_flags, succeed_inline

SMALL = dict(load_size=72, crop_size=64, generator_width=16, spade_hidden=16, batch_size=4)
SMALL |= dict(discriminator_width=32, discriminator_depth=3)
SMALL |= dict(upsampling_method='bilinear', noise_injection=True, reuse_fakes=True)
SMALL |= dict(ttur=False, learning_rate=5e-4, adam_beta1=0.0, adam_beta2=0.9)


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, SMALL),
        (dict(style_encoder=True), SMALL | dict(encoder_width=16, encoder_input_size=64)),
        (dict(aspect_ratio=4 / 3), SMALL | dict(load_size=143, crop_size=128)),
        (dict(aspect_ratio=0.5, preprocess_mode='fixed'), SMALL),
        (dict(upsampling='most'), SMALL | dict(load_size=143, crop_size=128)),
        (
            dict(preprocess_mode='none'),
            {name: SMALL[name] for name in SMALL if not name.endswith('_size')}
            | dict(batch_size=4),
        ),
    ],
)
def test_cpu_gets_small_images_and_networks(options, expected):
    config = Config.create(**options)
    assert machine_fit.fitting_options(config, options) == expected
    assert config.replace(**expected)


def two_gibibytes_an_image(config, batch_size, *, num_devices):
    return types.SimpleNamespace(peak=batch_size * 2 * step_memory.GIB)


def test_given_options_stay():
    given = dict(crop_size=256, batch_size=8, discriminator_width=64, style_encoder=True)
    fitting = machine_fit.fitting_options(Config.create(**given), given)
    assert fitting.keys().isdisjoint({*given, 'load_size'})
    # Six convolutions of stride 2 at this size leave nothing of 64 pixels.
    assert 'encoder_input_size' not in fitting
    assert fitting['generator_width'] == 16
    given = dict(learning_rate=1e-3)
    fitting = machine_fit.fitting_options(Config.create(**given), given)
    assert fitting.keys().isdisjoint({'ttur', 'adam_beta1', 'adam_beta2'})


@pytest.mark.parametrize(
    'gibibytes, given, expected',
    [
        (80, {}, {}),
        (12, {}, dict(batch_size=8)),
        (0.1, {}, dict(batch_size=2)),
        (12, dict(batch_size=32), {}),
    ],
)
def test_accelerator_gets_largest_batch(gibibytes, given, expected, monkeypatch):
    monkeypatch.setattr(machine_fit.jax, 'default_backend', lambda: 'gpu')
    monkeypatch.setattr(machine_fit, 'memory_limit', lambda: gibibytes * step_memory.GIB)
    monkeypatch.setattr(machine_fit, 'step_memory', two_gibibytes_an_image)
    assert machine_fit.fitting_options(Config.create(), given) == expected


@pytest.mark.parametrize(
    'seconds, text',
    [
        (0.2, '1 seconds'),
        (40, '40 seconds'),
        (700, '12 minutes'),
        (9000, '2.5 hours'),
        (2e5, '2.3 days'),
    ],
)
def test_duration_has_a_unit_that_people_use(seconds, text):
    assert machine_fit.duration(seconds) == text


@pytest.fixture(scope='module')
def validated(tmp_path_factory):
    """The output for a small data set, with tiny networks."""
    root = program.write_folders(tmp_path_factory.mktemp('data'), count=3)
    flags = ['--generator_width=2', '--generator_multipliers=4,2,1', '--spade_hidden=4']
    flags += ['--num_discriminators=1', '--discriminator_width=4', '--max_steps=600']
    flags += ['--dataset=folders', f'--data_dir={root}', f'--output_dir={root}/report']
    return succeed_inline('--mode=validate_data', *flags)


def test_printed_command_is_a_legal_configuration(validated):
    (command,) = [line for line in validated.splitlines() if line.startswith('  python -m')]
    with parsed_flags(*command.split()[3:]) as values:
        config = config_from_flags(values)
    assert (config.data.num_classes, config.data.crop_size) == (3, 64)
    assert (config.optimizer.batch_size, config.losses.perceptual_network) == (4, 'squeezenet')
    assert (config.model.generator_width, config.model.discriminator_depth) == (2, 3)


def test_memory_and_steps_follow_the_command(validated):
    fitting, memory, steps = validated.splitlines()[-3:]
    assert fitting.startswith('--load_size=72 --crop_size=64 ')
    assert memory.startswith('Memory: a train step needs about 0.0')
    # 50 epochs of 3 examples in batches of 4.
    assert steps.startswith('Steps: 38; the progress bar shows the time that is left')


def test_measured_step_gives_time(monkeypatch):
    config = Config.create(crop_size=32, generator_width=2, batch_size=6, perceptual_weight=0.0)
    batch = abstract_batch(config.data, 3)
    shapes = []

    def step(state, batch, constants):
        shapes.append(batch.label.shape)
        return state, batch.label.sum()

    monkeypatch.setattr(machine_fit, 'abstract_step', lambda config: (step, (None, batch, {})))
    monkeypatch.setattr(machine_fit, 'init_train_state', lambda config: np.zeros(3))
    monkeypatch.setattr(machine_fit, 'step_memory', two_gibibytes_an_image)
    text = machine_fit.needs(config, 12, measure=True)
    assert shapes == [(3, 32, 32)]  # traced once, with the share of one of the two devices
    assert re.fullmatch(r'Memory: .* 6 GiB .*\nSteps: 100; \S+ s each .*, about \d+ seconds.', text)
