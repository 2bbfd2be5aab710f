"""Measure each convolution of the networks by itself, in every algorithm that spade_jax has for it.

    python -m experiments.benchmarks.benchmark_convolutions
    python -m experiments.benchmarks.benchmark_convolutions --preset=ade20k --batch_size=16

The first table has a line for each shape of a convolution: the GFLOP/s of its result and of the
gradients of input and kernel, by XLA's own convolution and, where spade_jax uses another algorithm
on this device, by that one. The second table has the two convolutions over the layout in each SPADE
layer, in milliseconds: dense, and once for each distinct patch of a landscape (dedup).

Arrays are on the device; times are medians. In a train step several operations share the device,
and other operations take time too: see --profile_steps of training, or `benchmark.py`.
"""

import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.benchmarks.model_flops import (
    ConvShape,
    discriminator_convs,
    generator_convs,
    vgg19_convs,
)
from experiments.benchmarks.presets import (
    PRECISIONS,
    PRESET_HELP,
    PRESETS,
    check_list,
    preset_config,
    write_json,
)
from experiments.benchmarks.workloads import synthetic_batch
from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import one_line_errors
from spade_jax.layers.convolution import Weights, xla_conv
from spade_jax.layers.cpu.conv_algorithms import ConvAlgorithm, fastest_on_cpu, from_autodiff
from spade_jax.layers.cpu.patch_dedup import conv_relu_conv, index_patches, should_dedup
from spade_jax.layers.resampling import resize_nearest
from spade_jax.models.model import build_model

NETWORKS = {
    'generator': generator_convs,
    'discriminator': discriminator_convs,
    'vgg19': vgg19_convs,
}
TURN_SECONDS = 0.02  # Least duration of a turn.
LABEL_CONVS = ('dense', 'dedup')

_PRESET = flags.DEFINE_enum('preset', PRESETS[0], PRESETS, PRESET_HELP)
_NETWORKS = flags.DEFINE_list(
    'networks', ['generator', 'discriminator'], f'Some of {", ".join(NETWORKS)}.'
)
_PRECISIONS = flags.DEFINE_list('precisions', list(PRECISIONS), f'Some of {", ".join(PRECISIONS)}.')
_ROUNDS = flags.DEFINE_integer('rounds', 7, 'Turns of each measurement.', lower_bound=1)
_OUTPUT_JSON = flags.DEFINE_string('output_json', '', 'File for all figures.')
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)


def main(argv: list[str]) -> None:
    """Print both tables for each precision."""
    with one_line_errors(argv):
        check_list(_NETWORKS, NETWORKS)
        check_list(_PRECISIONS, PRECISIONS)
        config, device = preset_config(_PRESET.value), jax.devices()[0].device_kind
        size = f'{config.data.image_width}x{config.data.image_height}'
        print(f'{device}, batch {config.optimizer.batch_size}, {size}')
        rows = []
        for precision in _PRECISIONS.value:
            rows += [{'precision': precision} | row for row in convolution_rates(config, precision)]
            rows += [{'precision': precision} | row for row in label_conv_times(config, precision)]
        if _OUTPUT_JSON.value:
            environment = {'device': device, 'jax': jax.__version__}
            write_json(_OUTPUT_JSON.value, environment | {'config': config.to_json(), 'rows': rows})


def convolution_rates(config: Config, precision: str) -> Iterator[dict[str, Any]]:
    """Measure every shape of a convolution, and print and yield a row for it."""
    ours = ' > the algorithm of spade_jax' if jax.default_backend() == 'cpu' else ''
    print(f'\n{precision}; GFLOP/s of XLA{ours}')
    headings = f'{"layers":>6} {"size":>9} {"kernel":>22} {"GFLOP":>7}'
    results = f'{"result":>14} {"input grad":>14} {"kernel grad":>14}'
    print(f'{"first layer":<28} {headings}  {results}', flush=True)
    for conv, count in distinct_shapes(config):
        seconds = conv_seconds(conv, config.optimizer.batch_size, precision)
        flops = config.optimizer.batch_size * conv.flops
        cells = [
            ' > '.join(f'{flops / algorithm / 1e9:.0f}' for algorithm in algorithms) or '-'
            for algorithms in seconds.values()
        ]
        size, kernel = f'{conv.width}x{conv.height}', kernel_text(conv)
        shape = f'{count:>6} {size:>9} {kernel:>22} {flops / 1e9:>7.1f}'
        rates = ' '.join(f'{cell:>14}' for cell in cells)
        print(f'{conv.name:<28} {shape}  {rates}', flush=True)
        yield conv._asdict() | {'layers': count, 'flops': flops, 'seconds': seconds}


def distinct_shapes(config: Config) -> list[tuple[ConvShape, int]]:
    """The first convolution of each shape, and the number of those that have it."""
    shapes: dict[tuple, list[ConvShape]] = {}
    for network in _NETWORKS.value:
        for conv in NETWORKS[network](config):
            shapes.setdefault(conv[1:], []).append(conv)
    return [(convs[0], len(convs)) for convs in shapes.values()]


