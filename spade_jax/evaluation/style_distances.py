"""How much the style changes an image, and whether it is the style of the given photo."""

import itertools

import numpy as np


def mean_pairwise_distance(images: np.ndarray) -> float:
    """Mean absolute difference in gray levels, [0, 255], over all pairs of images [N, H, W, 3]."""
    if len(images) < 2:
        raise ValueError(f'{len(images)} images have no distance; give 2 or more')
    pairs = itertools.combinations(images.astype(np.float32), 2)
    return float(np.mean([np.abs(first - second).mean() for first, second in pairs]))


def color_distance(
    image: np.ndarray, labels: np.ndarray, photo: np.ndarray, photo_labels: np.ndarray
) -> float:
    """Distance between the mean colors of the classes that an image and a photo share.

    A mean over these classes in gray levels, [0, 255], weighted by the smaller of their two shares;
    nan if there is none. Images [H, W, 3] and class ids [H, W]; the photo may have another size.
    """
    distances, shares = [], []
    for class_id in np.intersect1d(labels, photo_labels):
        here, there = labels == class_id, photo_labels == class_id
        distances.append(np.abs(image[here].mean(axis=0) - photo[there].mean(axis=0)).mean())
        shares.append(min(here.mean(), there.mean()))
    return float(np.average(distances, weights=shares)) if distances else float('nan')
