"""Measure how much faster sampling is with folded spectral norms, as `spade_jax.load` folds them.

    python -m experiments.benchmarks.benchmark_sampling --generator_width=32 --size=128

Both generators sample in turn, so that other load affects both. The weights are random: the time
does not depend on them.
"""

import statistics
import time

import jax
import numpy as np
from absl import app, flags

from experiments.benchmarks.workloads import random_generator
from spade_jax.config.config import Config
from spade_jax.config.option import positive_integers
from spade_jax.errors import one_line_errors
from spade_jax.layers.spectral_norm import fold_spectral_norm
from spade_jax.sampling import TrainedGenerator

_WIDTH = flags.DEFINE_integer(
    'generator_width', 32, "Channels of the generator's last block.", lower_bound=1
)
_SIZE = flags.DEFINE_integer('size', 128, 'Side of the images in pixels.', lower_bound=32)
_BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['1', '4'], 'Batch sizes.')
_ROUNDS = flags.DEFINE_integer('rounds', 15, 'Measured pairs.', lower_bound=1)


def main(argv: list[str]) -> None:
    """Print a line for each batch size."""
    with one_line_errors(argv):
        batch_sizes, size = positive_integers('batch_sizes', _BATCH_SIZES.value), _SIZE.value
        config = Config.create(
            crop_size=size, load_size=size, generator_width=_WIDTH.value, perceptual_weight=0.0
        )
        variables = random_generator(config)
        start = time.perf_counter()
        folded = fold_spectral_norm(variables)
        seconds = time.perf_counter() - start
        generators = [TrainedGenerator(config, {'generator': each}) for each in (variables, folded)]
        device = jax.devices()[0].device_kind
        print(f'{device}, {size}x{size}, width {_WIDTH.value}; folding took {seconds:.2f} s')
        print(f'seconds per image, medians of {_ROUNDS.value}')
        print(f'{"batch":>6}{"unfolded":>12}{"folded":>12}{"speedup":>12}')
        for batch_size in batch_sizes:
            times = pairs_of_seconds(generators, config, batch_size)
            speedup = statistics.median(before / after for before, after in times)
            columns = zip(*times, strict=True)
            before, after = (statistics.median(column) / batch_size for column in columns)
            print(f'{batch_size:>6}{before:>12.3f}{after:>12.3f}{speedup:>12.2f}', flush=True)


def pairs_of_seconds(
    generators: list[TrainedGenerator], config: Config, batch_size: int
) -> list[tuple[float, ...]]:
    """Seconds that each generator takes for a batch, round after round."""
    shape = batch_size, config.data.image_height, config.data.image_width
    labels = np.random.default_rng(0).integers(0, config.data.num_classes, shape)

    def seconds(generator):
        start = time.perf_counter()
        generator(labels, batch_size=batch_size)
        return time.perf_counter() - start

    for generator in generators:
        seconds(generator)  # Compiles.
    return [tuple(map(seconds, generators)) for _ in range(_ROUNDS.value)]


if __name__ == '__main__':
    app.run(main)
