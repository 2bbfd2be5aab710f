"""Scores of each image against the photo of the same name."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from tqdm import tqdm

from spade_jax.evaluation.comparison import Comparison, PerImage, Result


def style_diversity(comparison: Comparison) -> Result:
    """LPIPS between images of a label map in random styles, the mean over pairs and label maps."""
    lpips, number = comparison.lpips, comparison.config.diversity_styles
    sets = [comparison.restyled(seed) for seed in range(number)]
    values = []
    for index in tqdm(range(len(sets[0])), 'diversity', unit='map', dynamic_ncols=True):
        images = [images.read(index) for images in sets]
        pairs = itertools.combinations(images, 2)
        values.append(np.mean([lpips.distance(one, other) for one, other in pairs]))
    protocol = lpips.protocol() | {'label_maps': len(values), 'styles': number}
    return _mean(np.array(values), protocol)


def prepare(name: str, comparison: Comparison) -> None:
    """Load the network; raises UserError if the images have no photos."""
    _ = comparison.photos_of_images
    if name == 'lpips':
        _ = comparison.lpips


def mean(name: str, comparison: Comparison) -> Result:
    """The mean of a score over the pairs of an image and its photo."""
    values = np.array(comparison.pair_values[name])
    protocol: dict[str, Any] = comparison.lpips.protocol() if name == 'lpips' else {}
    return _mean(values, protocol | {'pairs': len(values)})


def _mean(values: np.ndarray, protocol: dict[str, Any]) -> Result:
    deviation = float(np.std(values)) if np.isfinite(values).all() else None
    per_image = PerImage(values, lambda indices: float(values[indices].mean()))
    return Result(float(np.mean(values)), deviation, protocol, per_image)
