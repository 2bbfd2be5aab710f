"""How much the style changes a picture, and whether it is the style of the picture that it was taken from."""

from __future__ import annotations

import itertools

import numpy as np


def mean_pairwise_distance(pictures: np.ndarray) -> float:
    """Mean absolute difference, in grey levels of 255, over all pairs of pictures of one label map: how far its styles lie apart.

    Args:
      pictures: [N, H, W, 3] uint8, N at least 2.
    """
    if len(pictures) < 2:
        raise ValueError(f'{len(pictures)} pictures have no distance; give 2 or more')
    return float(
        np.mean(
            [
                np.abs(one.astype(np.float32) - other).mean()
                for one, other in itertools.combinations(pictures, 2)
            ]
        )
    )


def color_distance(
    picture: np.ndarray, labels: np.ndarray, photo: np.ndarray, photo_labels: np.ndarray
) -> float:
    """Distance between the mean colours that two pictures give to the classes they have in common, in grey levels of 255.

    The mean over these classes, each with its share in the picture that has less of it: so it compares a sky with a sky, however large the two are.

    Args:
      picture, photo: [H, W, 3] uint8, each of any size.
      labels, photo_labels: [H, W] class ids of each.

    Returns:
      The mean absolute difference of red, green and blue; nan where they have no class in common.
    """
    distances, shares = [], []
    for number in np.intersect1d(labels, photo_labels):
        one, other = labels == number, photo_labels == number
        distances.append(np.abs(picture[one].mean(axis=0) - photo[other].mean(axis=0)).mean())
        shares.append(min(one.mean(), other.mean()))
    return float(np.average(distances, weights=shares)) if distances else float('nan')
