"""How fast each convolution of the networks is by itself: which ones a step's time goes to, and which form of them this device is good at.

    python experiments/benchmark_convolutions.py
    python experiments/benchmark_convolutions.py --preset=ade20k --batch_size=16 --precisions=bfloat16 --output_json=convolutions.json

The first table has a line for every shape of a convolution: its result, the gradient of its input and that of its kernel, each in XLA's own form, in 10^9
operations a second, and where spade_jax computes it in another form on this device, in that one. The second table has the two convolutions over the labels of
SPADE layers, forward and with the gradients of their kernels, in milliseconds: everywhere, and once for every neighbourhood that occurs in a landscape.

Arrays are on the device, times are medians of --rounds. In a step several operations share the device, and what is between them takes time too: see --profile_steps of
the training, or `benchmark.py`, for whole steps.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.benchmarks.benchmark_contenders import made_up_batch
from experiments.benchmarks.plain_operations import (
    Product,
    discriminator_products,
    generator_products,
    vgg19_products,
)
from experiments.benchmarks.presets import FLAGFILES, PRECISIONS, check_list, described_config
from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import one_line_errors
from spade_jax.layers.convolution import Form, Weights, form_for_cpu, plain_form
from spade_jax.layers.cpu.patch_dedup import numbered, two_convolutions, worth_numbering
from spade_jax.layers.resampling import resize_nearest
from spade_jax.models.spade.model import layout_of

NETWORKS = {
    'generator': generator_products,
    'discriminator': discriminator_products,
    'vgg19': vgg19_products,
}
TURN = 0.02  # seconds that a turn takes at least

PRESET = flags.DEFINE_enum(
    'preset',
    'coco_stuff',
    FLAGFILES,
    'The networks are those of this flagfile in experiments/, without style encoder; flags override it.',
)
NETWORK_LIST = flags.DEFINE_list(
    'networks', ['generator', 'discriminator'], f'Some of {", ".join(NETWORKS)}.'
)
PRECISION_LIST = flags.DEFINE_list(
    'precisions', list(PRECISIONS), f'Some of {", ".join(PRECISIONS)}.'
)
ROUNDS = flags.DEFINE_integer('rounds', 7, 'Turns of each.', lower_bound=1)
OUTPUT_JSON = flags.DEFINE_string('output_json', '', 'File for the figures.')
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)


def main(argv: list[str]) -> None:
    """Prints the two tables for each precision."""
    with one_line_errors(argv):
        for flag, known in ((NETWORK_LIST, NETWORKS), (PRECISION_LIST, PRECISIONS)):
            check_list(flag, known)
        config, records = described_config(PRESET.value), []
        print(
            f'{jax.devices()[0].device_kind}, batch {config.optimizer.batch_size}, {config.data.image_width}x{config.data.image_height}'
        )
        for precision in PRECISION_LIST.value:
            records += list(convolution_rates(config, precision))
            records += list(label_convolution_times(config, precision))
        if OUTPUT_JSON.value:
            with open(OUTPUT_JSON.value, 'w') as file:
                json.dump(
                    {
                        'device': jax.devices()[0].device_kind,
                        'jax': jax.__version__,
                        'config': config.to_json(),
                        'rows': records,
                    },
                    file,
                    indent=1,
                )


def convolution_rates(config: Config, precision: str) -> Iterator[dict[str, Any]]:
    """Times every shape of a convolution, and prints a line for it."""
    print(
        f"\n{precision}; 10^9 operations a second, XLA's own form"
        + (' > the form of spade_jax' if jax.default_backend() == 'cpu' else '')
    )
    print(
        f'{"the first of":<28} {"layers":>6} {"result":>9} {"kernel":>22} {"GFLOP":>7}  {"result":>14} {"of input":>14} {"of kernel":>14}',
        flush=True,
    )
    for product, count in shapes_of(config):
        rates = rates_of(product, config.optimizer.batch_size, precision)
        operations = 2 * config.optimizer.batch_size * product.positions * product.weights
        cells = [
            ' > '.join(f'{operations / seconds / 1e9:.0f}' for seconds in of_forms)
            if of_forms
            else '-'
            for of_forms in rates.values()
        ]
        print(
            f'{product.name:<28} {count:>6} {f"{product.width}x{product.height}":>9} {kernel_of(product):>22} {operations / 1e9:>7.1f}  '
            + ' '.join(f'{cell:>14}' for cell in cells),
            flush=True,
        )
        yield {
            'precision': precision,
            'layers': count,
            'operations': operations,
            'seconds': rates,
        } | product._asdict()


def shapes_of(config: Config) -> list[tuple[Product, int]]:
    """The convolutions of the networks, one of each shape, with how many have it."""
    shapes: dict[tuple, list[Product]] = {}
    for network in NETWORK_LIST.value:
        for product in NETWORKS[network](config):
            shapes.setdefault(product[1:], []).append(product)
    return [(products[0], len(products)) for products in shapes.values()]


def kernel_of(product: Product) -> str:
    """'3x3, 128 to 64'."""
    return f'{product.size}x{product.size}, {product.inputs} to {product.outputs}' + (
        '' if product.strides == 1 else f' / {product.strides}'
    )


def rates_of(product: Product, batch_size: int, precision: str) -> dict[str, list[float]]:
    """Seconds of the result and the two gradients, in each form; none for a gradient that nobody asks for."""
    padding = product.size // 2
    height, width = (
        (side - 1) * product.strides + product.size - 2 * padding
        for side in (product.height, product.width)
    )
    random = np.random.default_rng(0)
    x, kernel, cotangent = (
        jnp.asarray(random.standard_normal(shape, np.float32), precision)
        for shape in (
            (batch_size, height, width, product.inputs),
            (product.size, product.size, product.inputs, product.outputs),
            (batch_size, product.height, product.width, product.outputs),
        )
    )
    plain = plain_form(product.strides, padding)
    ours = (
        form_for_cpu(x, kernel, product.strides, padding)
        if jax.default_backend() == 'cpu'
        else plain
    )
    seconds = {}
    for name in Form._fields:
        arguments = (x, kernel) if name == 'result' else (x, kernel, cotangent)
        forms = [getattr(plain, name)] + [getattr(ours, name)] * (
            program_of(ours, name, arguments) != program_of(plain, name, arguments)
        )
        seconds[name] = (
            []
            if name == 'input_gradient' and product.of_data
            else [seconds_of(form, *arguments) for form in forms]
        )
    return seconds


def program_of(form: Form, name: str, arguments: tuple[jax.Array, ...]) -> str:
    """What is traced: two forms are the same if their programs are."""
    return str(jax.make_jaxpr(getattr(form, name))(*arguments))


def label_convolution_times(config: Config, precision: str) -> Iterator[dict[str, Any]]:
    """Times the two convolutions over the labels at every resolution, and prints a line for each."""
    layout, products = (
        layout_of(made_up_batch(config, 'landscapes'), config),
        {product.name: product for product in generator_products(config)},
    )
    print(
        f'\n{precision}; labels to gamma and beta, ms:{"everywhere":>41} {"neighbourhoods":>15} {"with gradients: everywhere":>27} {"neighbourhoods":>15}',
        flush=True,
    )
    for layer in [name.removesuffix('.shared') for name in products if name.endswith('.shared')]:
        shared, product = products[f'{layer}.shared'], products[f'{layer}.gamma_and_beta']
        dense = resize_nearest(layout, product.height, product.width)
        if not worth_numbering(dense, product.size):
            continue
        weights = [weights_of(each, precision) for each in (shared, product)]
        layouts = {
            'everywhere': dense.astype(precision),
            'neighbourhoods': jax.jit(numbered)(dense).replace(layout=dense.astype(precision)),
        }
        times = {
            name: [seconds_of(work, each, *weights) for each in layouts.values()]
            for name, work in (
                ('result', two_convolutions),
                ('with_gradients', result_and_gradients),
            )
        }
        cells = [f'{seconds * 1e3:.1f}' for of_forms in times.values() for seconds in of_forms]
        print(
            f'{layer:<28} {f"{product.width}x{product.height}":>16} {kernel_of(product):>22} {cells[0]:>10} {cells[1]:>15} {cells[2]:>27} {cells[3]:>15}',
            flush=True,
        )
        yield {
            'precision': precision,
            'layer': layer,
            'form': int(layouts['neighbourhoods'].form),
            'seconds': dict(zip(('everywhere', 'neighbourhoods'), zip(*times.values()))),
        }


def weights_of(product: Product, precision: str) -> Weights:
    """Random ones."""
    random = np.random.default_rng(0)
    kernel = random.standard_normal(
        (product.size, product.size, product.inputs, product.outputs), np.float32
    ) / np.sqrt(product.inputs * product.size**2)
    return Weights(jnp.asarray(kernel, precision), jnp.zeros(product.outputs, precision))


def result_and_gradients(layout: Any, *weights: Weights) -> Any:
    """The two convolutions, and the gradients of their kernels."""
    y, gradients = jax.vjp(functools.partial(two_convolutions, layout), *weights)
    return y, gradients(y)


def seconds_of(function: Callable, *arguments: Any) -> float:
    """Of one call; the median over turns of so many calls that their start does not count."""
    jitted = jax.jit(function)
    jax.block_until_ready(jitted(*arguments))

    def turn(calls):
        start = time.perf_counter()
        for _ in range(calls):
            result = jitted(*arguments)
        jax.block_until_ready(result)
        return (time.perf_counter() - start) / calls

    calls = max(1, round(TURN / turn(1)))
    return statistics.median(turn(calls) for _ in range(ROUNDS.value))


if __name__ == '__main__':
    app.run(main)
