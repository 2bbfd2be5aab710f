"""The benchmark, from its command line at a tiny size, and the arithmetic behind its figures."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from spade_jax.config.config import Config
from tests.program import ROOT

sys.path.append(str(ROOT / 'experiments'))  # where its modules find one another
import device_peaks  # noqa: E402
import plain_operations  # noqa: E402

TINY = [
    '--generator_width=2',
    '--spade_hidden=4',
    '--discriminator_width=4',
    '--discriminator_depth=2',
    '--num_discriminators=1',
    '--widths=32',
    '--batch_sizes=2',
    '--rounds=2',
    '--turn_seconds=0',
]
HAS_TORCH = importlib.util.find_spec('torch') is not None


def run(*arguments, script='benchmark.py'):
    environment = os.environ | {
        'XLA_FLAGS': '--xla_backend_optimization_level=0',
        'PYTHONPATH': str(ROOT),
        'JAX_PLATFORMS': 'cpu',
        'OMP_NUM_THREADS': '1',
    }
    return subprocess.run(
        [sys.executable, str(ROOT / 'experiments' / script), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
    )


@pytest.mark.slow
def test_forms_race(tmp_path):
    path = tmp_path / 'speed.json'
    result = run(
        *TINY,
        '--precisions=float32',
        f'--output_json={path}',
        *(
            ['--peer', '--together=2', '--peer_forms=eager,channels_last+bfloat16+folded']
            if HAS_TORCH
            else []
        ),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads(path.read_text())
    assert {
        'date',
        'arguments',
        'config',
        'versions',
        'devices',
        'rows',
        'ratios',
        'measured_cpu_peaks',
        'load_at_start',
    } <= set(record)
    assert record['devices'] == ['cpu'] and 'jax' in record['versions']
    forms = ['spade_jax float32'] + [
        'PyTorch eager',
        'spade_jax float32',
        'PyTorch channels_last+bfloat16',
    ] * HAS_TORCH  # in two heats
    assert [row['form'] for row in record['rows'] if row['part'] == 'train'] == forms
    assert [row['form'] for row in record['rows'] if row['part'] == 'sampling'] == forms[:3] + [
        'PyTorch channels_last+bfloat16+folded'
    ] * HAS_TORCH
    assert [row['form'] for row in record['rows'] if row['part'] == 'input'] == ['input pipeline']
    assert [row['heat'] for row in record['rows'] if row['part'] == 'train'] == (
        [0, 0, 1, 1] if HAS_TORCH else [0]
    )
    for row in record['rows']:
        assert 'error' not in row, row
        assert (
            len(row['seconds']) == 2
            and row['seconds_per_step']['min']
            <= row['seconds_per_step']['median']
            <= row['seconds_per_step']['max']
        )
        assert row['images_per_second'] == pytest.approx(2 / row['seconds_per_step']['median'])
        assert row['first_step_seconds'] > 0 and row['peak_memory_bytes'] > 2**20
        if row['part'] != 'input':
            assert 0 < row['share_of_peak'] < 1 and row['plain_operations'] > 0
        if row['part'] != 'input' and row['framework'] == 'jax':
            assert 0.1 < row['xla_operations'] / row['plain_operations'] < 2
    assert [
        entry['to_first'] for entry in record['ratios'] if entry['form'] == 'spade_jax float32'
    ] == [1, 1] * HAS_TORCH
    assert all(
        max(
            e['to_best_peer']
            for e in record['ratios']
            if e['part'] == part and 'PyTorch' in e['form']
        )
        == 1
        for part in ('train', 'sampling')
        if HAS_TORCH
    )
    assert 'images/s' in result.stdout and result.stdout.count('spade_jax float32') >= 2


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason='PyTorch is not installed')
def test_a_form_that_fails_stops_no_other(tmp_path):
    """PyTorch's batch normalisation takes no single pixel."""
    path = tmp_path / 'speed.json'
    result = run(
        *TINY,
        '--batch_sizes=1',
        '--parts=train',
        '--precisions=float32',
        '--peer',
        '--peer_forms=eager',
        f'--output_json={path}',
    )
    assert result.returncode == 0, result.stdout + result.stderr
    ours, theirs = json.loads(path.read_text())['rows']
    assert len(ours['seconds']) == 2 and theirs['error'].startswith('ValueError')
    assert 'failed: ValueError' in result.stdout


