"""The kernel inception distance: a maximum mean discrepancy (Binkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from spade_jax.errors import UserError


class KernelDistance(NamedTuple):
    """The distance over subsets, with the population standard deviation over them."""

    mean: float
    deviation: float


def squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased squared discrepancy of features [M, D] and [N, D]; it may be negative.

    The kernel is (x . y / D + 1)^3.

    Raises:
      UserError: A side has fewer than two images.
    """
    if min(len(x), len(y)) < 2:
        raise UserError(
            f'a kernel distance of {len(x)} and {len(y)} images is not defined',
            'give two images or more on each side',
        )

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_pairs(a: np.ndarray) -> float:
        values = kernel(a, a)
        return (values.sum() - np.trace(values)) / (len(a) * (len(a) - 1))

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return float(mean_of_pairs(x) + mean_of_pairs(y) - 2 * kernel(x, y).mean())


def kernel_distance(
    x: np.ndarray, y: np.ndarray, subsets: Iterable[tuple[np.ndarray, np.ndarray]]
) -> KernelDistance:
    """The mean discrepancy over subsets, each as indices into both sides."""
    values = [squared_discrepancy(x[rows], y[columns]) for rows, columns in subsets]
    return KernelDistance(float(np.mean(values)), float(np.std(values)))


def random_subsets(
    num_x: int, num_y: int, *, size: int = 1000, count: int = 100, seed: int = 2020
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of `count` subsets of both sides, without replacement; those of torch-fidelity.

    Raises:
      UserError: A side has fewer images than a subset.
    """
    if (fewest := min(num_x, num_y)) < size:
        problem = f'subsets of {size} images need as many on each side; there are {fewest}'
        raise UserError(problem, f'use subsets of {fewest} or fewer')
    random = np.random.RandomState(seed)
    return [
        (random.choice(num_x, size, replace=False), random.choice(num_y, size, replace=False))
        for _ in range(count)
    ]
