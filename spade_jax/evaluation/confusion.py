"""Segmentation scores: mean IoU and accuracies from a confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from spade_jax.errors import UserError

# What the mean over the classes includes: the classes of the label maps; those of the label maps or
# the predictions; or all, with 0 for a class that is in neither.
IN_LABELS, IN_EITHER, ALL = 'in_labels', 'in_either', 'all'
CONVENTIONS = (IN_LABELS, IN_EITHER, ALL)


class SegmentationScores(NamedTuple):
    """Scores in [0, 1].

    Attributes:
      mean_iou: Mean over the classes of the convention.
      pixel_accuracy: Share of the labeled pixels that are right.
      pixel_accuracy_of_all: The same, with unlabeled pixels counted as wrong.
      mean_accuracy: Mean over the classes of the label maps.
      iou: [N]; nan for a class that is in neither label maps nor predictions.
    """

    mean_iou: float
    pixel_accuracy: float
    pixel_accuracy_of_all: float
    mean_accuracy: float
    iou: np.ndarray


class Counts(NamedTuple):
    """The counts of one image; sparse, for most cells of the matrix of many classes are 0.

    Attributes:
      cells: [K] int32; row * N + column.
      pixels: [K] int32, those in the cells.
      num_unlabeled: Pixels without a label.
    """

    cells: np.ndarray
    pixels: np.ndarray
    num_unlabeled: int


class Confusion:
    """Counts pixels by label (rows) and prediction (columns) over all images.

    Attributes:
      matrix: [N, N] int64, of the pixels whose label is in [0, N).
      num_unlabeled: Pixels with another label.
      images: The counts of each image.
    """

    def __init__(self, num_classes: int):
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.num_unlabeled = 0
        self.images: list[Counts] = []

    def add(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Count the pixels of label maps and predictions of one shape.

        Raises:
          UserError: The shapes differ, or a prediction is not in [0, N).
        """
        if label.shape != prediction.shape:
            sizes = f'a label map {list(label.shape)}, a prediction {list(prediction.shape)}'
            raise UserError(f'{sizes}: they differ in size', 'bring both to one size')
        num = len(self.matrix)
        labeled = (label >= 0) & (label < num)
        rows, columns = label[labeled].astype(np.int64), prediction[labeled].astype(np.int64)
        if columns.size and not (0 <= columns.min() and columns.max() < num):
            problem = f'predictions of {columns.min()} to {columns.max()} with {num} classes'
            raise UserError(problem, f'predict classes from 0 to {num - 1}')
        pixels = np.bincount(rows * num + columns, minlength=num * num).astype(np.int32)
        cells = np.flatnonzero(pixels).astype(np.int32)
        self._add_counts(Counts(cells, pixels[cells], int(label.size - labeled.sum())))

    def _add_counts(self, counts: Counts) -> None:
        self.matrix.ravel()[counts.cells] += counts.pixels
        self.num_unlabeled += counts.num_unlabeled
        self.images.append(counts)

    def of_images(self, indices: Iterable[int]) -> Confusion:
        """The counts over some of the images, which may be repeated."""
        result = Confusion(len(self.matrix))
        for index in indices:
            result._add_counts(self.images[index])
        return result

    def scores(self, convention: str = IN_LABELS) -> SegmentationScores:
        """The scores; `convention` is one of `CONVENTIONS`.

        Raises:
          UserError: No pixel is labeled.
        """
        if not (total := self.matrix.sum()):
            raise UserError('no pixel has the label of a class', 'check the numbering of labels')
        right, rows = np.diag(self.matrix), self.matrix.sum(axis=1)
        unions = rows + self.matrix.sum(axis=0) - right
        iou = np.where(unions > 0, right / np.maximum(unions, 1), np.nan)
        means = {IN_LABELS: iou[rows > 0], IN_EITHER: iou[unions > 0], ALL: np.nan_to_num(iou)}
        return SegmentationScores(
            mean_iou=float(means[convention].mean()),
            pixel_accuracy=float(right.sum() / total),
            pixel_accuracy_of_all=float(right.sum() / (total + self.num_unlabeled)),
            mean_accuracy=float(np.mean(right[rows > 0] / rows[rows > 0])),
            iou=iou,
        )
