"""Colours for label maps: how ids are shown to people."""

from __future__ import annotations

import numpy as np

from spade_jax.config import Config

UNKNOWN_COLOR = (0, 0, 0)


def default_palette(num_classes: int) -> np.ndarray:
    """`num_classes` colours [num_classes, 3] uint8 that differ from one another and from black.

    The scheme of PASCAL VOC: the bits of the number are dealt out to red, green and blue from the highest bit down, so that neighbouring ids
    lie far apart. Number 0 (black) is left out, for it shows "unknown".
    """
    numbers = np.arange(1, num_classes + 1)
    colors = np.zeros((num_classes, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            colors[:, channel] |= (numbers >> (3 * place + channel) & 1) << (7 - place)
    return colors.astype(np.uint8)


def class_colors(config: Config) -> np.ndarray:
    """The colours [num_classes, 3] uint8 of the classes of a run: their own where the data set has them."""
    if config.dataset == 'scenes':
        from spade_jax.data.builders import landscapes
        if len(landscapes.CLASSES) == config.num_classes:
            return np.array([scene_class.color for scene_class in landscapes.CLASSES], np.uint8)
    return default_palette(config.num_classes)


def colorize(label: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Label maps [..., H, W] as pictures [..., H, W, 3] uint8; an id without a colour (255, "unknown") becomes black."""
    table = np.concatenate([colors, [UNKNOWN_COLOR]]).astype(np.uint8)
    ids = np.asarray(label, np.int64)
    return table[np.where((ids >= 0) & (ids < len(colors)), ids, len(colors))]
