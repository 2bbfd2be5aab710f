import math

import numpy as np
import pytest

from spade_jax.evaluation.style_distances import color_distance, mean_pairwise_distance


def plain(level, size=(2, 2)):
    return np.full((*size, 3), level, np.uint8)


def test_pairwise_distance_counts_every_pair_once():
    assert mean_pairwise_distance(np.stack([plain(0), plain(30), plain(60)])) == pytest.approx(
        40
    )  # 30, 60, 30
    assert mean_pairwise_distance(np.stack([plain(250), plain(3)])) == pytest.approx(
        247
    )  # bytes do not wrap
    assert mean_pairwise_distance(np.stack([plain(7), plain(7)])) == 0
    with pytest.raises(ValueError, match='1 pictures'):
        mean_pairwise_distance(plain(7)[None])


def test_colours_are_compared_class_by_class():
    left, right = np.array([[0, 1], [0, 1]]), np.array([[1, 0], [1, 0]])
    picture = np.where(left[..., None] == 0, 100, 200).astype(np.uint8).repeat(3, -1)
    mirrored = np.where(right[..., None] == 0, 100, 200).astype(np.uint8).repeat(3, -1)
    assert color_distance(picture, left, mirrored, right) == 0  # another layout, the same colours
    assert color_distance(picture, left, mirrored + 10, right) == pytest.approx(10)


def test_a_class_counts_by_what_both_have_of_it():
    labels, photo_labels = np.array([[0, 0, 0, 1]]), np.array([[0, 1, 1, 1]])
    picture, photo = np.zeros((1, 4, 3), np.uint8), np.zeros((1, 4, 3), np.uint8)
    photo[photo_labels == 1] = 80
    assert color_distance(picture, labels, photo, photo_labels) == pytest.approx(
        40
    )  # both classes with a quarter
    assert math.isnan(color_distance(picture, labels, photo, np.full((1, 4), 2)))
