"""Do fake images follow their label maps? A per-pixel classifier, fitted to real images, decides.

The published measure runs a segmentation network that was trained on the data set (Park et al.
2019, section 4). The judge is a substitute where there is none: it is fitted in seconds and knows
color and texture, but no shapes.

It sees the color of a pixel, and mean and deviation of the colors around it, but not the position:
a judge that knew that the sky is above would find a sky in any image, and flatter the generator.

    judge = fit_judge(train_images, train_labels, num_classes=13)
    print(layout_agreement(judge, real_images, fake_images, labels).ratio)
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spade_jax.config.data_config import DONTCARE_ID

WINDOWS = (3, 7, 15)
_HIDDEN_UNITS = (128, 64)
_BATCH_SIZE = 2048  # pixels
_LEARNING_RATE = 3e-3
_MIN_DEVIATION = 1e-3  # of a feature, so that a constant one is not divided by 0


def window_statistics(values: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation in windows of odd size, cut off at the border; all [N, H, W, C]."""

    def mean(values: jax.Array) -> jax.Array:
        # Windows are rectangles even where they are cut off, so they are separable.
        for window in ((size, 1), (1, size)):
            values = nn.avg_pool(values, window, padding='SAME', count_include_pad=False)
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
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    seed: int = 0,
    ignore: int | None = DONTCARE_ID,
    windows: Sequence[int] = WINDOWS,
    pixels_per_image: int = 512,
    steps: int = 2000,
) -> Judge:
    """Fit a judge with Adam to random pixels of real images. Deterministic.

    The classes are not balanced, so that the judge predicts the most likely class of a pixel.

    Args:
      images: [N, H, W, 3] uint8, of the size of the images to judge: its windows are in pixels.
      labels: [N, H, W] class ids.
      num_classes: Number of classes.
      seed: For the choice of pixels, the initial weights and the order of the batches.
      ignore: Id of pixels without a class; None: every pixel has one.
      windows: Sides of the windows in pixels; odd.
      pixels_per_image: Pixels sampled from each image, with replacement.
      steps: Number of Adam updates on 2048 pixels each.

    Raises:
      ValueError: No pixel has a class, an id is no class, the shapes differ, or a window is even.
    """
    known = _check(labels, num_classes, ignore, images=images)
    for size in windows:
        if size % 2 == 0:
            raise ValueError(f'a window of {size} pixels has no center pixel; use {size + 1}')
    usable = np.flatnonzero(known.any(axis=(1, 2)))
    rng = np.random.default_rng(seed)
    places = [rng.choice(np.flatnonzero(known[i]), pixels_per_image) for i in usable]
    places = np.stack(places)  # [N, P] indices into the flat images
    classes = np.take_along_axis(labels[usable].reshape(len(usable), -1), places, axis=1)
    classes = classes.reshape(-1).astype(np.int32)  # [N * P]
    features = _features_at(tuple(windows), images[usable], places)  # [N * P, F]
    fitted = _fit(PixelClassifier(num_classes), steps, features, classes, jax.random.key(seed))
    return Judge(num_classes, tuple(windows), *fitted)


def accuracy(predicted: np.ndarray, labels: np.ndarray, ignore: int | None = DONTCARE_ID) -> float:
    """The share of correct pixels in [0, 1], without those labeled `ignore`; nan if all are."""
    known = _known(labels, ignore)
    return float(np.mean(predicted[known] == labels[known])) if known.any() else math.nan


def class_accuracies(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int, ignore: int | None = DONTCARE_ID
) -> np.ndarray:
    """The share of correct pixels of each class: [num_classes] in [0, 1], nan for absent ones."""
    known = _known(labels, ignore)
    expected = labels[known]
    correct = np.bincount(expected[predicted[known] == expected], minlength=num_classes)
    with np.errstate(invalid='ignore'):  # 0 / 0 is the nan.
        return correct / np.bincount(expected, minlength=num_classes)


