"""Does a segmentation network find the label maps in the images?"""

from __future__ import annotations

import numpy as np

from spade_jax.errors import UserError
from spade_jax.evaluation.comparison import Comparison, Result
from spade_jax.evaluation.confusion import Confusion
from spade_jax.evaluation.image_sets import pairs_of


def mean_iou(comparison: Comparison) -> Result:
    """Mean IoU of label maps that a segmentation network predicted from the images."""
    config, labels = comparison.config, comparison.labels
    predictions, num_classes = comparison.predictions, labels.num_classes
    if not num_classes:
        raise UserError('--iou_classes is missing', 'give the number of classes of the label maps')
    confusion = Confusion(num_classes)
    for index, partner in pairs_of(predictions, labels, 'label map'):
        label, prediction = labels.read(partner), predictions.read_ids(index)
        try:
            confusion.add(label.astype(np.int64), prediction)
        except UserError as error:
            raise error.at(predictions.location(index)) from error
    scores = confusion.scores(config.iou_mean)
    protocol = {'label_maps': len(predictions), 'classes': num_classes}
    protocol |= {'mean_over': config.iou_mean, 'pixel_accuracy': scores.pixel_accuracy}
    protocol |= {'pixel_accuracy_with_unlabeled_as_wrong': scores.pixel_accuracy_of_all}
    return Result(scores.mean_iou, None, protocol | {'mean_accuracy': scores.mean_accuracy})
