"""The benchmarks, run from the command line with tiny networks."""

import importlib.util
import json

import pytest

from experiments.benchmarks import model_flops
from experiments.benchmarks.benchmark_tables import speedups_of
from experiments.benchmarks.measurement import sessions_of
from spade_jax.config.config import Config
from tests.experiments.runner import TINY_NETWORKS, check_success, refusal, run

pytestmark = pytest.mark.tools

TINY = [*TINY_NETWORKS, '--widths=32', '--batch_sizes=2', '--rounds=2', '--turn_seconds=0']
HAS_TORCH = importlib.util.find_spec('torch') is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason='PyTorch is not installed')


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    """Output and JSON record of a benchmark of all parts, with PyTorch if it is installed."""
    path = tmp_path_factory.mktemp('benchmark') / 'speed.json'
    settings = '--pytorch_settings=eager,channels_last+bfloat16+folded'
    pytorch = ['--pytorch', '--concurrent=2', settings]
    # The PyTorch networks have the published blocks; two blocks compile faster.
    blocks = pytorch if HAS_TORCH else ['--generator_multipliers=4,2']
    arguments = [*TINY, '--precisions=float32', f'--output_json={path}', *blocks]
    result = run('benchmarks.benchmark', *arguments)
    check_success(result)
    return result.stdout, json.loads(path.read_text())


def rows_of(record, part):
    return [row for row in record['rows'] if row['part'] == part]


def test_record_tells_environment(measured):
    _, record = measured
    expected = {'date', 'arguments', 'config', 'measured_cpu_peaks', 'load_at_start', 'speedups'}
    assert expected <= set(record)
    assert record['devices'] == ['cpu']
    assert 'jax' in record['versions']


def test_every_row_has_its_figures(measured):
    _, record = measured
    for row in record['rows']:
        assert 'error' not in row, row
        assert len(row['seconds']) == 2
        steps = row['seconds_per_step']
        assert steps['min'] <= steps['median'] <= steps['max']
        assert row['images_per_second'] == pytest.approx(2 / steps['median'])
        assert row['first_step_seconds'] > 0
        assert row['peak_memory_bytes'] > 2**20


def test_xla_counts_about_the_model_flops(measured):
    _, record = measured
    rows = rows_of(record, 'train') + rows_of(record, 'sampling')
    assert rows
    for row in rows:
        assert 0 < row['mfu'] < 1
        if row['framework'] == 'jax':
            assert 0.1 < row['xla_flops'] / row['model_flops'] < 2


def test_tables_have_a_line_for_each_variant(measured):
    output, record = measured
    assert 'images/s' in output
    assert output.count('spade_jax float32') >= len(rows_of(record, 'train')[:1]) * 2
    assert [row['variant'] for row in rows_of(record, 'input')] == ['input pipeline']


@needs_torch
def test_first_variant_is_in_every_session(measured):
    _, record = measured
    ours, bfloat16 = 'spade_jax float32', 'PyTorch channels_last+bfloat16'
    rows = [(row['session'], row['variant']) for row in rows_of(record, 'train')]
    assert rows == [(0, ours), (0, 'PyTorch eager'), (1, ours), (1, bfloat16)]
    last = rows_of(record, 'sampling')[-1]
    assert last['variant'] == bfloat16 + '+folded'


@needs_torch
def test_failing_variant_leaves_others_alone(tmp_path):
    # PyTorch's batch normalization rejects a single pixel.
    path = tmp_path / 'speed.json'
    arguments = ['--batch_sizes=1', '--parts=train', '--precisions=float32', '--pytorch']
    arguments += ['--pytorch_settings=eager', f'--output_json={path}']
    result = run('benchmarks.benchmark', *TINY, *arguments)
    check_success(result)
    ours, theirs = json.loads(path.read_text())['rows']
    assert len(ours['seconds']) == 2
    assert theirs['error'].startswith('ValueError')
    assert 'failed: ValueError' in result.stdout


@pytest.fixture(scope='module')
def convolutions(tmp_path_factory):
    """Output and JSON record of a benchmark of the convolutions."""
    path = tmp_path_factory.mktemp('convolutions') / 'convolutions.json'
    size = ['--crop_size=64', '--load_size=64', '--batch_size=2']
    arguments = [*size, '--precisions=float32', '--rounds=1', f'--output_json={path}']
    result = run('benchmarks.benchmark_convolutions', *TINY_NETWORKS, *arguments)
    check_success(result)
    return result.stdout, json.loads(path.read_text())


def test_convolutions_add_up_to_model_flops(convolutions):
    _, record = convolutions
    config = Config.from_json(record['config'])
    convs = model_flops.generator_convs(config) + model_flops.discriminator_convs(config)
    rows = [row for row in record['rows'] if 'flops' in row]
    measured = sum(row['layers'] * row['flops'] for row in rows)
    assert measured == 2 * model_flops.forward_flops(convs)


def test_every_needed_gradient_of_a_convolution_is_measured(convolutions):
    output, record = convolutions
    rows = [row for row in record['rows'] if 'flops' in row]
    assert rows
    for row in rows:
        assert row['name'] in output
        seconds = row['seconds']
        assert all(second > 0 for algorithms in seconds.values() for second in algorithms)
        has_input_gradient = bool(seconds['input_gradient'])
        assert has_input_gradient != row['input_is_data']
        assert seconds['result']
        assert seconds['weight_gradient']


def test_label_convs_are_measured_on_large_grids(convolutions):
    _, record = convolutions
    rows = {row['layer']: row for row in record['rows'] if 'layer' in row}
    assert set(rows) == {'up_3.norm_0', 'up_3.norm_1', 'up_3.norm_s'}
    for row in rows.values():
        assert len(row['seconds']['dense']) == 2
        assert len(row['seconds']['dedup']) == 2


@pytest.mark.parametrize(
    'argument, words',
    [
        ('--parts=speed', ['parts=speed', 'train, sampling, input']),
        ('--pytorch_settings=warp', ['warp', 'channels_last']),
        ('--batch_sizes=0', ["'0'", '--batch_sizes=4,2,1']),
        ('--style_encoder', ['without style encoder']),
        ('--widths=33', ['crop_size=33', '32 or 64']),
    ],
)
def test_benchmark_refuses_bad_flag(argument, words):
    # A start takes a third of a second: the parent process imports no JAX.
    line = refusal(run('benchmarks.benchmark', argument))
    assert [word for word in words if word not in line] == []


def test_sessions_repeat_first_variant():
    assert sessions_of([1, 2, 3, 4], 0) == [[1, 2, 3, 4]]
    assert sessions_of([1, 2, 3, 4], 3) == [[1, 2, 3], [1, 4]]
    assert sessions_of([1, 2], 1) == [[1], [2]]


def test_speedup_is_relative_to_first_of_same_session():
    def row(session, variant, framework, seconds):
        size = dict(part='train', width=32, height=32, batch_size=1, device='cpu')
        names = dict(session=session, variant=variant, framework=framework)
        return size | names | {'seconds': [seconds]}

    rows = [
        row(0, 'ours', 'jax', 4.0),
        row(0, 'eager', 'torch', 8.0),
        row(1, 'ours', 'jax', 6.0),
        row(1, 'compiled', 'torch', 3.0),
    ]
    entries = {entry['variant']: entry for entry in speedups_of(rows)}
    over_first = {name: entry['over_first'] for name, entry in entries.items()}
    assert over_first == {'ours': 1.0, 'eager': 0.5, 'compiled': 2.0}
    assert entries['ours']['best_pytorch'] == 'compiled'
    assert entries['ours']['over_best_pytorch'] == 0.5