def kernel_text(conv: ConvShape) -> str:
    """'3x3, 128 to 64', with '/ 2' for stride 2."""
    strides = '' if conv.strides == 1 else f' / {conv.strides}'
    size = f'{conv.kernel_size}x{conv.kernel_size}'
    return f'{size}, {conv.in_channels} to {conv.out_channels}{strides}'


def conv_seconds(conv: ConvShape, batch_size: int, precision: str) -> dict[str, list[float]]:
    """Seconds of the result and the gradients: by XLA, then by the algorithm of spade_jax.

    The second is left out if it is the first, and both if nothing needs the gradient.
    """
    x, kernel, cotangent = conv_arrays(conv, batch_size, precision)
    padding = conv.kernel_size // 2
    xla = from_autodiff(lambda x, kernel: xla_conv(x, kernel, conv.strides, padding))
    ours = xla
    if jax.default_backend() == 'cpu':
        ours = fastest_on_cpu(xla, x, kernel, conv.strides, padding)
    seconds = {}
    for name in ConvAlgorithm._fields:
        arguments = (x, kernel) if name == 'result' else (x, kernel, cotangent)
        functions = [getattr(xla, name), getattr(ours, name)]
        first, second = (str(jax.make_jaxpr(function)(*arguments)) for function in functions)
        if name == 'input_gradient' and conv.input_is_data:
            functions = []
        elif first == second:
            functions = functions[:1]
        seconds[name] = [seconds_of(function, *arguments) for function in functions]
    return seconds


def conv_arrays(conv: ConvShape, batch_size: int, precision: str) -> list[jax.Array]:
    """Random input, kernel and cotangent of the result."""
    sides = [
        (side - 1) * conv.strides + conv.kernel_size - 2 * (conv.kernel_size // 2)
        for side in (conv.height, conv.width)
    ]
    shapes = (
        (batch_size, *sides, conv.in_channels),
        (conv.kernel_size, conv.kernel_size, conv.in_channels, conv.out_channels),
        (batch_size, conv.height, conv.width, conv.out_channels),
    )
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(s, np.float32), precision) for s in shapes]


def label_conv_times(config: Config, precision: str) -> Iterator[dict[str, Any]]:
    """Measure the convolutions over the layout at every resolution; print and yield a row each."""
    batch = synthetic_batch(config, 'landscapes')
    layout = build_model(config).condition(*jax.device_put((batch.label, batch.instance)))
    convs = {conv.name: conv for conv in generator_convs(config)}
    headings = ' '.join(f'{name:>15}' for name in ('dense', 'dedup', 'dense +grad', 'dedup +grad'))
    print(f'\n{precision}; layout to gamma and beta, ms{"":>32}{headings}', flush=True)
    for layer in [name.removesuffix('.shared') for name in convs if name.endswith('.shared')]:
        shared, conv = convs[f'{layer}.shared'], convs[f'{layer}.gamma_and_beta']
        grid = resize_nearest(layout, conv.height, conv.width)
        if not should_dedup(grid, conv.kernel_size):
            continue
        weights = [random_weights(each, precision) for each in (shared, conv)]
        dense = grid.astype(precision)
        dedup = jax.jit(index_patches)(grid).replace(layout=dense)
        times = {
            'result': [seconds_of(conv_relu_conv, x, *weights) for x in (dense, dedup)],
            'with_gradients': [seconds_of(with_gradients, x, *weights) for x in (dense, dedup)],
        }
        size, kernel = f'{conv.width}x{conv.height}', kernel_text(conv)
        cells = ' '.join(f'{1e3 * second:>15.1f}' for pair in times.values() for second in pair)
        print(f'{layer:<28} {size:>16} {kernel:>22} {cells}', flush=True)
        by_label_conv = zip(*times.values(), strict=True)
        yield {
            'layer': layer,
            'branch': int(dedup.branch),
            'seconds': dict(zip(LABEL_CONVS, by_label_conv, strict=True)),
        }


def random_weights(conv: ConvShape, precision: str) -> Weights:
    """A random kernel, and a bias of zeros."""
    shape = conv.kernel_size, conv.kernel_size, conv.in_channels, conv.out_channels
    kernel = np.random.default_rng(0).standard_normal(shape, np.float32)
    kernel /= np.sqrt(conv.in_channels * conv.kernel_size**2)
    return Weights(jnp.asarray(kernel, precision), jnp.zeros(conv.out_channels, precision))


def with_gradients(layout: Any, *weights: Weights) -> Any:
    """Both convolutions, and the gradients of their kernels."""
    y, gradients = jax.vjp(functools.partial(conv_relu_conv, layout), *weights)
    return y, gradients(y)


def seconds_of(function: Callable, *arguments: Any) -> float:
    """Seconds of a call, the median over turns of several calls each."""
    jitted = jax.jit(function)
    jax.block_until_ready(jitted(*arguments))

    def turn(calls):
        start = time.perf_counter()
        results = [jitted(*arguments) for _ in range(calls)]
        jax.block_until_ready(results[-1])
        return (time.perf_counter() - start) / calls

    calls = max(1, round(TURN_SECONDS / turn(1)))
    return statistics.median(turn(calls) for _ in range(_ROUNDS.value))


if __name__ == '__main__':
    app.run(main)
