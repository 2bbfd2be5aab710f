"""Batch, synchronised batch and instance normalisation, with statistics in float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.distributed import replicas

EPSILON = 1e-5
MOMENTUM = 0.9  # weight of the old running statistics


class Normalization(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5) per channel. [B, H, W, C] -> [B, H, W, C].

    Attributes:
      kind: 'instance': statistics of every picture on its own, in training and evaluation alike. 'batch': of the batch on this replica. 'sync_batch':
        of the global batch. 'none': x as it is. The batch kinds evaluate with running statistics (collection `batch_stats`), whose variance is
        the unbiased one while the batch itself is normalised with the biased one, as in the published models; `flax.linen.BatchNorm` keeps the biased.
      affine: scale and shift each channel after a batch kind (the discriminator's choice; SPADE modulates by the layout instead).
      copies: how often each pixel counts, for the unbiased variance: x is what will be repeated so many times. Mean and variance are the same before and after.
      axis_name: the replicas over which 'sync_batch' takes its statistics.
    """

    kind: str
    affine: bool = False
    copies: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.kind == 'none':
            return x
        if self.kind == 'instance':
            return standardize(x, *moments(x, axes=(1, 2)))
        mean, variance = self._batch_statistics(x, train)
        y = standardize(x, mean, variance)
        if self.affine:
            scale = self.param('scale', nn.initializers.ones, (x.shape[-1],))
            bias = self.param('bias', nn.initializers.zeros, (x.shape[-1],))
            y = (y * scale + bias).astype(x.dtype)
        return y

    def _batch_statistics(self, x, train):
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (x.shape[-1],))
        running_var = self.variable('batch_stats', 'var', jnp.ones, (x.shape[-1],))
        if not train:
            return running_mean.value, running_var.value
        axis_name = {'sync_batch': self.axis_name, 'batch': None}[self.kind]
        if (
            self.is_initializing()
        ):  # `init` runs outside the mapped step, where the axis does not exist
            axis_name = None
        mean, variance = moments(x, axes=(0, 1, 2), axis_name=axis_name)
        if self.is_mutable_collection('batch_stats') and not self.is_initializing():
            pixels = x.shape[0] * x.shape[1] * x.shape[2] * self.copies * replicas.count(axis_name)
            unbiased = variance * (pixels / max(pixels - 1, 1))
            # For 'batch' the replicas saw different statistics; the state must be equal on all of them, so its running ones are averaged.
            new_mean, new_var = replicas.mean(
                (mean, unbiased), self.axis_name if self.kind == 'batch' else None
            )
            running_mean.value = MOMENTUM * running_mean.value + (1 - MOMENTUM) * new_mean.reshape(
                -1
            )
            running_var.value = MOMENTUM * running_var.value + (1 - MOMENTUM) * new_var.reshape(-1)
        return mean, variance


def moments(
    x: jax.Array, axes: tuple[int, ...], axis_name: str | None = None
) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over `axes` and over the replicas, in float32, with the reduced axes kept.

    In two passes: the mean of squares minus the square of the mean would lose half of the digits where |mean| >> deviation.
    """
    x = x.astype(jnp.float32)
    mean = replicas.mean(jnp.mean(x, axes, keepdims=True), axis_name)
    variance = replicas.mean(jnp.mean(jnp.square(x - mean), axes, keepdims=True), axis_name)
    return mean, variance


def standardize(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """(x - mean) / sqrt(variance + 1e-5), computed in float32, returned in x's type."""
    return ((x.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)
