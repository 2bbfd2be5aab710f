"""Do fake images follow their label maps? A per-pixel classifier, fitted to real images, decides.

The published measure runs a segmentation network that was trained on the data set (Park et al.
2019, section 4). The judge is a substitute where there is none: it is fitted in seconds and knows
color and texture, but no shapes.

It sees the color of a pixel, and mean and deviation of the colors around it, but not the position:
a judge that knew that the sky is above would find a sky in any image, and flatter the generator.

    judge = fit_judge(zip(train_images, train_labels), num_classes=13)
    print(accuracy(judge.predict(fake_images), labels))
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spade_jax.config.data_config import DONTCARE_ID
from spade_jax.errors import UserError

WINDOWS = (3, 7, 15)
_HIDDEN_UNITS = (128, 64)
_BATCH_SIZE = 2048  # pixels
_LEARNING_RATE = 3e-3
_MIN_DEVIATION = 1e-3  # of a feature, so that a constant one is not divided by 0


def window_statistics(values: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation in windows of odd size, cut off at the border; all [N, H, W, C]."""

    def mean(values: jax.Array) -> jax.Array:
        # Windows are rectangles even where they are cut off, so they are separable.
        for axis, window in ((1, (size, 1)), (2, (1, size))):
            place, last = np.arange(values.shape[axis]), values.shape[axis] - 1
            pixels = np.minimum(place, size // 2) + np.minimum(last - place, size // 2) + 1
            inside = np.expand_dims(pixels / size, [other for other in range(4) if other != axis])
            values = nn.avg_pool(values, window, padding='SAME') / inside
        return values

    variance = mean(values**2) - mean(values) ** 2
    return mean(values), jnp.sqrt(jnp.maximum(variance, 0))  # Rounding can make it negative.


def pixel_features(images: jax.Array | np.ndarray, windows: Sequence[int] = WINDOWS) -> jax.Array:
    """The color of each pixel, and mean and deviation of the colors in windows around it.

    [N, H, W, 3] uint8 -> [N, H, W, 3 + 6 * len(windows)] float32: colors and means in [-1, 1],
    deviations in [0, 1].
    """
    colors = jnp.asarray(images, jnp.float32) / 127.5 - 1
    around = [statistic for size in windows for statistic in window_statistics(colors, size)]
    return jnp.concatenate([colors, *around], axis=-1)


class PixelClassifier(nn.Module):
    """A perceptron on features of known statistics: [..., F] -> [..., num_classes] logits."""

    num_classes: int

    @nn.compact
    def __call__(self, features: jax.Array, mean: jax.Array, deviation: jax.Array) -> jax.Array:
        x = (features - mean) / deviation
        for i, units in enumerate(_HIDDEN_UNITS):
            x = nn.relu(nn.Dense(units, name=f'hidden_{i}')(x))
        return nn.Dense(self.num_classes, name='logits')(x)


@dataclasses.dataclass(frozen=True)
class Judge:
    """A fitted judge: its classes and windows, parameters and statistics of its classifier."""

    num_classes: int
    windows: tuple[int, ...]
    params: Any
    statistics: tuple[jax.Array, ...]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class of each pixel: [N, H, W, 3] uint8 -> [N, H, W] int32."""
        classifier = PixelClassifier(self.num_classes)
        return np.asarray(_predict(classifier, self.windows, self.params, self.statistics, images))


def fit_judge(
    examples: Iterable[tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    *,
    seed: int = 0,
    windows: Sequence[int] = WINDOWS,
    pixels_per_image: int = 512,
    steps: int = 2000,
) -> Judge:
    """Fit a judge with Adam to random pixels of real images. Deterministic.

    The classes are not balanced, so that the judge predicts the most likely class of a pixel.

    Args:
      examples: Pairs of an image [H, W, 3] uint8, of the size of the images to judge, since the
        windows are in pixels, and its label map [H, W]. Pixels whose id is not in
        [0, num_classes) have no class.
      num_classes: Number of classes.
      seed: For the choice of pixels, the initial weights and the order of the batches.
      windows: Sides of the windows in pixels; odd.
      pixels_per_image: Pixels sampled from each image, with replacement.
      steps: Number of Adam updates on 2048 pixels each.

    Raises:
      UserError: No pixel has a class.
      ValueError: An image is not uint8, or a window is even.
    """
    for size in windows:
        if size % 2 == 0:
            raise ValueError(f'a window of {size} pixels has no center pixel; use {size + 1}')
    rng = np.random.default_rng(seed)
    features, classes = [], []
    for image, label in examples:
        if image.dtype != np.uint8 or image.shape != (*label.shape, 3):
            problem = f'{image.dtype} image of {image.shape} with a label map of {label.shape}'
            raise ValueError(f'{problem}; give uint8 [H, W, 3] and [H, W]')
        known = np.flatnonzero((label >= 0) & (label < num_classes))
        if known.size:
            places = rng.choice(known, pixels_per_image)
            features.append(np.asarray(_features_at(tuple(windows), image, places)))
            classes.append(label.reshape(-1)[places].astype(np.int32))
    if not classes:
        problem = f'no pixel of the training label maps has one of the {num_classes} classes'
        raise UserError(problem, 'check the numbering of the labels')
    features, classes = np.concatenate(features), np.concatenate(classes)  # [N * P, F], [N * P]
    fitted = _fit(PixelClassifier(num_classes), steps, features, classes, jax.random.key(seed))
    return Judge(num_classes, tuple(windows), *fitted)


def accuracy(predicted: np.ndarray, labels: np.ndarray, ignore: int | None = DONTCARE_ID) -> float:
    """The share of correct pixels in [0, 1], without those labeled `ignore`; nan if all are."""
    known = np.full(labels.shape, True) if ignore is None else labels != ignore
    return float(np.mean(predicted[known] == labels[known])) if known.any() else math.nan


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(classifier, windows, params, statistics, images):
    # One image at a time: the hidden layers of all would fill the memory.
    def predict_one(image):
        features = pixel_features(image[None], windows)[0]
        return jnp.argmax(classifier.apply({'params': params}, features, *statistics), axis=-1)

    return jax.lax.map(predict_one, images)


@functools.partial(jax.jit, static_argnums=0)
def _features_at(windows, image, places):
    """The features [P, F] of the pixels at places [P] of a flat image."""
    features = pixel_features(image[None], windows)
    return features.reshape(-1, features.shape[-1])[places]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fit(classifier, steps, features, classes, key):
    """Fit to features [M, F] and classes [M] int32; return parameters and statistics."""
    init_key, batch_key = jax.random.split(key)
    statistics = features.mean(axis=0), jnp.maximum(features.std(axis=0), _MIN_DEVIATION)
    params = classifier.init(init_key, features[:1], *statistics)['params']
    adam = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))

    def update(carry, step):
        params, adam_state = carry
        step_key = jax.random.fold_in(batch_key, step)
        batch = jax.random.randint(step_key, (_BATCH_SIZE,), 0, len(features))

        def loss(params):
            logits = classifier.apply({'params': params}, features[batch], *statistics)
            return optax.softmax_cross_entropy_with_integer_labels(logits, classes[batch]).mean()

        updates, adam_state = adam.update(jax.grad(loss)(params), adam_state)
        return (optax.apply_updates(params, updates), adam_state), None

    (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), jnp.arange(steps))
    return params, statistics
