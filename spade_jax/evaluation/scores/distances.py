"""Distances between the features of images and of photos."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np

from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.errors import UserError, user_errors
from spade_jax.evaluation.comparison import Comparison, Result
from spade_jax.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance, gaussian
from spade_jax.evaluation.image_sets import ImageSet
from spade_jax.evaluation.kernel_distance import kernel_distance, random_subsets
from spade_jax.files.whole_file import require_bounded


def frechet(network: str, comparison: Comparison) -> Result:
    """The Frechet distance (Heusel et al. 2017); of the features of 'inception', it is FID."""
    images, statistics = comparison.images, comparison.config.photo_statistics
    features = comparison.features(network)
    one, other = fit_gaussian(features.of(images)), photo_gaussian(network, comparison)
    protocol: dict[str, Any] = features.network.protocol() | {'images': one.count}
    if other.count:
        protocol['photos'] = other.count
    else:
        protocol['photo_statistics'] = os.path.basename(statistics)
    fewest, dim = min(side.count for side in (one, other) if side.count), len(one.mean)
    if fewest <= dim:  # The covariance is singular.
        protocol['bias'] = f'upward, of {fewest} images for {dim} features'
    return Result(frechet_distance(one, other), None, protocol)


def photo_gaussian(network: str, comparison: Comparison) -> Gaussian:
    """Mean and covariance of the features of the photos; for FID, those of a file if given."""
    features, statistics = comparison.features(network), comparison.config.photo_statistics
    if network == 'inception' and statistics:
        return _read_statistics(statistics, features.network.dim)
    return comparison.photo_gaussian(network)


def photo_features(network: str, comparison: Comparison) -> np.ndarray:
    """The features [N, D] of the photos; raises UserError if they are fewer than a subset."""
    _check_subsets(comparison.config, comparison.photos)
    return comparison.features(network).of(comparison.photos)


def kernel(network: str, comparison: Comparison) -> Result:
    """The kernel distance in subsets (Binkowski et al. 2018); of 'inception', it is KID."""
    config, sides = comparison.config, (comparison.images, comparison.photos)
    _check_subsets(config, *sides)
    features = comparison.features(network)
    x, y = map(features.of, sides)
    choices: dict[str, Any] = {'size': config.kid_subset_size, 'count': config.kid_subsets}
    mean, deviation = kernel_distance(x, y, random_subsets(len(x), len(y), **choices))
    protocol: dict[str, Any] = features.network.protocol() | {'images': len(x), 'photos': len(y)}
    protocol |= {'subset_size': config.kid_subset_size, 'subsets': config.kid_subsets}
    return Result(mean, deviation, protocol)


def _check_subsets(config: EvaluationConfig, *sides: ImageSet) -> None:
    if (fewest := min(map(len, sides))) < config.kid_subset_size:
        problem = f'kid_subset_size={config.kid_subset_size} with {fewest} images on one side'
        remedy = f'use --kid_subset_size={fewest} or less, or more images'
        raise UserError(problem, remedy if fewest > 1 else 'give two images or more on each side')


def _read_statistics(path: str, dim: int) -> Gaussian:
    """The mean `mu` and covariance `sigma` of an .npz file, as pytorch-fid writes it."""
    with user_errors(f'photo_statistics={path} cannot be read', 'give an .npz of mu and sigma'):
        require_bounded(path)
        if not zipfile.is_zipfile(path):
            raise ValueError('not an .npz file')
        with np.load(path, allow_pickle=False) as arrays:
            if (found := arrays['mu'].size) != dim:
                problem = f'photo_statistics={path} are of {found} features'
                raise UserError(problem, f'give those of {dim}')
            return gaussian(arrays['mu'], arrays['sigma'], count=0)
