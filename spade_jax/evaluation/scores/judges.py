"""Do the images follow their label maps? A judge that was fitted to the training set decides.

The judge predicts label maps from the images. Beside each score are its ceiling, the score of the
real images, and its floor, that of the images with the label maps of others: what is right by
chance, or because most images have it in the same place. Scores compare with each other only if
the training set and the judge are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from spade_jax.errors import UserError
from spade_jax.evaluation.comparison import Comparison, Result
from spade_jax.evaluation.confusion import Confusion
from spade_jax.evaluation.image_sets import ImageSet, LabelSet, pairs_of
from spade_jax.evaluation.layout_judge import fit_judge
from spade_jax.evaluation.unet_judge import Training, fit_unet

LAYOUT_TRAINING_IMAGES = 512
_MEASURES = ('mean_iou', 'pixel_accuracy', 'mean_accuracy')


class Judge(Protocol):
    """Predicts the class of each pixel."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """[N, H, W, 3] uint8 -> ids [N, H, W]."""
        ...


class Verdict(NamedTuple):
    """Predictions for images, compared with their label maps and with those of other images."""

    right: Confusion
    shuffled: Confusion


def judge_images(
    judge: Judge, images: ImageSet, labels: LabelSet, pairs: Sequence[tuple[int, int]]
) -> Verdict:
    """Judge images one at a time; `pairs` are indices of an image and its label map.

    The other label map is that half the set away, as neighbors may be frames of one video.

    Raises:
      UserError: An image has another size than a label map.
    """
    verdict = Verdict(Confusion(labels.num_classes), Confusion(labels.num_classes))
    progress = tqdm(pairs, f'judging the {images.flag}', unit='image', dynamic_ncols=True)
    for place, (index, partner) in enumerate(progress):
        _, other = pairs[(place + len(pairs) // 2) % len(pairs)]
        prediction = judge.predict(images.read(index)[None])[0]
        try:
            verdict.right.add(labels.read(partner), prediction)
            verdict.shuffled.add(labels.read(other), prediction)
        except UserError as error:
            raise error.at(images.location(index)) from error
    return verdict


def layout_accuracy(comparison: Comparison) -> Result:
    """Pixel accuracy of the layout judge, which is fitted to at most 512 images."""

    def fit(photos: ImageSet, labels: LabelSet) -> Judge:
        count = min(len(photos), LAYOUT_TRAINING_IMAGES)
        chosen = [number * len(photos) // count for number in range(count)]
        progress = tqdm(chosen, 'fitting the layout judge', unit='image', dynamic_ncols=True)
        examples = ((photos.read(index), labels.read(index)) for index in progress)
        return fit_judge(examples, labels.num_classes)

    choices = {'judge': 'pixels', 'most_training_images': LAYOUT_TRAINING_IMAGES}
    return _judged(comparison, fit, 'pixel_accuracy', choices)


def unet_mean_iou(comparison: Comparison) -> Result:
    """Mean IoU of a U-Net that is trained on the training set."""
    training = Training()

    def fit(photos: ImageSet, labels: LabelSet) -> Judge:
        return fit_unet(
            lambda index: (photos.read(index), labels.read(index)),
            len(photos),
            labels.num_classes,
            fingerprint=photos.fingerprint(),
            cache_dir=comparison.config.feature_cache_dir,
            training=training,
        )

    return _judged(comparison, fit, 'mean_iou', {'judge': 'unet'} | dataclasses.asdict(training))


def _judged(
    comparison: Comparison,
    fit: Callable[[ImageSet, LabelSet], Judge],
    measure: str,
    choices: dict[str, Any],
) -> Result:
    """The result by one of `_MEASURES`; everything is checked before the judge is fitted."""
    training_photos, training_labels = comparison.training
    labels, sides = comparison.labels, (comparison.images, comparison.photos)
    pairs = [pairs_of(side, labels, 'label map') for side in sides]
    if len(pairs[0]) < 2:
        raise UserError('a judge needs the label maps of 2 images, and there is 1', 'give more')
    judge = fit(training_photos, training_labels)
    verdict, of_photos = (
        judge_images(judge, side, labels, of_side)
        for side, of_side in zip(sides, pairs, strict=True)
    )
    convention = comparison.config.iou_mean
    generated, real, shuffled = (
        confusion.scores(convention)._asdict()
        for confusion in (verdict.right, of_photos.right, verdict.shuffled)
    )
    value, ceiling = generated[measure], real[measure]
    protocol = {'real_images': ceiling, 'ratio': value / ceiling if ceiling else None}
    protocol['shuffled_label_maps'] = shuffled[measure]
    for other in _MEASURES:
        if other != measure:
            protocol |= {other: generated[other], f'{other}_of_real_images': real[other]}
    protocol |= {'mean_over': convention, 'images': len(pairs[0]), 'photos': len(pairs[1])}
    protocol |= {'training_images': len(training_photos)}
    protocol |= {'training_set': training_photos.fingerprint()}
    return Result(value, None, protocol | choices)
