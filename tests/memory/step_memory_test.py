import functools
import re
import types

import jax
import pytest

import spade_jax
from spade_jax.checkpoints.checkpointer import newest_config
from spade_jax.config.config import Config
from spade_jax.config.option import positive_integers
from spade_jax.errors import UserError
from spade_jax.memory import step_memory
from spade_jax.memory.peak_memory import LiveBytes
from spade_jax.models.train_state import abstract_train_state
from tests import program
from tests.fixtures.cli import succeed_inline
from tests.fixtures.small import SMALL

CONFIG = Config.create(**SMALL, num_discriminators=1)
WIDE = step_memory.of_width(CONFIG, 64)
memory_of = functools.cache(step_memory.step_memory)  # Tracing takes seconds.


def size_of(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_state_and_batch_are_exact():
    found = memory_of(CONFIG, 4)
    networks = abstract_train_state(CONFIG).networks.values()
    parameters = sum(size_of(network['params']) for network in networks)
    statistics = sum(map(size_of, networks)) - parameters
    assert found.parameters == 4 * parameters
    assert found.optimizer == 2 * 4 * parameters + 2 * 4  # two moments; a counter for each player
    assert found.statistics == 4 * statistics + 4  # the step
    assert found.batch == 4 * 32 * 32 * (3 + 1)


def test_peak_is_the_sum():
    found = memory_of(CONFIG, 4)
    assert found.constants == 0
    assert found.compiled is None
    assert found.peak == sum(found[:6])


def test_activations_grow_linearly_with_batch():
    two, four, six = (memory_of(CONFIG, batch_size) for batch_size in (2, 4, 6))
    assert two[:3] == four[:3] == six[:3]
    growth = four.activations - two.activations
    assert six.activations - four.activations == pytest.approx(growth, rel=0.1)


def test_activations_grow_with_pixels():
    narrow, wide = memory_of(CONFIG, 4), memory_of(WIDE, 4)
    assert 3 < wide.activations / narrow.activations < 4.5
    assert wide.parameters == narrow.parameters


def test_half_precision_saves_activations():
    plain = memory_of(WIDE, 4)
    half = memory_of(WIDE.replace(compute_dtype='bfloat16'), 4)
    assert half.activations < 0.9 * plain.activations
    assert half.optimizer == plain.optimizer


@pytest.mark.parametrize(
    'network, numbers',
    [
        ('vgg19', 12_944_960),  # convolutions of torchvision's up to relu5_1
        ('squeezenet', 722_496),
    ],
)
def test_perceptual_network_counts_as_constant(network, numbers):
    options = dict(perceptual_weight=10.0, perceptual_network=network)
    found = memory_of(CONFIG.replace(**options), 4)
    assert found.constants == 4 * numbers
    assert found.activations > memory_of(CONFIG, 4).activations


@pytest.mark.parametrize(
    'peak, compiled, limit, expected',
    [
        (50, None, 100, '  fits: 50% of the device'),
        (95, None, 100, '  tight: 95% of the device'),
        (50, 150, 100, '  does not fit: 150% of the device'),
        (50, None, None, ''),
    ],
)
def test_verdict(peak, compiled, limit, expected):
    memory = step_memory.StepMemory(0, 0, 0, 0, 0, 0, peak, compiled)
    assert step_memory.verdict(memory, limit) == expected


@pytest.mark.parametrize(
    'limit, compiled, expected',
    [
        (60 * 2**30, False, 'NVIDIA H100: 60.0 GiB are for JAX'),
        (None, False, 'NVIDIA H100 does not report its memory'),
        (None, True, 'the plan of the compiler for NVIDIA H100;'),
    ],
)
def test_explanation(limit, compiled, expected):
    device = types.SimpleNamespace(device_kind='NVIDIA H100')
    assert expected in step_memory.explanation(device, limit, compiled)


def test_report_prints_a_line_for_every_size(capsys, monkeypatch):
    memory = step_memory.StepMemory(*[2**20] * 7)
    monkeypatch.setattr(step_memory, 'step_memory', lambda *args, **options: memory)
    step_memory.report(CONFIG, [32, 64], [1, 2], num_devices=1)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in rows if row[0].startswith(('32x', '64x'))]
    sizes = [['32x32', '1'], ['32x32', '2'], ['64x64', '1'], ['64x64', '2']]
    assert [row[:2] for row in rows] == sizes
    for row in rows:
        assert len(row) == 9
        assert row[-1] == '1.0'


@pytest.mark.parametrize('text', ['0', 'a', '-1', '1.5', ''])
def test_batch_sizes_that_are_not_positive_integers_are_rejected(text):
    message = 'is not an integer from 1 to 2147483647; write --memory_batch_sizes=4,2,1'
    with pytest.raises(UserError, match=message):
        positive_integers('memory_batch_sizes', ['1', text])


def test_report_rejects_illegal_width_before_tracing(capsys):
    with pytest.raises(UserError, match='crop_size=51 is not divisible by'):
        step_memory.report(CONFIG, [32, 51], [1])
    assert capsys.readouterr().out == ''


def test_estimate_is_near_the_plan_of_the_compiler():
    found = step_memory.step_memory(WIDE, 4, compiled=True)
    assert 0.7 < found.peak / found.compiled < 1.4


@pytest.fixture
def quick_memory(monkeypatch):
    """`step_memory` without a trace."""
    monkeypatch.setattr(step_memory, 'live_bytes', lambda *_, donated: LiveBytes(10**6, 0, 10**9))
    return step_memory.step_memory


def test_sharded_optimizer_takes_its_share_of_each_device(quick_memory):
    one, eight = (quick_memory(CONFIG, 4, num_devices=n) for n in (1, 8))
    assert one.optimizer / 8 - 1 < eight.optimizer < one.optimizer / 8 + 1
    assert one.peak - eight.peak == one.optimizer - eight.optimizer


def test_replicated_optimizer_is_whole_on_each_device(quick_memory):
    replicated = CONFIG.replace(shard_optimizer=False)
    assert quick_memory(replicated, 4, num_devices=8) == quick_memory(CONFIG, 4)


@pytest.mark.parametrize(
    'options, share', [({'accumulation_steps': 4}, 0.6), ({'rematerialize': 'blocks'}, 0.85)]
)
def test_microbatches_and_rematerialization_save_activations(options, share):
    saving = memory_of(WIDE.replace(batch_size=4, **options), 4).activations
    assert saving < share * memory_of(WIDE, 4).activations


def test_program_prints_memory():
    small = (*program.SMALL, '--generator_multipliers=2,1', '--num_classes=3')
    sizes = ('--memory_widths=32', '--memory_batch_sizes=1')
    assert '32x32      1' in succeed_inline('--mode=memory', *small, *sizes)


def test_run_that_exists_is_estimated_as_it_is():
    printed = succeed_inline('--mode=memory', f'--workdir={spade_jax.DEMO}')
    config = newest_config(spade_jax.DEMO, flag='workdir')
    size, networks = config.data.crop_size, abstract_train_state(config).networks.values()
    parameters = sum(size_of(network['params']) for network in networks)
    assert re.search(rf' {size}x{size} +\d+ +{4 * parameters / 2**20:.1f} ', printed)
