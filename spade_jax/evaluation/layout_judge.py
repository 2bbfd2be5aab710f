"""Do generated pictures follow their label maps? A small per-pixel classifier, the judge, is fitted on real pictures and asked about generated ones.

The published measure runs a segmentation network that was trained for the data set at hand (Park et al. 2019, section 4). The judge is the
measure for where there is none: it is fitted in seconds and knows colour and texture, not shapes.

It sees a pixel's colour, and the mean and the deviation of the colours around it, but never where in the picture the pixel lies: a judge that knew
that the sky is above would find a sky in any picture, and flatter the generator.

    judge = fit_judge(train_images, train_labels, num_classes=13)
    print(layout_agreement(judge, real_images, generated_images, labels).ratio)
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
_SMALLEST_DEVIATION = (
    1e-3  # of a feature; one that is constant on the training pictures must not be divided by 0
)


def window_mean(values: jnp.ndarray, size: int) -> jnp.ndarray:
    """Means over square windows around every pixel.

    A window that reaches over the border is cut off there: it is the mean of the pixels that exist.

    Args:
      values: [N, H, W, C].
      size: side of the window in pixels; odd.

    Returns:
      [N, H, W, C].
    """
    for window in (
        (size, 1),
        (1, size),
    ):  # One after the other is the same, for a cut-off window is a rectangle too.
        values = nn.avg_pool(values, window, padding='SAME', count_include_pad=False)
    return values


def window_deviation(values: jnp.ndarray, size: int) -> jnp.ndarray:
    """Standard deviations over the windows of `window_mean`: [N, H, W, C] -> [N, H, W, C], at least 0."""
    variance = window_mean(values**2, size) - window_mean(values, size) ** 2
    return jnp.sqrt(jnp.maximum(variance, 0))  # Rounding may bring it below 0.


def pixel_features(images: jnp.ndarray, windows: Sequence[int] = WINDOWS) -> jnp.ndarray:
    """What the judge sees of each pixel: its colour, then the mean and deviation in windows of several sizes.

    Args:
      images: [N, H, W, 3] uint8.
      windows: sides of the windows in pixels; odd.

    Returns:
      [N, H, W, 3 + 6 * len(windows)] float32; colours and means in [-1, 1], deviations in [0, 1].
    """
    colors = jnp.asarray(images, jnp.float32) / 127.5 - 1
    surroundings = [
        statistic(colors, size) for size in windows for statistic in (window_mean, window_deviation)
    ]
    return jnp.concatenate([colors, *surroundings], axis=-1)


class PixelClassifier(nn.Module):
    """A multilayer perceptron over the features of a pixel: [..., F] float32 -> [..., num_classes] logits.

    feature_mean, feature_deviation: [F], of the training pixels; they bring every feature to mean 0 and deviation 1. In a collection of their own,
    so that Adam leaves them alone.
    """

    num_classes: int

    @nn.compact
    def __call__(self, features):
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
      num_classes: it tells 0 .. num_classes - 1 apart.
      windows: sides of its windows in pixels.
      variables: of its PixelClassifier.
    """

    num_classes: int
    windows: tuple[int, ...]
    variables: dict[str, Any]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The class of every pixel: [N, H, W, 3] uint8 -> [N, H, W] int32."""
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
    """Fits a judge with Adam on random pixels of real pictures. The same arguments give the same judge.

    The classes are not balanced. The judge is to name the class that is likeliest at a pixel; with balanced classes it would trade the pixels of a
    large class for those of a small one that looks alike (on the scenes: fewer of all pixels right, more of the small classes). A small class
    that it rarely recognises has a low accuracy on the real pictures too, which is what the accuracy on generated ones is held against.

    Args:
      images: [N, H, W, 3] uint8, of the size at which it will judge: its windows are in pixels.
      labels: [N, H, W] class ids.
      num_classes: number of classes.
      seed: of the choice of pixels, the first weights and the order of the batches.
      ignore: id of pixels without a class; None: every pixel has one.
      windows: sides of the windows in pixels; odd.
      pixels_per_image: pixels taken from each picture, drawn with replacement.
      steps: of Adam, 2048 pixels each.

    Raises:
      ValueError: no pixel has a class, an id is not a class, the shapes do not match, or a window is even.
    """
    _check_shapes(labels, images=images)
    known = _known(labels, ignore)
    wrong = labels[known & ((labels < 0) | (labels >= num_classes))]
    if wrong.size:
        raise ValueError(
            f'label id {wrong[0]} is not one of the {num_classes} classes 0..{num_classes - 1} and not ignore={ignore}'
        )
    if not known.any():
        raise ValueError(
            f'none of the {len(labels)} label maps has a pixel with a class (ignore={ignore}): nothing to fit a judge on'
        )
    even = [size for size in windows if size % 2 == 0]
    if even:
        raise ValueError(
            f'a window of {even[0]} pixels has no pixel in its centre; use {even[0] + 1}'
        )
    windows = tuple(windows)

    usable = np.flatnonzero(known.any(axis=(1, 2)))
    random = np.random.default_rng(seed)
    places = np.stack(
        [random.choice(np.flatnonzero(known[i]), pixels_per_image) for i in usable]
    )  # [N, P] indices into the flat picture
    classes = np.stack([labels[i].ravel()[place] for i, place in zip(usable, places)])
    features = _features_at(windows, images[usable], places)
    features = features.reshape(-1, features.shape[-1])  # [N * P, F]
    return Judge(
        num_classes,
        windows,
        _fit(
            num_classes, steps, features, classes.reshape(-1).astype(np.int32), jax.random.key(seed)
        ),
    )


def accuracy(predicted: np.ndarray, labels: np.ndarray, ignore: int | None = DONTCARE_ID) -> float:
    """The share of right pixels in [0, 1]; nan where no pixel has a class.

    Args:
      predicted, labels: class ids of one shape.
      ignore: label of the pixels that do not count; None: all do.
    """
    known = _known(labels, ignore)
    return float(np.mean(predicted[known] == labels[known])) if known.any() else float('nan')


def class_accuracies(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int, ignore: int | None = DONTCARE_ID
) -> np.ndarray:
    """The share of right pixels among those of each class: [num_classes] float64 in [0, 1], nan for a class that `labels` lacks."""
    known = _known(labels, ignore)
    found = labels[known]
    right = np.bincount(found[predicted[known] == found], minlength=num_classes)
    with np.errstate(invalid='ignore'):  # 0 / 0 is the nan.
        return right / np.bincount(found, minlength=num_classes)


class LayoutAgreement(NamedTuple):
    """How well a judge finds the label maps again in real pictures and in generated ones. Accuracies are in [0, 1].

    ratio: accuracy_on_generated / accuracy_on_real. About 1: the generated pictures show their layout as clearly as real ones do. It may exceed 1,
      for a generator likes typical colours; it says nothing of how real the pictures look.
    accuracy_on_wrong_layout: the control. Of the generated pictures against the label map of another example; what a generator would reach that
      draws some landscape, but not the one it was asked for. nan for a single example.
    mean_class_accuracy_*: means over the classes that the label maps hold.
    class_accuracy_*: [num_classes], nan for a class that they lack.
    class_share: [num_classes], of the pixels with a class.
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
    """Holds generated pictures against the label maps they were drawn from, and real ones beside them as the standard.

    Args:
      judge: fitted on other pictures than these.
      real, fake: [N, H, W, 3] uint8.
      labels: [N, H, W] class ids of both.
      ignore: label of the pixels that do not count; None: all do.

    Raises:
      ValueError: the shapes do not match, or no pixel has a class.
    """
    _check_shapes(labels, real=real, fake=fake)
    known = _known(labels, ignore)
    if not known.any():
        raise ValueError(
            f'none of the {len(labels)} label maps has a pixel with a class (ignore={ignore}): nothing to judge'
        )
    seen_in_real, seen_in_fake = judge.predict(real), judge.predict(fake)
    on_real, on_fake = (
        accuracy(seen_in_real, labels, ignore),
        accuracy(seen_in_fake, labels, ignore),
    )
    classes_of_real, classes_of_fake = (
        class_accuracies(seen, labels, judge.num_classes, ignore)
        for seen in (seen_in_real, seen_in_fake)
    )
    return LayoutAgreement(
        accuracy_on_real=on_real,
        accuracy_on_generated=on_fake,
        ratio=on_fake / on_real if on_real else float('nan'),
        accuracy_on_wrong_layout=accuracy(seen_in_fake, np.roll(labels, 1, axis=0), ignore)
        if len(labels) > 1
        else float('nan'),
        mean_class_accuracy_on_real=float(np.nanmean(classes_of_real)),
        mean_class_accuracy_on_generated=float(np.nanmean(classes_of_fake)),
        class_accuracy_on_real=classes_of_real,
        class_accuracy_on_generated=classes_of_fake,
        class_share=np.bincount(labels[known], minlength=judge.num_classes) / known.sum(),
    )


