"""Measure how fast features of images are extracted, against the network alone.

    python -m experiments.benchmarks.benchmark_evaluation --network=lite0
    python -m experiments.benchmarks.benchmark_evaluation --network=inception --images=500

It writes PNG files of 256x256 pixels (landscapes with the grain of photos), and extracts their
features as --mode=evaluate does, decoding and resizing included. The network alone computes on
batches in memory, before and after. Inception gets random weights unless --inception_weights has
others: they cost the same. The memory is the peak of the whole process.
"""

from __future__ import annotations

import os
import pathlib
import resource
import tempfile
import time

import jax
import numpy as np
from absl import app, flags
from PIL import Image
from tqdm import tqdm

from spade_jax import landscapes
from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.errors import one_line_errors
from spade_jax.evaluation.feature_networks import FEATURE_NETWORKS, FeatureNetwork
from spade_jax.evaluation.features import BATCH_SIZE, Features
from spade_jax.evaluation.image_sets import ImageFolder
from spade_jax.evaluation.networks.inception import Inception

NETWORK = flags.DEFINE_enum('network', 'lite0', list(FEATURE_NETWORKS), 'The network.')
IMAGES = flags.DEFINE_integer('images', 5000, 'Number of images.', lower_bound=64)
INCEPTION_WEIGHTS = flags.DEFINE_string('inception_weights', '', 'Weights; default: random ones.')
SIZE = 256
_RENDERED = 16  # Different landscapes; the others are shifted, with new grain.
_BATCHES = 8  # Of the network alone, each time.


def main(argv: list[str]) -> None:
    """Print the rates."""
    with one_line_errors(argv), tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        write_images(root / 'images')
        extractor = Features(network_of(root), str(root / 'cache'))
        alone = [rate_alone(extractor)]
        start = time.perf_counter()
        features = extractor.of(ImageFolder('images', str(root / 'images')))
        whole = len(features) / (time.perf_counter() - start)
        alone.append(rate_alone(extractor))
        bare = float(np.mean(alone))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f'{NETWORK.value} on {jax.device_count()} x {jax.devices()[0].device_kind}, '
            f'{os.cpu_count()} cores\n'
            f'network alone      {bare:8.2f} images/s ({alone[0]:.2f}, {alone[1]:.2f} after)\n'
            f'from PNG files     {whole:8.2f} images/s of {len(features)}\n'
            f'ratio              {whole / bare:8.3f}\n'
            f'peak of the memory {peak:8.0f} MiB'
        )


def write_images(directory: pathlib.Path) -> None:
    """Write PNG files."""
    directory.mkdir()
    random = np.random.default_rng(0)
    scenes = [landscapes.render_scene(seed, SIZE, SIZE).image for seed in range(_RENDERED)]
    for number in tqdm(range(IMAGES.value), desc='writing', unit='image'):
        image = np.roll(scenes[number % _RENDERED], number, axis=1)
        grain = random.normal(0, 6, (SIZE, SIZE, 1))
        pixels = np.clip(image + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(directory / f'{number:05}.png', compress_level=1)


def network_of(root: pathlib.Path) -> FeatureNetwork:
    """The network; Inception without weights gets random ones."""
    if NETWORK.value != 'inception' or INCEPTION_WEIGHTS.value:
        return FEATURE_NETWORKS[NETWORK.value](
            EvaluationConfig(inception_weights=INCEPTION_WEIGHTS.value)
        )
    (root / 'random.npz').write_bytes(b'random')
    config = EvaluationConfig(inception_weights=str(root / 'random.npz'))
    image = np.zeros((1, 299, 299, 3), np.float32)
    variables = jax.jit(Inception(imagenet=False).init)(jax.random.key(0), image)
    return FEATURE_NETWORKS['inception'](config)._replace(load=lambda: variables)


def rate_alone(features: Features) -> float:
    """Images a second of the network on batches in memory."""
    size = features.network.size
    shape = (BATCH_SIZE * jax.local_device_count(), size, size, 3)
    batch = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    np.asarray(features._apply(batch))  # Compiles.
    start = time.perf_counter()
    for _ in range(_BATCHES):
        np.asarray(features._apply(batch))
    return _BATCHES * len(batch) / (time.perf_counter() - start)


if __name__ == '__main__':
    app.run(main)
