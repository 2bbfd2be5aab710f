"""Judges, which predict label maps from images, fitted to the training set of a run."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from spade_jax.errors import UserError
from spade_jax.evaluation.confusion import Confusion
from spade_jax.evaluation.image_sets import ImageSet, LabelSet, pairs_of
from spade_jax.evaluation.layout_judge import fit_judge
from spade_jax.evaluation.unet_judge import Training, fit_unet
from spade_jax.files.image_grid import evenly_spaced

LAYOUT_IMAGES = 512
TrainingSet = tuple[ImageSet, LabelSet]


class Judge(Protocol):
    """Predicts the class of each pixel."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """[N, H, W, 3] uint8 -> ids [N, H, W]."""
        ...


class Verdict(NamedTuple):
    """Predictions from images, compared with their own label maps and with those of others."""

    own: Confusion
    others: Confusion


class FittedJudge(NamedTuple):
    """A judge that was fitted to a training set.

    Attributes:
      of_photos: Its verdict on the real images of the label maps.
      protocol: Every choice that decides it.
    """

    judge: Judge
    of_photos: Verdict
    protocol: dict[str, Any]


def fit_layout_judge(training: TrainingSet, photos: ImageSet, labels: LabelSet) -> FittedJudge:
    """A judge of single pixels, fitted to `LAYOUT_IMAGES` or fewer."""
    images, maps = training
    chosen = evenly_spaced(range(len(images)), LAYOUT_IMAGES)
    progress = tqdm(chosen, 'fitting the layout judge', unit='image', dynamic_ncols=True)
    judge = fit_judge(((images.read(i), maps.read(i)) for i in progress), maps.num_classes)
    protocol = {'training_images': len(chosen), 'training_set': images.fingerprint()}
    return FittedJudge(judge, judge_images(judge, photos, labels), protocol)


def fit_unet_judge(
    training: TrainingSet, photos: ImageSet, labels: LabelSet, cache_dir: str
) -> FittedJudge:
    """A U-Net, trained on the whole training set, or read from the directory of trained ones."""
    (images, maps), options = training, Training()
    fingerprint = images.fingerprint()
    protocol = {'training_images': len(images), 'training_set': fingerprint}
    judge = fit_unet(
        lambda index: (images.read(index), maps.read(index)),
        len(images),
        maps.num_classes,
        fingerprint=fingerprint,
        cache_dir=cache_dir,
        training=options,
    )
    protocol |= dataclasses.asdict(options)
    return FittedJudge(judge, judge_images(judge, photos, labels), protocol)


def judge_images(judge: Judge, images: ImageSet, labels: LabelSet) -> Verdict:
    """Judge images one at a time by the label maps of the same names.

    The other label map is that half the set away, as neighbors may be frames of one video.

    Raises:
      UserError: An image has no label map, or another size, or there is no other label map.
    """
    pairs = pairs_of(images, labels, 'label map')
    if len(pairs) < 2:
        raise UserError('a judge needs 2 label maps or more, and there is 1', 'give more')
    verdict = Verdict(Confusion(labels.num_classes), Confusion(labels.num_classes))
    progress = tqdm(pairs, f'judging the {images.flag}', unit='image', dynamic_ncols=True)
    for place, (index, partner) in enumerate(progress):
        _, other = pairs[(place + len(pairs) // 2) % len(pairs)]
        prediction = judge.predict(images.read(index)[None])[0]
        try:
            verdict.own.add(labels.read(partner), prediction)
            verdict.others.add(labels.read(other), prediction)
        except UserError as error:
            raise error.at(images.location(index)) from error
    return verdict
