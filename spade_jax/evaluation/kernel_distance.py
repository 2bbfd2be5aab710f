"""The kernel inception distance: a maximum mean discrepancy (Binkowski et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class KernelDistance(NamedTuple):
    """The distance over subsets, with the population standard deviation over them."""

    mean: float
    deviation: float


def squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased squared discrepancy of features [M, D] and [N, D]; it may be negative.

    The kernel is (x . y / D + 1)^3; M and N are at least 2.
    """

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
    num_x: int, num_y: int, *, size: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of `count` subsets of both sides, without replacement; those of torch-fidelity."""
    random = np.random.RandomState(2020)
    return [
        (random.choice(num_x, size, replace=False), random.choice(num_y, size, replace=False))
        for _ in range(count)
    ]
