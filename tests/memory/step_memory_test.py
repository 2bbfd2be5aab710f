import functools
import types

import jax
import pytest

from spade_jax.config import flags
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.memory import step_memory
from spade_jax.models.train_state import abstract_train_state
from tests import program
from tests.fixtures.cli import succeed_inline

SMALL = dict(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    discriminator_depth=3,
    num_discriminators=1,
    perceptual_weight=0.0,
    batch_size=8,
)
CONFIG = Config.create(**SMALL)
WIDE = step_memory.of_width(CONFIG, 64)


@functools.cache
def memory_of(config, batch_size, num_devices=1):
    return step_memory.step_memory(config, batch_size, num_devices=num_devices)


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
    one, two, four = (memory_of(CONFIG, batch_size) for batch_size in (1, 2, 4))
    assert one[:3] == two[:3] == four[:3]
    growth = two.activations - one.activations
    assert four.activations - two.activations == pytest.approx(2 * growth, rel=0.1)


def test_activations_grow_with_pixels():
    narrow, wide = memory_of(CONFIG, 4), memory_of(WIDE, 4)
    assert 3 < wide.activations / narrow.activations < 4.5
    assert wide.parameters == narrow.parameters


def test_half_precision_saves_activations():
    plain = memory_of(WIDE, 4)
    half = memory_of(WIDE.replace(compute_dtype='bfloat16'), 4)
    assert half.activations < 0.9 * plain.activations
    assert half.optimizer == plain.optimizer


def test_vgg19_counts_as_constant():
    found = memory_of(CONFIG.replace(perceptual_weight=10.0), 1)
    assert found.constants == 4 * 12_944_960  # convolutions of torchvision's VGG19 up to relu5_1
    assert found.activations > memory_of(CONFIG, 1).activations


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
    'kind, platform, limit, compiled, expected',
    [
        ('NVIDIA H100', 'gpu', 60 * 2**30, True, 'NVIDIA H100: 60.0 GiB are for JAX'),
        ('NVIDIA H100', 'gpu', None, True, 'the plan of the compiler for gpu.'),
        ('cpu', 'cpu', None, True, 'that for a GPU or TPU differs'),
        ('cpu', 'cpu', None, False, 'cpu does not report its memory'),
    ],
)
def test_explanation(kind, platform, limit, compiled, expected):
    device = types.SimpleNamespace(device_kind=kind, platform=platform)
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
    message = 'is not a positive integer; write --memory_batch_sizes=1,2,4'
    with pytest.raises(UserError, match=message):
        flags.positive_integers('memory_batch_sizes', ['1', text])


def test_report_rejects_illegal_width_before_tracing(capsys):
    with pytest.raises(UserError, match='crop_size=50 is not divisible by 32'):
        step_memory.report(CONFIG, [32, 50], [1])
    assert capsys.readouterr().out == ''


@pytest.mark.slow
def test_estimate_is_near_the_plan_of_the_compiler():
    found = step_memory.step_memory(WIDE, 4, compiled=True)
    assert 0.7 < found.peak / found.compiled < 1.4


def test_sharded_optimizer_takes_its_share_of_each_device():
    one, eight = (memory_of(CONFIG, 4, num_devices=n) for n in (1, 8))
    assert one.optimizer / 8 - 1 < eight.optimizer < one.optimizer / 8 + 1
    assert one.peak - eight.peak == one.optimizer - eight.optimizer


def test_replicated_optimizer_is_whole_on_each_device():
    one = memory_of(CONFIG, 4)
    replicated = memory_of(CONFIG.replace(shard_optimizer=False), 4, num_devices=8)
    assert replicated == one


@pytest.mark.parametrize(
    'options, share', [({'accumulation_steps': 4}, 0.6), ({'rematerialize': 'blocks'}, 0.8)]
)
def test_microbatches_and_rematerialization_save_activations(options, share):
    plain = memory_of(WIDE, 8).activations
    saving = memory_of(WIDE.replace(batch_size=8, **options), 8).activations
    assert saving < share * plain


def test_program_prints_memory():
    sizes = ('--memory_widths=32', '--memory_batch_sizes=1')
    output = succeed_inline('--mode=memory', *program.SMALL, '--num_classes=3', *sizes)
    assert '32x32      1' in output
