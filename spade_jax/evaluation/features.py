"""Features of the images of a directory, kept in files."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.errors import user_errors
from spade_jax.evaluation.feature_networks import FeatureNetwork
from spade_jax.evaluation.image_sets import ImageSet
from spade_jax.files.atomic_write import atomic_write

BATCH_SIZE = 32
_THREADS = 4


class Features:
    """Features of directories of images.

    The rows that are done are kept: a run that was interrupted goes on where it was, and a
    directory that did not change is not read again.

    Attributes:
      network: What computes them.
      cache_dir: Directory of the features.
    """

    def __init__(self, network: FeatureNetwork, cache_dir: str):
        self.network, self.cache_dir = network, cache_dir

    def of(self, images: ImageSet) -> np.ndarray:
        """The features [N, network.dim] float32 of the images; mapped from a file.

        Raises:
          UserError: An image or the weights cannot be read.
        """
        network, count = self.network, len(images)
        if images.is_temporary:
            features = np.empty((count, network.dim), np.float32)
            self._extract(images, np.arange(count), features)
            return features
        key = f'{images.fingerprint()}_{count}_{network.name}_{network.weights.checksum[:16]}'
        path, problem = os.path.join(self.cache_dir, f'{key}.npy'), f'{self.cache_dir} cannot keep'
        with user_errors(f'feature_cache_dir={problem} features', 'choose another directory'):
            features = _open_rows(path, (count, network.dim))
        # Of a row that was being written when a run was killed, only a part may be there.
        todo = np.flatnonzero(~np.isfinite(features).all(axis=1))
        if len(todo):
            self._extract(images, todo, features)
        return features

    @functools.cached_property
    def _apply(self) -> Callable[[np.ndarray], Any]:
        """Prepared images [B, size, size, 3] -> [B, dim], over the devices of this process."""
        mesh = Mesh(jax.local_devices(), ('images',))
        variables = jax.device_put(self.network.load(), NamedSharding(mesh, PartitionSpec()))
        apply, rows = jax.jit(self.network.apply), NamedSharding(mesh, PartitionSpec('images'))
        return lambda images: apply(variables, jax.device_put(images, rows))

    def _extract(self, images: ImageSet, todo: np.ndarray, features: np.ndarray) -> None:
        network, size = self.network, BATCH_SIZE * jax.local_device_count()
        batch = np.zeros((size, network.size, network.size, 3), np.float32)
        with (
            concurrent.futures.ThreadPoolExecutor(_THREADS) as pool,
            tqdm(total=len(todo), unit='image', desc=images.flag, dynamic_ncols=True) as progress,
        ):
            prepared = bounded_map(
                pool, lambda i: network.prepare(images.read(i)), todo, ahead=2 * size
            )
            for first in range(0, len(todo), size):
                rows = todo[first : first + size]
                for i in range(len(rows)):
                    batch[i] = next(prepared)
                features[rows] = np.asarray(self._apply(batch))[: len(rows)]
                progress.update(len(rows))


def _open_rows(path: str, shape: tuple[int, int]) -> np.ndarray:
    """A file of float32, mapped; rows that are not done are nan. A damaged file is begun anew."""
    if not _is_whole(path, shape):
        with atomic_write(path) as unfinished:
            # np.save would change a name that lacks its extension.
            with open(unfinished, 'wb') as file:
                np.save(file, np.full(shape, np.nan, np.float32))
    return np.load(path, mmap_mode='r+')


def _is_whole(path: str, shape: tuple[int, int]) -> bool:
    with contextlib.suppress(OSError, ValueError):
        # Only in the mode 'r' is a file that is too short an error; 'r+' would fill it with zeros.
        rows = np.lib.format.open_memmap(path, mode='r')
        return (rows.shape, rows.dtype) == (shape, np.float32)
    return False
