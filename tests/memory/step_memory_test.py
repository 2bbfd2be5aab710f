import dataclasses
import types

import jax
import numpy as np
import pytest

from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.memory import step_memory
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import abstract_networks, parameter_count
from tests import program
from tests.distributed.replicas_test import SMALL, random_batch

CONFIG = Config.create(**SMALL | {'num_discriminators': 1})


def test_state_and_batch_to_the_byte():
    found = step_memory.step_memory(CONFIG, 4)
    networks = [
        variables
        for variables in abstract_networks(CONFIG, build_networks(CONFIG))
        if variables is not None
    ]
    parameters = sum(map(parameter_count, networks))
    assert found.parameters == 4 * parameters
    # Adam: two moments, and a counter for each of the two optimisers.
    assert found.optimizer == 2 * 4 * parameters + 2 * 4
    assert (
        found.statistics
        == sum(
            leaf.size * 4
            for variables in networks
            for name in variables
            if name != 'params'
            for leaf in jax.tree.leaves(variables[name])
        )
        + 4
    )  # the step
    assert found.batch == 4 * 32 * 32 * (3 + 1)
    assert found.vgg19 == 0 and found.compiled is None
    assert found.peak == sum(found[:6])


def test_activations_grow_with_the_batch_and_the_picture_but_the_state_does_not():
    one, two, four = (step_memory.step_memory(CONFIG, batch_size) for batch_size in (1, 2, 4))
    assert one[:3] == two[:3] == four[:3]
    # What one image more takes is always the same.
    assert four.activations - two.activations == pytest.approx(
        2 * (two.activations - one.activations), rel=0.1
    )
    wide = step_memory.step_memory(step_memory.of_width(CONFIG, 64), 4)
    assert 3 < wide.activations / four.activations < 4.5 and wide.parameters == four.parameters


def test_half_precision_keeps_less():
    plain, half = (
        step_memory.step_memory(
            dataclasses.replace(step_memory.of_width(CONFIG, 64), compute_dtype=dtype), 4
        )
        for dtype in ('float32', 'bfloat16')
    )
    assert half.activations < 0.9 * plain.activations and half.optimizer == plain.optimizer


def test_the_perceptual_network_counts():
    config = CONFIG.replace(perceptual_weight=10.0)
    found = step_memory.step_memory(config, 1)
    assert found.vgg19 == 4 * 12_944_960  # all convolutions of torchvision's VGG19 up to relu5_1
    assert found.activations > step_memory.step_memory(CONFIG, 1).activations


@pytest.mark.parametrize(
    'changes', [{}, {'condition': 'labels+edges'}, {'condition': 'rgb'}, {'num_classes': 300}]
)
def test_the_batch_is_that_of_the_pipeline(changes):
    config = Config.create(**SMALL | changes)
    batch, real = step_memory.abstract_batch(config), random_batch(config)
    assert (batch.image.shape, batch.image.dtype) == (real.image.shape, real.image.dtype)
    assert batch.label.shape == real.label.shape + ((3,) if config.data.condition == 'rgb' else ())
    assert batch.label.dtype == (np.uint16 if config.data.num_classes == 300 else np.uint8)
    assert (batch.instance is None) == (config.data.condition != 'labels+edges')


@pytest.mark.parametrize(
    'peak, compiled, limit, expected',
    [
        (50, None, 100, '  fits: 50% of the device'),
        (95, None, 100, '  tight: 95% of the device'),
        (50, 150, 100, '  does not fit: 150% of the device'),
        (50, None, None, ''),
    ],
)
def test_the_verdict(peak, compiled, limit, expected):
    assert (
        step_memory.verdict(step_memory.StepMemory(0, 0, 0, 0, 0, 0, peak, compiled), limit)
        == expected
    )


def test_what_the_device_has_is_said_where_it_is_known():
    gpu, cpu = (
        types.SimpleNamespace(device_kind=kind, platform=platform)
        for kind, platform in (('NVIDIA H100', 'gpu'), ('cpu', 'cpu'))
    )
    assert 'NVIDIA H100: 60.0 GiB are for JAX' in step_memory.explanation(
        gpu, 60 * 2**30, compiled=True
    )
    assert 'the plan of a GPU or TPU is another one' in step_memory.explanation(
        cpu, None, compiled=True
    )
    assert 'cpu tells no memory of its own' in step_memory.explanation(cpu, None, compiled=False)


@pytest.mark.parametrize('text', ['0', 'a', '-1', '1.5', ''])
def test_sizes_that_are_none(text):
    with pytest.raises(
        UserError,
        match='memory_batch_sizes=1,.*is not a positive whole number; write --memory_batch_sizes=1,2,4',
    ):
        config_flags.positive_integers('memory_batch_sizes', ['1', text])


def test_the_program_prints_a_line_for_every_size():
    result = program.run(
        '--mode=memory',
        *program.SMALL,
        '--num_classes=3',
        '--memory_widths=32,64',
        '--memory_batch_sizes=1,2',
    )
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if line.lstrip()[:2].isdigit()]
    assert [row[:2] for row in rows] == [
        ['32x32', '1'],
        ['32x32', '2'],
        ['64x64', '1'],
        ['64x64', '2'],
    ]
    assert all(len(row) == 9 and float(row[-1]) > 0 for row in rows)
    assert 'crop_size=50 is not divisible by 32' in program.refusal(
        '--mode=memory', *program.SMALL, '--memory_widths=50'
    )


@pytest.mark.slow
def test_the_estimate_is_near_what_the_compiler_plans():
    found = step_memory.step_memory(step_memory.of_width(CONFIG, 64), 4, compiled=True)
    assert 0.7 < found.peak / found.compiled < 1.4


def test_a_dealt_out_optimiser_takes_its_share_of_each_device():
    one, eight = (step_memory.step_memory(CONFIG, 4, num_devices=n) for n in (1, 8))
    whole = step_memory.step_memory(CONFIG.replace(shard_optimizer=False), 4, num_devices=8)
    assert eight.optimizer == -(-one.optimizer // 8) or eight.optimizer == one.optimizer // 8
    assert one.peak - eight.peak == one.optimizer - eight.optimizer
    assert whole == one


def test_parts_and_recomputation_save_activations():
    config = step_memory.of_width(CONFIG, 64)
    plain = step_memory.step_memory(config, 8).activations
    assert (
        step_memory.step_memory(config.replace(batch_size=8, accumulation_steps=4), 8).activations
        < 0.6 * plain
    )
    assert (
        step_memory.step_memory(config.replace(rematerialize='blocks'), 8).activations < 0.8 * plain
    )
