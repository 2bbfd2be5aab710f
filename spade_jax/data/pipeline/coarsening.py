"""Coarsen label maps: their outlines become those that a hand would paint.

The image keeps its detail, so a generator learns to invent the silhouettes and small parts that a
painted label map lacks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

# Ranges of the random amounts: lengths as shares of the map's shorter side, areas of its area.
_BLUR = (0.012, 0.08)  # Standard deviation of the blur.
_SMALL_AREA = (0.0005, 0.02)  # Components below it are dropped.
_DROPPING, _STRAIGHTENING = 0.5, 0.35  # Shares of the coarsened maps.
_STRAIGHT_LENGTH = 3.0  # Spacing of the corners of straight outlines, in deviations of the blur.
_BOX_FILTERS = 3  # So many in a row are close to a Gaussian, at a cost that its width leaves alone.


def coarsened(label: np.ndarray, share: float, numbers: Sequence[float]) -> np.ndarray:
    """Coarsen a share of the label maps.

    Small components are dropped in some maps. Then the mask of each class is blurred, and a pixel
    takes the class with the largest value; in some maps, the values are interpolated between a few
    points, which makes the outlines straight.

    Args:
      label: [H, W] class ids of any integer dtype.
      share: Share of the label maps that are coarsened, in [0, 1].
      numbers: Five random numbers in [0, 1), which decide: whether it is coarsened, the blur,
        whether components are dropped, whether outlines are straightened, the smallest area.

    Returns:
      [H, W] ids that occur in `label`, of its dtype; `label` itself if it is not coarsened.
    """
    chosen, blur, dropping, straightening, area = numbers
    if chosen >= share:
        return label
    if dropping < _DROPPING:
        label = _without_small_components(label, _between(_SMALL_AREA, area) * label.size)
    deviation = _between(_BLUR, blur) * min(label.shape)
    ids = np.unique(label)
    masks = np.stack([_blurred(label == number, deviation) for number in ids])  # [C, H, W]
    if straightening < _STRAIGHTENING:
        masks = _interpolated(masks, _STRAIGHT_LENGTH * deviation)
    return ids[masks.argmax(axis=0)]


def _between(limits: tuple[float, float], amount: float) -> float:
    """The number at `amount` in [0, 1] between two limits, on a logarithmic scale."""
    low, high = limits
    return low * (high / low) ** amount


def _blurred(mask: np.ndarray, deviation: float) -> np.ndarray:
    """A mask blurred by about a Gaussian of a standard deviation in pixels, float32."""
    # The variance of a box of an odd width is (width**2 - 1) / 12.
    width = 2 * round((np.sqrt(12 / _BOX_FILTERS * deviation**2 + 1) - 1) / 2) + 1
    values = mask.astype(np.float32)
    for _ in range(_BOX_FILTERS):
        values = ndimage.uniform_filter(values, width, mode='nearest')
    return values


def _without_small_components(label: np.ndarray, area: float) -> np.ndarray:
    """Pixels of connected parts below an area in pixels take the nearest id of a larger part."""
    small = np.zeros(label.shape, bool)
    for number in np.unique(label):
        labeled: Any = ndimage.label(label == number)
        components = labeled[0]  # [H, W], 0 for all other ids.
        is_small = np.bincount(components.ravel()) < area
        is_small[0] = False
        small |= is_small[components]
    if small.all() or not small.any():
        return label
    rows_and_columns: Any = ndimage.distance_transform_edt(
        small, return_distances=False, return_indices=True
    )
    return label[tuple(rows_and_columns)]


def _interpolated(masks: np.ndarray, spacing: float) -> np.ndarray:
    """Bilinear interpolation of masks [C, H, W] between points about `spacing` pixels apart."""
    for axis in (1, 2):
        size = masks.shape[axis]
        count = max(round((size - 1) / spacing), 1)  # Intervals.
        corners = masks.take(np.linspace(0, size - 1, count + 1).round().astype(int), axis)
        place = np.linspace(0, count, size, dtype=np.float32)
        low = np.minimum(place.astype(int), count - 1)
        start, end = corners.take(low, axis), corners.take(low + 1, axis)
        masks = start + np.expand_dims(place - low, 2 - axis).astype(np.float32) * (end - start)
    return masks
