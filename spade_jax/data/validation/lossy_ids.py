"""Recognize label maps that lossy compression went through, which leaves stray ids at borders.

A JPEG file of two classes, saved again as PNG, has the ids 0 and 255, and a few single pixels each
of 1, 2, 3, 253, 254 and others. Rare classes have areas instead.
"""

from collections.abc import Mapping

import numpy as np

_LEAST_SHARE, _LEAST_OF_ALL = 0.02, 0.85  # Of the pixels: of a class, and of all classes.
_LEAST_STRAY = 8  # Ids.
_LEAST_SINGLE = 0.5  # Share of the stray pixels that have no neighbor of their id.


def has_stray_ids(label: np.ndarray, pixels: Mapping[int, int]) -> bool:
    """Return whether a label map [H, W] has many ids whose pixels are mostly single ones.

    `pixels` is the number of pixels by id, which rules out most label maps.
    """
    rare = {value: count for value, count in pixels.items() if count < _LEAST_SHARE * label.size}
    if len(rare) < _LEAST_STRAY or sum(rare.values()) > (1 - _LEAST_OF_ALL) * label.size:
        return False
    stray = np.isin(label, [*rare])
    has_neighbor = np.zeros(label.shape, bool)
    for ids, found in ((label, has_neighbor), (label.T, has_neighbor.T)):
        equal = ids[1:] == ids[:-1]
        found[1:] |= equal
        found[:-1] |= equal
    return bool((~has_neighbor[stray]).mean() >= _LEAST_SINGLE)
