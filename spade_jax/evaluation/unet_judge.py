"""Do generated images follow their label maps? A U-Net that is trained on real images decides.

The published measure takes a segmentation network that others trained on the data set (Park et al.
2019, section 4). This one is trained in minutes on the run's own training images, so its scores
compare with each other only: those of one data set, one size of images and one `Training`.

It sees shapes and surroundings, which the layout judge does not. So it may also guess a class from
the place in the image, and its score against label maps of other images tells how much that gives.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.example_order import augmentation_words, example_index
from spade_jax.data.pipeline.paired_transforms import resize_ids, resize_image
from spade_jax.data.records.fingerprint import digest
from spade_jax.errors import UserError, user_errors
from spade_jax.evaluation.networks.unet import WIDTHS, UNet
from spade_jax.files.weight_files import write_state

VERSION = 1  # Raised with every change of what the same data and options train.
MIN_IMAGES = 16
_SECONDS_BETWEEN_SAVES = 60
_KEPT_IMAGES = 512  # In memory, so that small data sets are decoded once: 200 MB at most.
_THREADS = 4

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Training:
    """How a judge is trained.

    Attributes:
      steps: Updates of Adam.
      batch_size: Crops of an update.
      crop_size: Longest side of a crop in pixels.
      max_side: Larger images are reduced to this longer side in pixels.
      learning_rate: Of the first update; it falls to 0 as a cosine.
      widths: Of the `UNet`.
      seed: Of the weights, the order of the images, the crops and the flips.
    """

    steps: int = 1000
    batch_size: int = 8
    crop_size: int = 128
    max_side: int = 256
    learning_rate: float = 2e-3
    widths: tuple[int, ...] = WIDTHS
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""
        return self.learning_rate * (1 + math.cos(math.pi * step / self.steps)) / 2


@dataclasses.dataclass(frozen=True)
class UnetJudge:
    """A trained judge: its network, how it was trained, and its parameters."""

    network: UNet
    training: Training
    params: Any

    def predict(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The class of each pixel: [N, H, W, 3] uint8 -> [N, H, W] int32."""
        return np.stack([self._predict_one(image) for image in images])

    def _predict_one(self, image: np.ndarray) -> np.ndarray:
        height, width, _ = image.shape
        small = resize_image(image, _reduced_size(width, height, self.training.max_side))
        ids = _predict(self.network, self.params, small[None])[0]
        return resize_ids(np.asarray(ids), (width, height))


def fit_unet(
    read: Read,
    count: int,
    num_classes: int,
    *,
    fingerprint: str,
    cache_dir: str,
    training: Training | None = None,
) -> UnetJudge:
    """Train a judge on real images, or load it if it was trained before. Deterministic.

    The state is saved every minute; a training that was interrupted goes on from there.

    Args:
      read: Index -> image [H, W, 3] uint8 and ids [H, W], called from threads. Ids in
        [0, num_classes) are classes; pixels with others do not matter.
      count: Number of images.
      num_classes: Number of classes.
      fingerprint: A text that changes with the images and label maps.
      cache_dir: Directory of the trained judges.
      training: The options.

    Raises:
      UserError: There are too few images, or a file cannot be read or written.
    """
    if count < MIN_IMAGES:
        problem = f'the U-Net is trained on {MIN_IMAGES} images or more, and there are {count}'
        raise UserError(problem, 'use more training images, or leave this score out')
    training = training or Training()
    network = UNet(num_classes, training.widths)
    key = digest(map(str, (fingerprint, count, num_classes, training, VERSION)))
    path = os.path.join(os.path.expanduser(cache_dir), f'unet_{key}.npz')
    state = _restored(path, _initial_state(network, training.seed))
    first = int(state.step)
    if first < training.steps:
        batches = _batches(read, count, training, first)
        bar: dict[str, Any] = dict(desc='training the U-Net', unit='step', dynamic_ncols=True)
        saved = time.monotonic()
        for images, labels in tqdm(batches, initial=first, total=training.steps, **bar):
            state, loss = _update(network, state, images, labels, training.rate(int(state.step)))
            loss.block_until_ready()  # Or the batches of many steps would wait in memory.
            if time.monotonic() - saved >= _SECONDS_BETWEEN_SAVES:
                _save(path, state)
                saved = time.monotonic()
        _save(path, state)
    return UnetJudge(network, training, state.params)


