"""Features of the images of a directory, kept in files."""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from tqdm import tqdm

from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.evaluation.image_sets import ImageSet
from spade_jax.evaluation.networks.inception import Inception, load_inception
from spade_jax.evaluation.networks.inception_input import INPUT_MODES
from spade_jax.evaluation.weights import WeightsFile
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.weight_files import read_state

BATCH_SIZE = 32
_THREADS = 4
DIM = 2048


class InceptionFeatures:
    """Features of `Inception` for directories of images.

    The rows that are done are kept: a run that was interrupted goes on where it was, and a
    directory that did not change is not read again.

    Attributes:
      mode: A key of `INPUT_MODES`.
      weights: The published weights.
      cache_dir: Directory of the features.
    """

    def __init__(self, mode: str, weights: str, cache_dir: str):
        self.mode, self.cache_dir = mode, cache_dir
        self.weights = WeightsFile('inception_weights', weights, 'give the file')

    def of(self, images: ImageSet) -> np.ndarray:
        """The features [N, 2048] float32 of the images; mapped from a file.

        Raises:
          UserError: An image or the weights cannot be read.
        """
        if images.is_temporary:
            features = np.empty((len(images), DIM), np.float32)
            self._extract(images, np.arange(len(images)), features)
            return features
        key = f'{images.fingerprint()}_{len(images)}_{self.mode}_{self.weights.checksum[:16]}'
        features = _open_rows(os.path.join(self.cache_dir, f'{key}.npy'), len(images))
        todo = np.flatnonzero(np.isnan(features[:, 0]))
        if len(todo):
            self._extract(images, todo, features)
        return features

    def protocol(self) -> dict[str, str]:
        """What decides the features."""
        return {'mode': self.mode} | self.weights.protocol()

    @functools.cached_property
    def _network(self) -> Callable[[np.ndarray], Any]:
        """Prepared images [B, 299, 299, 3] -> [B, 2048], over all devices."""
        imagenet = INPUT_MODES[self.mode].imagenet
        state = read_state(self.weights.path)
        variables = load_inception(state, self.weights.path, imagenet=imagenet)
        mesh = jax.make_mesh((len(jax.devices()),), ('images',))
        variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))

        @jax.jit
        def apply(variables: Any, images: jax.Array) -> jax.Array:
            outputs: Any = Inception(imagenet).apply(variables, images)
            return outputs['2048']

        rows = NamedSharding(mesh, PartitionSpec('images'))
        return lambda images: apply(variables, jax.device_put(images, rows))

    def _extract(self, images: ImageSet, todo: np.ndarray, features: np.ndarray) -> None:
        mode, size = INPUT_MODES[self.mode], BATCH_SIZE * len(jax.devices())
        batch = np.zeros((size, 299, 299, 3), np.float32)
        with (
            concurrent.futures.ThreadPoolExecutor(_THREADS) as pool,
            tqdm(total=len(todo), unit='image', desc=images.flag, dynamic_ncols=True) as progress,
        ):
            prepared = bounded_map(pool, lambda i: mode(images.read(i)), todo, ahead=2 * size)
            for first in range(0, len(todo), size):
                rows = todo[first : first + size]
                for i in range(len(rows)):
                    batch[i] = next(prepared)
                features[rows] = np.asarray(self._network(batch))[: len(rows)]
                progress.update(len(rows))


def _open_rows(path: str, count: int) -> np.ndarray:
    """A file of [count, 2048] float32, mapped; rows that are not done are nan."""
    if not os.path.exists(path):
        with atomic_write(path) as unfinished:
            # np.save would change a name that lacks its extension.
            with open(unfinished, 'wb') as file:
                np.save(file, np.full((count, DIM), np.nan, np.float32))
    return np.load(path, mmap_mode='r+')
