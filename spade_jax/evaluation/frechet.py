"""The Frechet distance between the features of two sets of images (Heusel et al. 2017)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.errors import UserError


class Gaussian(NamedTuple):
    """A normal distribution that was fitted to features, in float64.

    Attributes:
      mean: [D].
      factor: [K, D] with covariance = factor^T factor. The centered features are such a factor,
        which keeps the distance exact where the covariance is singular.
      count: Number of images.
    """

    mean: np.ndarray
    factor: np.ndarray
    count: int


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """Fit a normal distribution to features [N, D]; the covariance has the divisor N - 1.

    Raises:
      UserError: There are fewer than two images.
    """
    count, dim = features.shape
    if count < 2:
        raise UserError(f'{count} image has no covariance', 'give two images or more on each side')
    mean = features.mean(axis=0, dtype=np.float64)
    if count > dim:
        covariance = np.zeros((dim, dim))
        for first in range(0, count, dim):  # In float64 all at once could exceed the memory.
            centered = features[first : first + dim] - mean
            covariance += centered.T @ centered
        return gaussian(mean, covariance / (count - 1), count)
    return Gaussian(mean, (features - mean) / np.sqrt(count - 1), count)


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int) -> Gaussian:
    """The normal distribution of a mean [D] and a covariance [D, D], as files of statistics have.

    Raises:
      UserError: The shapes do not fit, or the numbers are none of a normal distribution.
    """
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    if mean.ndim != 1 or covariance.shape != mean.shape * 2:
        problem = f'a mean {list(mean.shape)} and a covariance {list(covariance.shape)} do not fit'
        raise UserError(problem, 'give statistics of [D] and [D, D]')
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise UserError('the statistics are not finite', 'make them again')
    if not np.allclose(covariance, covariance.T) or (np.diag(covariance) < 0).any():
        problem = 'the covariance is not symmetric, or has a negative variance'
        raise UserError(problem, 'make the statistics again')
    variances, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    factor = np.sqrt(np.maximum(variances, 0))[:, None] * axes.T
    return Gaussian(mean, factor, count)


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2).

    With S1 = A^T A and S2 = B^T B, the last trace is the sum of the singular values of A B^T.
    """
    mean_term = np.sum(np.square(one.mean - other.mean))
    traces = np.sum(np.square(one.factor)) + np.sum(np.square(other.factor))
    singular_values = np.linalg.svd(one.factor @ other.factor.T, compute_uv=False)
    return float(mean_term + traces - 2 * singular_values.sum())
