import numpy as np
import pytest

from spade_jax.evaluation.bootstrap import interval, interval_of_difference
from spade_jax.evaluation.comparison import PerImage


def mean_of(values):
    return PerImage(values, lambda indices: float(values[indices].mean()))


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = interval(mean_of(values))
    error = 1.96 * values.std() / np.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.04)


def test_infinite_and_undefined_scores_have_an_interval():
    values = np.array([1, 2, np.inf])  # PSNR of equal images.
    assert interval(mean_of(values[2:])) == (np.inf, np.inf)
    low, high = interval(mean_of(values))
    assert 1 <= low < 2 and high == np.inf
    assert np.isnan(interval_of_difference(mean_of(values[2:]), mean_of(values[2:]))).all()
    without_first = PerImage(values, lambda indices: 5.0 if indices.any() else np.nan)
    assert interval(without_first) == (5, 5)


def test_difference_of_pairs_has_a_narrow_interval():
    difficulty = np.random.default_rng(0).normal(5, 2, 400)
    better = difficulty - 0.1 + np.random.default_rng(1).normal(0, 0.1, 400)
    low, high = interval_of_difference(mean_of(better), mean_of(difficulty))
    assert -0.12 < low < -0.1 < high < -0.08
