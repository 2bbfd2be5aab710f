"""Does a segmentation network find the label maps in the images?"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from spade_jax.errors import UserError
from spade_jax.evaluation.comparison import Comparison, PerImage, Result
from spade_jax.evaluation.confusion import IN_LABELS, Confusion
from spade_jax.evaluation.image_sets import LabelSet, pairs_of
from spade_jax.evaluation.segmentation_protocols import (
    IMAGE_SIZE,
    IMAGE_SIZE_PYTORCH,
    LABEL_SIZE,
    SEVERAL,
    Choices,
    mean_without_network,
    resolve,
)
from spade_jax.evaluation.segmenters import NETWORKS
from spade_jax.layers.resampling import resize_nearest


def mean_iou(comparison: Comparison) -> Result:
    """Mean IoU of label maps that a network predicts from the images, or another program did."""
    count = _of_network if _has_network(comparison) else _of_files
    confusion, mean_over, protocol = count(comparison)
    scores = confusion.scores(mean_over)
    protocol |= {'classes': len(confusion.matrix), 'pixel_accuracy': scores.pixel_accuracy}
    protocol |= {'pixel_accuracy_with_unlabeled_as_wrong': scores.pixel_accuracy_of_all}
    protocol |= {'mean_accuracy': scores.mean_accuracy}
    per_image = per_image_of(confusion, mean_over) if _has_network(comparison) else None
    return Result(scores.mean_iou, None, protocol, per_image)


def per_image_of(confusion: Confusion, mean_over: str, measure: str = 'mean_iou') -> PerImage:
    """A measure by image, over the classes of its label map; nan if no pixel has one."""

    def of_images(indices: Iterable[int], mean_over: str) -> float:
        chosen = confusion.of_images(indices)
        return getattr(chosen.scores(mean_over), measure) if chosen.matrix.any() else np.nan

    values = [of_images([i], IN_LABELS) for i in range(len(confusion.images))]
    return PerImage(np.array(values), functools.partial(of_images, mean_over=mean_over))


def prepare(comparison: Comparison) -> None:
    """Load the network; raises UserError if label maps are missing or of another numbering."""
    labels = comparison.labels
    if _has_network(comparison):
        _ = _classes(comparison, labels, 0), comparison.segmenter
    else:
        _ = comparison.predictions


def _has_network(comparison: Comparison) -> bool:
    return comparison.config.segmentation_network != 'none'


def _of_files(comparison: Comparison) -> tuple[Confusion, str, dict[str, Any]]:
    """The counts over predicted label maps; the convention of the mean, and the protocol."""
    labels, predictions = comparison.labels, comparison.predictions
    if not labels.num_classes:
        raise UserError('--iou_classes is missing', 'give the number of classes of the label maps')
    confusion = Confusion(labels.num_classes)
    for index, partner in pairs_of(predictions, labels, 'label map'):
        label, prediction = labels.read(partner), predictions.read_ids(index)
        try:
            confusion.add(label.astype(np.int64), prediction)
        except UserError as error:
            raise error.at(predictions.location(index)) from error
    mean_over = mean_without_network(comparison.config.iou_mean)
    return confusion, mean_over, {'label_maps': len(predictions), 'mean_over': mean_over}


def _of_network(comparison: Comparison) -> tuple[Confusion, str, dict[str, Any]]:
    """The same over label maps that a network predicts."""
    config, images, labels = comparison.config, comparison.images, comparison.labels
    row = NETWORKS[config.segmentation_network]
    network = comparison.segmenter
    given = Choices(
        config.segmentation_input,
        config.segmentation_compare,
        config.segmentation_scales,
        config.iou_mean,
    )
    choices, described = resolve(given, config.protocol, row.data_set)
    confusion = Confusion(network.num_classes)
    pairs = pairs_of(images, labels, 'label map')
    for index, partner in tqdm(pairs, unit='image', desc='segmentation', dynamic_ncols=True):
        image = images.read(index)
        classes = _classes(comparison, labels, partner)
        image, classes = _at_sizes(image, classes, choices)
        several = choices.scales == SEVERAL
        confusion.add(classes, network.predict(image, classes.shape, several))
    return confusion, choices.mean_over, network.protocol() | described | {'images': len(images)}


def _classes(comparison: Comparison, labels: LabelSet, index: int) -> np.ndarray:
    """The classes [H, W] of a label map as the network numbers them."""
    row = NETWORKS[comparison.config.segmentation_network]
    try:
        return row.classes(labels.read_file(index))
    except UserError as error:
        raise error.at(labels.location(index)) from error


def _at_sizes(
    image: np.ndarray, classes: np.ndarray, choices: Choices
) -> tuple[np.ndarray, np.ndarray]:
    """The input of the network, and the classes [H, W] at the size where labels are compared."""
    height, width = image.shape[:2]
    if choices.input == LABEL_SIZE:
        size = classes.shape[1], classes.shape[0]
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    if choices.compare == IMAGE_SIZE:
        ids = Image.fromarray(classes.astype(np.int32))
        classes = np.asarray(ids.resize((width, height), Image.Resampling.NEAREST))
    elif choices.compare == IMAGE_SIZE_PYTORCH:
        ids = jnp.asarray(classes[None, ..., None], jnp.int32)
        classes = np.asarray(resize_nearest(ids, height, width))[0, ..., 0]
    return image, classes