def _known(labels: np.ndarray, ignore: int | None) -> np.ndarray:
    """Where the labels are not `ignore`, bool."""
    return np.ones(labels.shape, bool) if ignore is None else labels != ignore


def _check_shapes(labels: np.ndarray, **pictures: np.ndarray) -> None:
    for name, images in pictures.items():
        if images.dtype != np.uint8:
            raise ValueError(f'{name} are {images.dtype}; give uint8 in [0, 255]')
        if images.shape != (*labels.shape, 3):
            raise ValueError(
                f'{name} of shape {images.shape} do not fit labels of shape {labels.shape}; give [N, H, W, 3] and [N, H, W]'
            )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _predict(num_classes, windows, variables, images):
    def judge_one(
        image,
    ):  # One picture at a time: the hidden layer of all of them would fill the memory.
        logits = PixelClassifier(num_classes).apply(
            variables, pixel_features(image[None], windows)[0]
        )
        return jnp.argmax(logits, axis=-1)

    return jax.lax.map(judge_one, images)


@functools.partial(jax.jit, static_argnums=0)
def _features_at(windows, images, places):
    """The features [N, P, F] of the pixels at places [N, P] of the flat pictures."""

    def read_one(arguments):
        image, place = arguments
        features = pixel_features(image[None], windows)[0]
        return features.reshape(-1, features.shape[-1])[place]

    return jax.lax.map(read_one, (images, places))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fit(num_classes, steps, features, classes, key):
    """The variables of a PixelClassifier that was fitted to features [M, F] and classes [M] int32."""
    classifier = PixelClassifier(num_classes)
    init_key, batch_key = jax.random.split(key)
    params = classifier.init(init_key, features[:1])['params']
    statistics = {
        'feature_mean': features.mean(axis=0),
        'feature_deviation': jnp.maximum(features.std(axis=0), _SMALLEST_DEVIATION),
    }
    adam = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, steps))

    def update(carry, step):
        params, adam_state = carry
        batch = jax.random.randint(
            jax.random.fold_in(batch_key, step), (_BATCH_SIZE,), 0, len(features)
        )

        def loss(params):
            logits = classifier.apply({'params': params, 'statistics': statistics}, features[batch])
            return optax.softmax_cross_entropy_with_integer_labels(logits, classes[batch]).mean()

        updates, adam_state = adam.update(jax.grad(loss)(params), adam_state)
        return (optax.apply_updates(params, updates), adam_state), None

    (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), jnp.arange(steps))
    return {'params': params, 'statistics': statistics}
