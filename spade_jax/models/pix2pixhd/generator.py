"""The coarse-to-fine generator of pix2pixHD (Wang et al. 2018, section 3.1 and figure 3)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.resampling import average_pool
from spade_jax.models.residual_generator import (
    ConvolutionLayer,
    ResidualBlock,
    ResidualGenerator,
    ToImage,
)


class LocalEnhancer(nn.Module):
    """Double the resolution of features, with the help of a condition of that resolution.

    Attributes:
      width: Channels of the output.
      num_blocks: Residual blocks.
      norm: See `Normalization`.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int
    num_blocks: int = 3
    norm: str = 'instance'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, condition: jax.Array, coarse: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, S] and [B, H/2, W/2, 2 width] -> [B, H, W, width]."""
        shared: dict[str, Any] = dict(norm=self.norm, axis_name=self.axis_name, dtype=self.dtype)
        layer = functools.partial(ConvolutionLayer, **shared)
        x = layer(self.width, 7, name='first')(condition, train=train)
        x = layer(2 * self.width, scale=0.5, name='down')(x, train=train) + coarse
        for i in range(self.num_blocks):  # [B, H/2, W/2, 2 width]
            x = ResidualBlock(layer, name=f'block_{i}')(x, train=train)
        return layer(self.width, scale=2, name='up')(x, train=train)


class CoarseToFineGenerator(nn.Module):
    """A global generator at the coarsest resolution, and local enhancers around it.

    Attributes:
      width: Channels at full resolution; each enhancer has half of the previous one.
      num_enhancers: Local enhancers; without one this is the global generator.
      num_downsamplings: Of the global generator.
      num_blocks: Of the global generator.
      enhancer_blocks: Of each enhancer.
      features: Output channels.
      norm: See `Normalization`.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    num_enhancers: int = 0
    num_downsamplings: int = 4
    num_blocks: int = 9
    enhancer_blocks: int = 3
    features: int = 3
    norm: str = 'instance'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, condition: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, S] -> images [B, H, W, features] float32 in [-1, 1].

        Height and width are divisible by 2 ** (num_downsamplings + num_enhancers).
        """
        shared: dict[str, Any] = dict(norm=self.norm, axis_name=self.axis_name, dtype=self.dtype)
        pyramid = [condition.astype(self.dtype)]  # From fine to coarse.
        for _ in range(self.num_enhancers):
            pyramid.append(average_pool(pyramid[-1]))
        x = ResidualGenerator(
            width=self.width * 2**self.num_enhancers,
            num_downsamplings=self.num_downsamplings,
            num_blocks=self.num_blocks,
            features=None if self.num_enhancers else self.features,
            name='global',
            **shared,
        )(pyramid.pop(), train=train)
        if not self.num_enhancers:
            return x
        for i in range(1, self.num_enhancers + 1):
            width = self.width * 2 ** (self.num_enhancers - i)
            enhancer = LocalEnhancer(width, self.enhancer_blocks, name=f'enhancer_{i}', **shared)
            x = enhancer(pyramid.pop(), x, train=train)
        return ToImage(self.features, self.dtype, name='last')(x)