class _State(NamedTuple):
    """What a step changes: the number of steps done, parameters, and the state of Adam."""

    step: jax.Array
    params: Any
    adam: optax.OptState


_ADAM = optax.scale_by_adam()


@functools.partial(jax.jit, static_argnums=0)
def _initial_state(network: UNet, seed: int) -> _State:
    params = network.init(jax.random.key(seed), jnp.zeros((1, 32, 32, 3)))['params']
    return _State(jnp.zeros((), jnp.int32), params, _ADAM.init(params))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _update(
    network: UNet, state: _State, images: jax.Array, labels: jax.Array, rate: float
) -> tuple[_State, jax.Array]:
    """A step on images [B, H, W, 3] and ids [B, H, W]; returns the new state and the loss."""
    known = (labels >= 0) & (labels < network.num_classes)

    def loss_of(params: Any) -> jax.Array:
        logits: Any = network.apply({'params': params}, images)
        entropy = optax.softmax_cross_entropy_with_integer_labels
        losses = entropy(logits, jnp.where(known, labels, 0))
        return losses.sum(where=known) / jnp.maximum(known.sum(), 1)

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    change, adam = _ADAM.update(gradient, state.adam)
    params = jax.tree.map(lambda old, by: old - rate * by, state.params, change)
    return _State(state.step + 1, params, adam), loss


@functools.partial(jax.jit, static_argnums=0)
def _predict(network: UNet, params: Any, images: jax.Array) -> jax.Array:
    logits: Any = network.apply({'params': params}, images)
    return jnp.argmax(logits, axis=-1)


def _save(path: str, state: _State) -> None:
    leaves = jax.tree.leaves(state)
    write_state(path, {f'leaf_{i}': np.asarray(leaf) for i, leaf in enumerate(leaves)})


def _restored(path: str, state: _State) -> _State:
    """The state of a file; the given one, of the same structure, if there is no file."""
    if not os.path.exists(path):
        return state
    leaves, structure = jax.tree.flatten(state)
    with user_errors(f'{path}, a trained judge, cannot be read', 'remove it'):
        with np.load(path, allow_pickle=False) as saved:
            restored = [jnp.asarray(saved[f'leaf_{i}']) for i in range(len(leaves))]
    return jax.tree.unflatten(structure, restored)


def _batches(
    read: Read, count: int, training: Training, first_step: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The images [B, H, W, 3] uint8 and ids [B, H, W] int32 of the steps from `first_step` on."""

    @functools.lru_cache(_KEPT_IMAGES)
    def reduced(index: int) -> tuple[np.ndarray, np.ndarray]:
        image, label = read(index)
        size = _reduced_size(label.shape[1], label.shape[0], training.max_side)
        return resize_image(image, size), resize_ids(label, size)

    crop_size = [min(side, training.crop_size) for side in reduced(0)[1].shape]

    def crop(position: int) -> tuple[np.ndarray, np.ndarray]:
        image, label = reduced(example_index(training.seed, position, count))
        return _random_crop(image, label, crop_size, augmentation_words(training.seed, position))

    size = training.batch_size
    positions = range(first_step * size, training.steps * size)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        crops = bounded_map(pool, crop, positions, ahead=2 * size)
        for _ in range(first_step, training.steps):
            images, labels = zip(*(next(crops) for _ in range(size)), strict=True)
            yield np.stack(images), np.stack(labels)


def _random_crop(
    image: np.ndarray, label: np.ndarray, size: Sequence[int], words: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of `size` (height, width), mirrored or not; smaller images get unlabeled borders."""
    (height, width), (x, y, flip) = size, words
    top = y % (max(label.shape[0] - height, 0) + 1)
    left = x % (max(label.shape[1] - width, 0) + 1)
    image, label = (part[top : top + height, left : left + width] for part in (image, label))
    border = [(0, full - side) for full, side in zip(size, label.shape, strict=True)]
    label = np.pad(label.astype(np.int32), border, constant_values=-1)
    image = np.pad(image, [*border, (0, 0)])
    return (image[:, ::-1], label[:, ::-1]) if flip % 2 else (image, label)


def _reduced_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height of an image after its longer side was reduced to `max_side`."""
    scale = min(1, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
