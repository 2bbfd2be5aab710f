"""Do fake images follow their label maps? A per-pixel classifier, fitted to real images, decides.

The published measure runs a segmentation network that was trained on the data set (Park et al.
2019, section 4). The judge is a substitute where there is none: it is fitted in seconds and knows
color and texture, but no shapes.

It sees the color of a pixel, and mean and deviation of the colors around it, but not the position:
a judge that knew that the sky is above would find a sky in any image, and flatter the generator.

    judge = fit_judge(train_images, train_labels, num_classes=13)
    print(layout_agreement(judge, real_images, fake_images, labels).ratio)
"""

from __future__ import annotations

import dataclasses
import functools
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


def window_mean(values: jax.Array, size: int) -> jax.Array:
    """Means over square windows around each pixel, cut off at the border.

    Args:
      values: [N, H, W, C].
      size: Side of the window in pixels; odd.

    Returns:
      [N, H, W, C].
    """
    # Windows are rectangles even where they are cut off, so they are separable.
    for window in ((size, 1), (1, size)):
        values = nn.avg_pool(values, window, padding='SAME', count_include_pad=False)
    return values


def window_deviation(values: jax.Array, size: int) -> jax.Array:
    """Standard deviations over the windows of `window_mean`: [N, H, W, C] -> [N, H, W, C]."""
    variance = window_mean(values**2, size) - window_mean(values, size) ** 2
    return jnp.sqrt(jnp.maximum(variance, 0))  # Rounding can make it negative.


def pixel_features(images: jax.Array | np.ndarray, windows: Sequence[int] = WINDOWS) -> jax.Array:
    """The features of each pixel: its color, then mean and deviation in windows of several sizes.

    Args:
      images: [N, H, W, 3] uint8.
      windows: Sides of the windows in pixels; odd.

    Returns:
      [N, H, W, 3 + 6 * len(windows)] float32; colors and means in [-1, 1], deviations in [0, 1].
    """
    colors = jnp.asarray(images, jnp.float32) / 127.5 - 1
    features = [colors]
    for size in windows:
        features += [window_mean(colors, size), window_deviation(colors, size)]
    return jnp.concatenate(features, axis=-1)


class PixelClassifier(nn.Module):
    """A multilayer perceptron on the features of a pixel: [..., F] -> [..., num_classes] logits.

    The collection 'statistics' holds mean and deviation of each feature, [F], for normalization;
    Adam does not train it.

    Attributes:
      num_classes: Number of classes.
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Classify."""
        size = features.shape[-1:]
        mean = self.variable('statistics', 'feature_mean', jnp.zeros, size)
        deviation = self.variable('statistics', 'feature_deviation', jnp.ones, size)
        x = (features - mean.value) / deviation.value
        for i, units in enumerate(_HIDDEN_UNITS):
            x = nn.relu(nn.Dense(units, name=f'hidden_{i}')(x))
        return nn.Dense(self.num_classes, name='logits')(x)


@dataclasses.dataclass(frozen=True)
class Judge:
    """A fitted judge.

    Attributes:
      num_classes: It predicts the classes 0 .. num_classes - 1.
      windows: Sides of its windows in pixels.
      variables: Variables of its PixelClassifier.
    """

    num_classes: int
    windows: tuple[int, ...]
    variables: dict[str, Any]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class of each pixel: [N, H, W, 3] uint8 -> [N, H, W] int32."""
        return np.asarray(_predict(self.num_classes, self.windows, self.variables, images))


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
    A small class that it rarely recognizes also has a low accuracy on real images, with which the
    accuracy on fake images is compared.

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
      ValueError: No pixel has a class, an id is not a class, the shapes do not match, or a window
        is even.
    """
    _check_shapes(labels, images=images)
    known = _known(labels, ignore)
    _check_labels(labels, known, num_classes, ignore)
    for size in windows:
        if size % 2 == 0:
            raise ValueError(f'a window of {size} pixels has no center pixel; use {size + 1}')

    usable = np.flatnonzero(known.any(axis=(1, 2)))
    rng = np.random.default_rng(seed)
    places = [rng.choice(np.flatnonzero(known[i]), pixels_per_image) for i in usable]
    places = np.stack(places)  # [N, P] indices into the flat images
    classes = np.take_along_axis(labels[usable].reshape(len(usable), -1), places, axis=1)
    features = _features_at(tuple(windows), images[usable], places)
    features = features.reshape(-1, features.shape[-1])  # [N * P, F]
    classes = classes.reshape(-1).astype(np.int32)  # [N * P]
    variables = _fit(num_classes, steps, features, classes, jax.random.key(seed))
    return Judge(num_classes, tuple(windows), variables)


