"""The segmentation networks by name, and the label maps that each is compared with."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from spade_jax.errors import UserError
from spade_jax.evaluation.networks.deeplab import Deeplab
from spade_jax.evaluation.networks.drn import UNLABELED, Drn, classes_of
from spade_jax.evaluation.networks.upernet import Upernet

_UNKNOWN = 255  # In label maps of COCO-Stuff, and of Cityscapes in some copies.
_CITYSCAPES_FILES = 'files *_gtFine_labelIds.png'


Segmenter = Drn | Upernet | Deeplab


class SegmentationNetwork(NamedTuple):
    """A row of the table of networks.

    Attributes:
      data_set: Whose classes it predicts.
      load: Reads its files.
      classes: Label ids [H, W] as in the files of the data set -> classes, and other numbers where
        a pixel has none. Raises UserError for ids of another numbering.
      num_files: Of the published weights.
    """

    data_set: str
    load: Callable[..., Segmenter]
    classes: Callable[[np.ndarray], np.ndarray]
    num_files: int = 1


def cityscapes_classes(ids: np.ndarray) -> np.ndarray:
    """The classes of the benchmark (trainIds) of labelIds, 0 to 33."""
    _check(ids, 33, 'Cityscapes', _CITYSCAPES_FILES)
    classes = classes_of(ids)
    other = ids[(classes == UNLABELED) & (ids >= 0) & (ids != _UNKNOWN)]
    # Vegetation, sky and cars have more than 18. Most pixels of trainIds have no class here.
    if other.size > ids.size / 2 and other.any() and not np.isin(ids, range(19, 34)).any():
        problem = f'the id {other.max()} without any of 19 to 33 looks like trainIds'
        raise UserError(problem, f'give the {_CITYSCAPES_FILES}')
    return classes.astype(np.int64)


def ade20k_classes(ids: np.ndarray) -> np.ndarray:
    """0 is unknown, and 1 to 150 are the classes."""
    _check(ids, 150, 'ADEChallengeData2016', 'annotations as downloaded', unknown=())
    return ids.astype(np.int64) - 1


def coco_stuff_classes(ids: np.ndarray) -> np.ndarray:
    """The ids (0 to 181) are the classes."""
    _check(ids, 181, 'COCO-Stuff', 'stuffthingmaps as downloaded')
    return ids.astype(np.int64)


def _check(
    ids: np.ndarray, last: int, numbering: str, files: str, unknown: Sequence[int] = (-1, _UNKNOWN)
) -> None:
    if (other := ids[((ids < 0) | (ids > last)) & ~np.isin(ids, unknown)]).size:
        problem = f'the id {other[0]} is not among those of {numbering}, 0 to {last}'
        raise UserError(problem, f'give the {files}')


NETWORKS = {
    'drn_d_105': SegmentationNetwork('cityscapes', Drn, cityscapes_classes),
    'upernet101': SegmentationNetwork('ade20k', Upernet, ade20k_classes, 2),
    'upernet101_old': SegmentationNetwork(
        'ade20k', functools.partial(Upernet, old=True), ade20k_classes, 2
    ),
    'deeplab_v2': SegmentationNetwork('coco_stuff', Deeplab, coco_stuff_classes),
}


def load_segmenter(name: str, weights: str) -> Segmenter:
    """The network `name` of `NETWORKS` with its files of weights, which commas separate.

    Raises:
      UserError: A file is missing, or is of another network.
    """
    row = NETWORKS[name]
    paths = [path.strip() for path in weights.split(',')] if weights else [''] * row.num_files
    if len(paths) != row.num_files:
        problem = f'segmentation_weights={weights}: {len(paths)} instead of {row.num_files}'
        raise UserError(problem, f'give the files of {name} that docs/evaluation.md names')
    return row.load(*paths)
