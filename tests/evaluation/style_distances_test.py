import math

import numpy as np
import pytest

from spade_jax.evaluation.style_distances import color_distance, mean_pairwise_distance


def plain(level):
    return np.full((2, 2, 3), level, np.uint8)


@pytest.mark.parametrize(
    'levels, distance',
    [
        ((0, 30, 60), 40),  # mean of 30, 60, 30
        ((250, 3), 247),  # bytes do not wrap
        ((7, 7), 0),
    ],
)
def test_pairwise_distance_averages_over_pairs(levels, distance):
    images = np.stack([plain(level) for level in levels])
    assert mean_pairwise_distance(images) == pytest.approx(distance)


def test_pairwise_distance_rejects_single_image():
    with pytest.raises(ValueError, match='1 images have no distance; give 2 or more'):
        mean_pairwise_distance(plain(7)[None])


def test_color_distance_compares_class_by_class():
    left, right = np.array([[0, 1], [0, 1]]), np.array([[1, 0], [1, 0]])
    image = np.where(left[..., None] == 0, 100, 200).astype(np.uint8).repeat(3, -1)
    mirrored = np.where(right[..., None] == 0, 100, 200).astype(np.uint8).repeat(3, -1)
    assert color_distance(image, left, mirrored, right) == 0  # other layout, same colors
    assert color_distance(image, left, mirrored + 10, right) == pytest.approx(10)


def test_color_distance_weights_class_by_smaller_share():
    labels, photo_labels = np.array([[0, 0, 0, 1]]), np.array([[0, 1, 1, 1]])
    image, photo = np.zeros((1, 4, 3), np.uint8), np.zeros((1, 4, 3), np.uint8)
    photo[photo_labels == 1] = 80
    # Both classes have the weight 1/4.
    assert color_distance(image, labels, photo, photo_labels) == pytest.approx(40)


def test_color_distance_without_shared_class_is_nan():
    image, labels = np.zeros((1, 4, 3), np.uint8), np.zeros((1, 4), int)
    assert math.isnan(color_distance(image, labels, image, labels + 2))