class LayoutAgreement(NamedTuple):
    """How well a judge recovers the label maps from real and from fake images, in [0, 1].

    The ratio is about 1 if the fake images show their layout as clearly as the real ones. It can
    exceed 1, since a generator prefers typical colors; it does not measure realism. The wrong
    layout is the control: the label map of another example, as if the generator ignored its input.
    """

    accuracy_on_real: float  # share of correct pixels
    accuracy_on_generated: float
    ratio: float  # accuracy_on_generated / accuracy_on_real
    accuracy_on_wrong_layout: float  # of fake images; nan for a single example
    mean_class_accuracy_on_real: float  # over the present classes
    mean_class_accuracy_on_generated: float
    class_accuracy_on_real: np.ndarray  # [num_classes], nan for absent ones
    class_accuracy_on_generated: np.ndarray
    class_share: np.ndarray  # [num_classes], of the pixels that have a class


def layout_agreement(
    judge: Judge,
    real: np.ndarray,
    fake: np.ndarray,
    labels: np.ndarray,
    ignore: int | None = DONTCARE_ID,
) -> LayoutAgreement:
    """Compare fake images with the label maps that condition them, relative to real images.

    Args:
      judge: Fitted to other images than these.
      real: [N, H, W, 3] uint8.
      fake: [N, H, W, 3] uint8.
      labels: [N, H, W] class ids of both.
      ignore: Label of the pixels that do not count; None: all count.

    Raises:
      ValueError: No pixel has a class, an id is not a class, or the shapes do not match.
    """
    num_classes = judge.num_classes
    known = _check(labels, num_classes, ignore, real=real, fake=fake)
    in_real, in_fake = judge.predict(real), judge.predict(fake)
    on_real, on_fake = accuracy(in_real, labels, ignore), accuracy(in_fake, labels, ignore)
    by_class_on_real = class_accuracies(in_real, labels, num_classes, ignore)
    by_class_on_fake = class_accuracies(in_fake, labels, num_classes, ignore)
    on_wrong_layout = accuracy(in_fake, np.roll(labels, 1, axis=0), ignore)
    return LayoutAgreement(
        accuracy_on_real=on_real,
        accuracy_on_generated=on_fake,
        ratio=on_fake / on_real if on_real else math.nan,
        accuracy_on_wrong_layout=on_wrong_layout if len(labels) > 1 else math.nan,
        mean_class_accuracy_on_real=float(np.nanmean(by_class_on_real)),
        mean_class_accuracy_on_generated=float(np.nanmean(by_class_on_fake)),
        class_accuracy_on_real=by_class_on_real,
        class_accuracy_on_generated=by_class_on_fake,
        class_share=np.bincount(labels[known], minlength=num_classes) / known.sum(),
    )


def _known(labels: np.ndarray, ignore: int | None) -> np.ndarray:
    """Where the labels are not `ignore`, bool."""
    return np.ones(labels.shape, bool) if ignore is None else labels != ignore


def _check(labels, num_classes: int, ignore: int | None, **arrays: np.ndarray) -> np.ndarray:
    """Check shapes and ids; return where the pixels have a class, bool."""
    for name, images in arrays.items():
        if images.dtype != np.uint8:
            raise ValueError(f'{name} are {images.dtype}; give uint8 in [0, 255]')
        if images.shape != (*labels.shape, 3):
            problem = f'{name} of shape {images.shape} do not fit labels of shape {labels.shape}'
            raise ValueError(f'{problem}; give [N, H, W, 3] and [N, H, W]')
    known = _known(labels, ignore)
    wrong = labels[known & ((labels < 0) | (labels >= num_classes))]
    if wrong.size:
        classes = f'one of the {num_classes} classes 0..{num_classes - 1}'
        raise ValueError(f'label id {wrong[0]} is not {classes} and not ignore={ignore}')
    if not known.any():
        raise ValueError(f'no pixel of the {len(labels)} label maps has a class (ignore={ignore})')
    return known


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(classifier, windows, params, statistics, images):
    # One image at a time: the hidden layers of all would fill the memory.
    def predict_one(image):
        features = pixel_features(image[None], windows)[0]
        return jnp.argmax(classifier.apply({'params': params}, features, *statistics), axis=-1)

    return jax.lax.map(predict_one, images)


@functools.partial(jax.jit, static_argnums=0)
def _features_at(windows, images, places):
    """The features [N * P, F] of the pixels at places [N, P] of the flat images."""

    def features_of_one(arguments):
        image, place = arguments
        features = pixel_features(image[None], windows)
        return features.reshape(-1, features.shape[-1])[place]

    features = jax.lax.map(features_of_one, (images, places))
    return features.reshape(-1, features.shape[-1])


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
