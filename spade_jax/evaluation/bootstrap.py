"""Confidence intervals of scores over the images (Efron 1979)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.evaluation.comparison import PerImage

RESAMPLES = 1000
_PERCENTILES = (2.5, 97.5)


class Interval(NamedTuple):
    """95 % of the scores of resampled images lie in it."""

    low: float
    high: float


def interval(images: PerImage, seed: int = 0) -> Interval:
    """The interval of a score."""
    return _percentiles([images.score_of(sample) for sample in _resamples(images, seed)])


def interval_of_difference(images: PerImage, others: PerImage, seed: int = 0) -> Interval:
    """The interval of the score of `images` minus that of `others`, of the same label maps.

    The label maps are resampled for both at once, so their difficulty cancels.
    """
    samples = _resamples(images, seed)
    return _percentiles([images.score_of(i) - others.score_of(i) for i in samples])


def _resamples(images: PerImage, seed: int) -> np.ndarray:
    """Indices [RESAMPLES, N], with replacement."""
    count = len(images.values)
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def _percentiles(scores: list[float]) -> Interval:
    """Of the scores that are defined; not interpolated, as some may be infinite."""
    known = [score for score in scores if not np.isnan(score)] or [np.nan]
    return Interval(*map(float, np.percentile(known, _PERCENTILES, method='inverted_cdf')))
