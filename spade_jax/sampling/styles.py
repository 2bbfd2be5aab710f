"""The style latents of drawn pictures: random, of pictures, or on the way between two.

Random latents are interpolated on a great circle, encoded ones on a straight line. Standard normal latents of many dimensions nearly all have the length
sqrt(style_dim): the middle of a straight line between two of them would be 0.7 times as long, which no generator has seen in training. The length of
an encoded mean, on the contrary, says how far its picture is from the mean style, and the way between two should have it change evenly.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from spade_jax.errors import UserError
from spade_jax.random_streams import Stream, style_noise


class Styles(Protocol):
    """A style for each picture that is to be drawn.

    num_samples: pictures of each label map.
    """

    num_samples: int

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray | None:
        """Latents [len(indices), style_dim] of a sample of the label maps with these numbers; None for a model that has no styles."""


@dataclasses.dataclass(frozen=True)
class NoStyles:
    """Of a model without style encoder, which draws a map in one way only."""

    num_samples: int = 1

    def of(self, sample: int, indices: np.ndarray) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class RandomStyles:
    """Drawn from (seed, sample, number of the map); with `fixed` all maps share those of number 0, as the frames of a video should."""

    style_dim: int
    seed: int = 0
    num_samples: int = 1
    truncation: float = 1.0
    fixed: bool = False

    def __post_init__(self):
        check_truncation(self.truncation)

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        return random_styles(
            self.style_dim,
            self.seed,
            sample,
            np.zeros_like(indices) if self.fixed else indices,
            self.truncation,
        )


@dataclasses.dataclass(frozen=True)
class GivenStyles:
    """latents: [N, style_dim], one for each map, or [1, style_dim] for all."""

    latents: np.ndarray
    num_samples: int = 1

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        return self.latents[np.minimum(indices, len(self.latents) - 1)]


@dataclasses.dataclass(frozen=True)
class InterpolatedStyles:
    """num_samples styles from `start` to `end`, both included: random ones on a great circle, given ones on a straight line."""

    start: RandomStyles | GivenStyles
    end: RandomStyles | GivenStyles
    num_samples: int

    def __post_init__(self):
        if self.num_samples < 2:
            raise UserError(
                f'an interpolation of {self.num_samples} pictures has no two ends', 'use 2 or more'
            )

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        share = sample / (self.num_samples - 1)
        if isinstance(self.start, RandomStyles):
            return spherical(self.start.of(0, indices), self.end.of(0, indices), share)
        return linear(self.start.of(0, indices), self.end.of(0, indices), share)


def random_styles(
    style_dim: int, seed: int, sample: int, indices: np.ndarray, truncation: float = 1.0
) -> np.ndarray:
    """Normal latents [len(indices), style_dim] of deviation `truncation`, each a function of (seed, sample, index)."""
    return truncation * np.asarray(
        style_noise(
            seed, Stream.STYLE_OF_SAMPLES, jnp.asarray(sample), jnp.asarray(indices), style_dim
        )
    )


def linear(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """The latents [..., D] after a `share` in [0, 1] of the straight way."""
    return ((1 - share) * start + share * end).astype(np.float32)


def spherical(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """The latents [..., D] after a `share` in [0, 1] of the way on a great circle (Shoemake 1985); the straight way where the two lie on one line."""
    lengths = np.linalg.norm(start, axis=-1, keepdims=True) * np.linalg.norm(
        end, axis=-1, keepdims=True
    )
    cosine = np.sum(start * end, axis=-1, keepdims=True) / np.maximum(lengths, 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    on_a_line = (sine < 1e-4) | (lengths < 1e-12)
    sine = np.where(on_a_line, 1, sine)
    on_circle = np.sin((1 - share) * angle) / sine * start + np.sin(share * angle) / sine * end
    return np.where(on_a_line, linear(start, end, share), on_circle).astype(np.float32)


def check_truncation(truncation: float) -> None:
    """Raises UserError when the scale of the random styles is not in [0, 1]."""
    if not 0 <= truncation <= 1:
        raise UserError(
            f'truncation={truncation} is not in [0, 1]',
            'use 1 for all the variety that the model was trained with, 0 for the mean style',
        )
