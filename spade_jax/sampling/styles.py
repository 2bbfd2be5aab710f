"""Style latents of samples: random, of images, or interpolated.

Random latents are interpolated on a great circle, encoded ones on a straight line. Nearly all
standard normal latents of many dimensions have the norm sqrt(style_dim). The middle of a straight
line between two of them has 0.7 times this norm, which the generator has not seen in training. The
norm of an encoded mean, in contrast, measures the distance of its image from the mean style, and an
interpolation should change it evenly.
"""

import dataclasses
import numbers
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from spade_jax.config.option import LARGEST_SEED
from spade_jax.errors import UserError
from spade_jax.random_streams import Stream, style_noise
from spade_jax.sampling.arguments import as_array, whole_number
from spade_jax.sampling.feature_clusters import FeatureClusters

# JAX reads 32 bits of a seed, and makes a signed integer of the number of a sample.
LARGEST_SAMPLE = 2**31 - 1


class Styles(Protocol):
    """The style of each sample."""

    @property
    def num_samples(self) -> int:
        """Samples of each label map."""
        ...

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray | None:
        """Latents [N, style_dim] of a sample of the label maps `indices` [N]; None: no styles."""


@dataclasses.dataclass(frozen=True)
class NoStyles:
    """For a model without style latent, which has one sample of a map."""

    num_samples: int = 1

    def of(self, sample: int, indices: np.ndarray) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class RandomStyles:
    """Random latents, see `random_styles`.

    Attributes:
      style_dim, seed, truncation, clusters: See `random_styles`.
      num_samples: Of each label map.
      fixed: All maps share the latents of map 0, as the frames of a video should.
    """

    style_dim: int
    seed: int = 0
    num_samples: int = 1
    truncation: float = 1.0
    fixed: bool = False
    clusters: FeatureClusters | None = None

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        indices = np.zeros_like(indices) if self.fixed else indices
        return random_styles(
            self.style_dim, self.seed, sample, indices, self.truncation, self.clusters
        )


@dataclasses.dataclass(frozen=True)
class GivenStyles:
    """Latents [N, style_dim], one for each map, or [1, style_dim] for all."""

    latents: np.ndarray
    num_samples: int = 1

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        return self.latents[np.minimum(indices, len(self.latents) - 1)]


@dataclasses.dataclass(frozen=True)
class InterpolatedStyles:
    """`num_samples` styles, two or more, from `start` to `end`, both included."""

    start: RandomStyles | GivenStyles
    end: RandomStyles | GivenStyles
    num_samples: int

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        fraction = sample / (self.num_samples - 1)
        is_normal = isinstance(self.start, RandomStyles) and not self.start.clusters
        way = spherical if is_normal else linear
        return way(self.start.of(0, indices), self.end.of(0, indices), fraction)


def random_styles(
    style_dim: int,
    seed: Any,
    sample: Any,
    indices: np.ndarray,
    truncation: float = 1.0,
    clusters: FeatureClusters | None = None,
) -> np.ndarray:
    """Latents [N, style_dim] of a sample of the label maps `indices` [N].

    They are normal, with the deviation `truncation` in [0, 1], or chosen from clusters; a function
    of seed, sample, index.
    """
    seed, sample = check_random(seed, sample, truncation)
    positions = jnp.asarray(sample), jnp.asarray(indices)
    noise = np.asarray(style_noise(seed, Stream.STYLE_OF_SAMPLES, *positions, style_dim))
    return clusters.choose(noise, truncation) if clusters else truncation * noise


def linear(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Latents [..., D] at a fraction in [0, 1] of the straight line."""
    return ((1 - fraction) * start + fraction * end).astype(np.float32)


def spherical(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Latents [..., D] at a fraction in [0, 1] of the great circle (Shoemake 1985).

    There is none between collinear latents: they are interpolated on a straight line.
    """
    norms = [np.linalg.norm(latent, axis=-1, keepdims=True) for latent in (start, end)]
    norm_product = norms[0] * norms[1]
    cosine = np.sum(start * end, axis=-1, keepdims=True) / np.maximum(norm_product, 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    collinear = (np.sin(angle) < 1e-4) | (norm_product < 1e-12)
    sine = np.where(collinear, 1, np.sin(angle))
    start_weight = np.sin((1 - fraction) * angle) / sine
    end_weight = np.sin(fraction * angle) / sine
    on_circle = start_weight * start + end_weight * end
    return np.where(collinear, linear(start, end, fraction), on_circle).astype(np.float32)


def interpolate(start: np.ndarray, end: np.ndarray, fractions, *, on_circle: bool) -> np.ndarray:
    """Latents [N, D] at fractions [N] in [0, 1], or [D] at one; UserError for other fractions."""
    shares = as_array(fractions, 'fractions')
    if (
        shares.dtype.kind not in 'iuf'
        or shares.ndim > 1
        or not np.all((shares >= 0) & (shares <= 1))
    ):
        raise UserError(
            f'fractions={fractions} are not numbers in [0, 1]', 'use 0.5 for the middle'
        )
    way = spherical if on_circle else linear
    latents = [way(start, end, float(share)) for share in np.atleast_1d(shares)]
    return np.reshape(latents, (*shares.shape, len(start))).astype(np.float32)


def check_random(seed: Any, sample: Any, truncation: Any) -> tuple[int, int]:
    """Seed and number of the sample of random styles; UserError if one is out of range."""
    check_truncation(truncation)
    seed = whole_number('seed', seed, 0, LARGEST_SEED)
    return seed, whole_number('sample', sample, 0, LARGEST_SAMPLE)


def check_truncation(truncation: float) -> None:
    """Raises UserError if the standard deviation of the random styles is not in [0, 1]."""
    if not isinstance(truncation, numbers.Real) or not 0 <= truncation <= 1:
        remedy = 'use 1 for the full variety of the training, 0 for the mean style'
        raise UserError(f'truncation={truncation} is not in [0, 1]', remedy)
