"""Scores of each image against the photo of the same name."""

from __future__ import annotations

from typing import Any

import numpy as np

from spade_jax.evaluation.comparison import Comparison, PerImage, Result


def mean(name: str, comparison: Comparison) -> Result:
    """The mean of a score over the pairs of an image and its photo."""
    values = np.array(comparison.pair_values[name])
    protocol: dict[str, Any] = comparison.lpips.protocol() if name == 'lpips' else {}
    protocol['pairs'] = len(values)
    deviation = float(np.std(values)) if np.isfinite(values).all() else None
    per_image = PerImage(values, lambda indices: float(values[indices].mean()))
    return Result(float(np.mean(values)), deviation, protocol, per_image)