@pytest.mark.slow
def test_rates_of_convolutions(tmp_path):
    path = tmp_path / 'convolutions.json'
    result = run(
        '--generator_width=2',
        '--spade_hidden=4',
        '--discriminator_width=4',
        '--discriminator_depth=2',
        '--num_discriminators=1',
        '--crop_size=64',
        '--load_size=64',
        '--batch_size=2',
        '--precisions=float32',
        '--rounds=1',
        f'--output_json={path}',
        script='benchmark_convolutions.py',
    )
    assert result.returncode == 0, result.stdout + result.stderr
    record = json.loads(path.read_text())
    convolutions = [row for row in record['rows'] if 'operations' in row]
    config = Config.from_json(record['config'])
    expected = plain_operations.operations(
        plain_operations.generator_products(config)
        + plain_operations.discriminator_products(config)
    )
    assert sum(row['layers'] * row['operations'] for row in convolutions) == 2 * expected
    for row in convolutions:
        assert all(seconds > 0 for of_forms in row['seconds'].values() for seconds in of_forms)
        assert [
            len(row['seconds'][name]) > 0
            for name in ('result', 'input_gradient', 'weight_gradient')
        ] == [True, not row['of_data'], True]
    assert {row['layer'] for row in record['rows'] if 'layer' in row} == {
        'up_3.norm_0',
        'up_3.norm_1',
        'up_3.norm_s',
    }
    assert all(
        len(row['seconds'][form]) == 2
        for row in record['rows']
        if 'layer' in row
        for form in ('everywhere', 'neighbourhoods')
    )
    assert all(row['name'] in result.stdout for row in convolutions)


@pytest.mark.parametrize(
    'argument, words',
    [
        ('--parts=speed', ['parts=speed', 'train, sampling, input']),
        ('--peer_forms=warp', ['warp', 'channels_last']),
        ('--batch_sizes=0', ["'0'", '--batch_sizes=1,2,4']),
        ('--style_encoder', ['without styles']),
        ('--widths=33', ['crop_size=33', '32 or 64']),
    ],
)
def test_refuses(argument, words):
    result = run(argument)
    assert result.returncode == 2 and 'Traceback' not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith('error: ') and all(word in line for word in words), line


def coco(**fields):
    return Config.create(num_classes=182, dontcare=True, condition='labels+edges', **fields)


def test_operations_are_the_published_ones():
    assert plain_operations.sampling_operations(coco()) / 2e9 == pytest.approx(191, abs=0.5)
    assert plain_operations.sampling_operations(
        Config.create(num_classes=150, dontcare=True)
    ) / 2e9 == pytest.approx(181, abs=0.5)
    cityscapes = Config.create(
        num_classes=35,
        condition='labels+edges',
        crop_size=512,
        load_size=512,
        aspect_ratio=2.0,
        upsampling='more',
    )
    assert plain_operations.sampling_operations(cityscapes) / 2e9 == pytest.approx(281, abs=0.5)
    assert plain_operations.operations(
        plain_operations.discriminator_products(Config.create(num_classes=150, dontcare=True))
    ) / 2e9 == pytest.approx(7.8, abs=0.05)
    vgg19 = plain_operations.training_operations(coco()) - plain_operations.training_operations(
        coco(perceptual_weight=0.0)
    )
    assert vgg19 / 3 / 2e9 == pytest.approx(23.7, abs=0.05)


def test_a_generator_without_border_effects_has_the_operations_of_its_weights():
    """Every weight of a kernel is used once at each position, so at one position a network has as many multiply-adds as weights."""
    products = plain_operations.generator_products(coco())
    biases = 97_480_899 - sum(product.weights for product in products)
    assert 0 < biases < 100_000


@pytest.mark.parametrize(
    'device, precision, expected',
    [
        ('NVIDIA H100 80GB HBM3', 'bfloat16', 989e12),
        ('NVIDIA H100 PCIe', 'bfloat16', 756e12),
        ('NVIDIA A100-SXM4-40GB', 'float32', 156e12),
        ('NVIDIA L4', 'bfloat16', 121e12),
        ('Tesla T4', 'float32', 8.1e12),
        ('NVIDIA GeForce RTX 4090', 'bfloat16', 165e12),
        ('TPU v5 lite', 'bfloat16', 197e12),
        ('TPU v5p', 'bfloat16', 459e12),
        ('TPU v6 lite', 'bfloat16', 918e12),
        ('NVIDIA L40S', 'bfloat16', 362e12),
        ('an abacus', 'float32', None),
    ],
)
def test_peaks(device, precision, expected):
    assert device_peaks.peak_operations(device, precision) == expected
