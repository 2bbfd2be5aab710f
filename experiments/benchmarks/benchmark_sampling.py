"""Seconds a picture, with spectral norms as they are trained and folded into the kernels, as `spade_jax.load` folds them.

    python experiments/benchmark_sampling.py --width=32 --size=128

The two draw in turn, so that what else the machine does meets both. Untrained weights: the time does not depend on them.
"""

from __future__ import annotations

import statistics
import time

import jax
import numpy as np
from absl import app, flags

from spade_jax.config.config import Config
from spade_jax.errors import one_line_errors
from spade_jax.layers.spectral_norm import fold_spectral_norm
from spade_jax.models.initialization import draw_variables
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import abstract_networks
from spade_jax.random_streams import Stream
from spade_jax.sampling import TrainedGenerator

WIDTH = flags.DEFINE_integer('width', 32, "Channels of the generator's last block.", lower_bound=1)
SIZE = flags.DEFINE_integer('size', 128, 'Side of the pictures in pixels.', lower_bound=32)
BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['1', '4'], 'Pictures at a time.')
ROUNDS = flags.DEFINE_integer('rounds', 15, 'Measured pairs.', lower_bound=1)


def main(argv: list[str]) -> None:
    """Prints a table."""
    with one_line_errors(argv):
        config = Config.create(
            crop_size=SIZE.value,
            load_size=SIZE.value,
            generator_width=WIDTH.value,
            perceptual_weight=0.0,
        )
        variables = draw_variables(
            abstract_networks(config, build_networks(config))[0], 0, Stream.GENERATOR_WEIGHTS
        )
        start = time.perf_counter()
        without = fold_spectral_norm(variables)
        print(
            f'{jax.devices()[0].device_kind}, {SIZE.value}x{SIZE.value}, width {WIDTH.value}; folding took {time.perf_counter() - start:.2f} s'
        )
        print(
            f'{"pictures at a time":>20}{"norms":>12}{"folded":>12}{"ratio":>12}   (seconds a picture; medians of {ROUNDS.value})'
        )
        for size in map(int, BATCH_SIZES.value):
            times = measured(
                [TrainedGenerator(config, variables), TrainedGenerator(config, without)],
                config,
                size,
            )
            ratio = statistics.median(before / after for before, after in times)
            before, after = (statistics.median(column) / size for column in zip(*times))
            print(f'{size:>20}{before:>12.3f}{after:>12.3f}{ratio:>12.2f}', flush=True)


def measured(
    generators: list[TrainedGenerator], config: Config, size: int
) -> list[tuple[float, ...]]:
    """Seconds of each generator for `size` pictures, round after round."""
    labels = np.random.default_rng(0).integers(
        0, config.data.num_classes, (size, config.data.image_height, config.data.image_width)
    )

    def seconds(generator):
        start = time.perf_counter()
        generator(labels, batch_size=size)
        return time.perf_counter() - start

    for generator in generators:
        seconds(generator)  # compiles
    return [tuple(map(seconds, generators)) for _ in range(ROUNDS.value)]


if __name__ == '__main__':
    app.run(main)