def accuracy(predicted: np.ndarray, labels: np.ndarray, ignore: int | None = DONTCARE_ID) -> float:
    """The share of correct pixels in [0, 1]; nan if no pixel has a class.

    Args:
      predicted: Class ids.
      labels: Class ids of the same shape.
      ignore: Label of the pixels that do not count; None: all count.
    """
    known = _known(labels, ignore)
    return float(np.mean(predicted[known] == labels[known])) if known.any() else float('nan')


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
    """How well a judge recovers the label maps from real and from fake images.

    Accuracies are in [0, 1]; those of a class have shape [num_classes] and are nan if it is absent.

    Attributes:
      accuracy_on_real, accuracy_on_generated: Share of correct pixels of real and fake images.
      ratio: accuracy_on_generated / accuracy_on_real. About 1 if the fake images show their layout
        as clearly as the real ones. It can exceed 1, since a generator prefers typical colors; it
        does not measure realism.
      accuracy_on_wrong_layout: The control: fake images against the label map of another example,
        as for a generator that ignores its input. nan for a single example.
      mean_class_accuracy_on_real, mean_class_accuracy_on_generated: Means over the classes that the
        label maps have.
      class_accuracy_on_real, class_accuracy_on_generated: By class.
      class_share: Share of each class in the pixels that have one.
    """

    accuracy_on_real: float
    accuracy_on_generated: float
    ratio: float
    accuracy_on_wrong_layout: float
    mean_class_accuracy_on_real: float
    mean_class_accuracy_on_generated: float
    class_accuracy_on_real: np.ndarray
    class_accuracy_on_generated: np.ndarray
    class_share: np.ndarray


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
      ValueError: The shapes do not match, or no pixel has a class.
    """
    _check_shapes(labels, real=real, fake=fake)
    known = _known(labels, ignore)
    if not known.any():
        raise ValueError(_no_classes(labels, ignore, 'nothing to judge'))
    num_classes = judge.num_classes
    in_real, in_fake = judge.predict(real), judge.predict(fake)
    on_real, on_fake = accuracy(in_real, labels, ignore), accuracy(in_fake, labels, ignore)
    by_class_on_real = class_accuracies(in_real, labels, num_classes, ignore)
    by_class_on_fake = class_accuracies(in_fake, labels, num_classes, ignore)
    on_wrong_layout = float('nan')
    if len(labels) > 1:
        on_wrong_layout = accuracy(in_fake, np.roll(labels, 1, axis=0), ignore)
    return LayoutAgreement(
        accuracy_on_real=on_real,
        accuracy_on_generated=on_fake,
        ratio=on_fake / on_real if on_real else float('nan'),
        accuracy_on_wrong_layout=on_wrong_layout,
        mean_class_accuracy_on_real=float(np.nanmean(by_class_on_real)),
        mean_class_accuracy_on_generated=float(np.nanmean(by_class_on_fake)),
        class_accuracy_on_real=by_class_on_real,
        class_accuracy_on_generated=by_class_on_fake,
        class_share=np.bincount(labels[known], minlength=num_classes) / known.sum(),
    )


def _known(labels: np.ndarray, ignore: int | None) -> np.ndarray:
    """Where the labels are not `ignore`, bool."""
    return np.ones(labels.shape, bool) if ignore is None else labels != ignore


def _check_labels(labels: np.ndarray, known: np.ndarray, num_classes: int, ignore: int | None):
    wrong = labels[known & ((labels < 0) | (labels >= num_classes))]
    if wrong.size:
        raise ValueError(
            f'label id {wrong[0]} is not one of the {num_classes} classes 0..{num_classes - 1} '
            f'and not ignore={ignore}'
        )
    if not known.any():
        raise ValueError(_no_classes(labels, ignore, 'nothing to fit a judge to'))


def _no_classes(labels: np.ndarray, ignore: int | None, consequence: str) -> str:
    without = f'none of the {len(labels)} label maps has a pixel with a class (ignore={ignore})'
    return f'{without}: {consequence}'


def _check_shapes(labels: np.ndarray, **arrays: np.ndarray) -> None:
    for name, images in arrays.items():
        if images.dtype != np.uint8:
            raise ValueError(f'{name} are {images.dtype}; give uint8 in [0, 255]')
        if images.shape != (*labels.shape, 3):
            raise ValueError(
                f'{name} of shape {images.shape} do not fit labels of shape {labels.shape}; '
                'give [N, H, W, 3] and [N, H, W]'
            )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(num_classes, windows, variables, images):
    # One image at a time: the hidden layers of all would fill the memory.
    def predict_one(image):
        features = pixel_features(image[None], windows)[0]
        logits: Any = PixelClassifier(num_classes).apply(variables, features)
        return jnp.argmax(logits, axis=-1)

    return jax.lax.map(predict_one, images)


@functools.partial(jax.jit, static_argnums=0)
def _features_at(windows, images, places):
    """The features [N, P, F] of the pixels at places [N, P] of the flat images."""

    def features_of_one(arguments):
        image, place = arguments
        features = pixel_features(image[None], windows)[0]
        return features.reshape(-1, features.shape[-1])[place]

    return jax.lax.map(features_of_one, (images, places))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fit(num_classes, steps, features, classes, key):
    """Fit a PixelClassifier to features [M, F] and classes [M] int32; return its variables."""
    classifier = PixelClassifier(num_classes)
    init_key, batch_key = jax.random.split(key)
    params = classifier.init(init_key, features[:1])['params']
    deviation = jnp.maximum(features.std(axis=0), _MIN_DEVIATION)
    statistics = {'feature_mean': features.mean(axis=0), 'feature_deviation': deviation}
    adam = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))

    def update(carry, step):
        params, adam_state = carry
        step_key = jax.random.fold_in(batch_key, step)
        batch = jax.random.randint(step_key, (_BATCH_SIZE,), 0, len(features))

        def loss(params):
            variables = {'params': params, 'statistics': statistics}
            logits: Any = classifier.apply(variables, features[batch])
            return optax.softmax_cross_entropy_with_integer_labels(logits, classes[batch]).mean()

        updates, adam_state = adam.update(jax.grad(loss)(params), adam_state)
        return (optax.apply_updates(params, updates), adam_state), None

    (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), jnp.arange(steps))
    return {'params': params, 'statistics': statistics}
