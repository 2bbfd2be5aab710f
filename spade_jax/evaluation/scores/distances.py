"""Distances between the features of images and of photos."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from spade_jax.errors import UserError, user_errors
from spade_jax.evaluation.comparison import Comparison, Result
from spade_jax.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance, gaussian
from spade_jax.evaluation.kernel_distance import kernel_distance, random_subsets
from spade_jax.files.whole_file import require_bounded


def frechet_inception_distance(comparison: Comparison) -> Result:
    """FID over the 2048 features (Heusel et al. 2017)."""
    config, images = comparison.config, comparison.images
    one = fit_gaussian(comparison.inception.of(images))
    protocol = comparison.inception.protocol() | {'images': len(images)}
    other = photo_gaussian(comparison)
    if config.photo_statistics:
        protocol['photo_statistics'] = os.path.basename(config.photo_statistics)
    else:
        protocol['photos'] = other.count
    if len(one.mean) != len(other.mean):
        problem = f'photo_statistics={config.photo_statistics} are of {len(other.mean)} features'
        raise UserError(problem, f'give those of {len(one.mean)}')
    return Result(frechet_distance(one, other), None, protocol)


def photo_gaussian(comparison: Comparison) -> Gaussian:
    """Mean and covariance of the features of the photos, or those of a file."""
    if path := comparison.config.photo_statistics:
        return _read_statistics(path)
    return fit_gaussian(comparison.inception.of(comparison.photos))


def kernel_inception_distance(comparison: Comparison) -> Result:
    """KID over the 2048 features, in subsets (Binkowski et al. 2018)."""
    config, sides = comparison.config, (comparison.images, comparison.photos)
    if (fewest := min(map(len, sides))) < config.kid_subset_size:
        problem = f'kid_subset_size={config.kid_subset_size} with {fewest} images on one side'
        raise UserError(problem, f'use --kid_subset_size={fewest} or less, or more images')
    x, y = map(comparison.inception.of, sides)
    choices: dict[str, Any] = {'size': config.kid_subset_size, 'count': config.kid_subsets}
    mean, deviation = kernel_distance(x, y, random_subsets(len(x), len(y), **choices))
    protocol = comparison.inception.protocol() | {'images': len(x), 'photos': len(y)}
    protocol |= {'subset_size': config.kid_subset_size, 'subsets': config.kid_subsets}
    return Result(mean, deviation, protocol)


def _read_statistics(path: str) -> Gaussian:
    """The mean `mu` and covariance `sigma` of an .npz file, as pytorch-fid writes it."""
    with user_errors(f'photo_statistics={path} cannot be read', 'give an .npz of mu and sigma'):
        require_bounded(path)
        with np.load(path, allow_pickle=False) as arrays:
            return gaussian(arrays['mu'], arrays['sigma'], count=0)
