"""Batch, synchronized batch and instance normalization, with statistics in float32."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.distributed import replicas

EPSILON = 1e-5
MOMENTUM = 0.9  # Weight of the old running statistics.
Moments = tuple[jax.Array, jax.Array]  # Mean and variance.


class Normalization(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5) per channel. [B, H, W, C] -> [B, H, W, C].

    The batch kinds evaluate with running statistics (collection `batch_stats`). The batch itself is
    normalized with the biased variance, but the running variance is the unbiased one, as in the
    published models; `flax.linen.BatchNorm` keeps the biased one.

    Attributes:
      kind: 'instance': statistics of each image, also in evaluation. 'batch': of the batch on this
        replica. 'sync_batch': of the global batch. 'none': return x.
      affine: Scale and shift each channel after a batch kind.
      upsampling_factor: x will be upsampled by this factor, which changes neither mean nor biased
        variance; the unbiased variance counts the upsampled pixels.
      axis_name: The replica axis.
    """

    kind: str
    affine: bool = False
    upsampling_factor: int = 1
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        if self.kind == 'none':
            return x
        if self.kind == 'instance':
            return standardize(x, *moments(x, axes=(1, 2)))
        y = standardize(x, *self._batch_statistics(x, train))
        if self.affine:
            scale = self.param('scale', nn.initializers.ones, x.shape[-1:])
            bias = self.param('bias', nn.initializers.zeros, x.shape[-1:])
            y = (y * scale + bias).astype(x.dtype)
        return y

    def _batch_statistics(self, x: jax.Array, train: bool) -> Moments:
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, x.shape[-1:])
        running_var = self.variable('batch_stats', 'var', jnp.ones, x.shape[-1:])
        if not train:
            return running_mean.value, running_var.value
        if self.is_initializing():  # `init` runs outside pmap, where the axis does not exist.
            return moments(x, axes=(0, 1, 2))
        shared, unshared = self.axis_name, None
        if self.kind == 'batch':
            shared, unshared = unshared, shared
        mean, variance = moments(x, axes=(0, 1, 2), axis_name=shared)
        if self.is_mutable_collection('batch_stats'):
            pixels = math.prod(x.shape[:3]) * self.upsampling_factor**2 * replicas.count(shared)
            unbiased = variance * (pixels / max(pixels - 1, 1))
            # With 'batch' each replica has its own statistics, but the state must be the same on
            # all of them: the running statistics follow the mean over the replicas.
            new_mean, new_var = replicas.mean((mean, unbiased), unshared)
            for running, new in ((running_mean, new_mean), (running_var, new_var)):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * new.reshape(-1)
        return mean, variance


def moments(x: jax.Array, axes: tuple[int, ...], axis_name: str | None = None) -> Moments:
    """Mean and biased variance over `axes` and the replicas, in float32, with the axes kept.

    In two passes: E[x^2] - E[x]^2 would lose half of the digits where |mean| >> deviation.
    """
    x = x.astype(jnp.float32)
    mean = replicas.mean(jnp.mean(x, axes, keepdims=True), axis_name)
    variance = replicas.mean(jnp.mean(jnp.square(x - mean), axes, keepdims=True), axis_name)
    return mean, variance


def standardize(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """(x - mean) / sqrt(variance + 1e-5), computed in float32, returned in x's type."""
    return ((x.astype(jnp.float32) - mean) * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)
