"""What generator and discriminator share: blocks of convolutions, pixel norm, average pooling."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import EPSILON, Normalization


class Block(nn.Module):
    """A 3x3 convolution, leaky ReLU and normalization for each width. [B, H, W, C] -> [B, H, W, F].

    Attributes:
      widths: Channels after each convolution.
      norm: See `Normalization`, or 'pixel': divide each pixel by the root of the mean square of its
        channels (Karras et al. 2018, section 4.2).
      spectral_norm: Of the convolutions.
      axis_name, dtype: The replica axis and the compute type.
    """

    widths: tuple[int, ...]
    norm: str = 'none'
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        shared: dict[str, Any] = dict(spectral_norm=self.spectral_norm, dtype=self.dtype)
        conv = functools.partial(Convolution, **shared)
        for i, width in enumerate(self.widths):
            x = leaky_relu(conv(width, name=f'conv_{i}')(x, train=train))
            if self.norm == 'pixel':
                x = pixel_norm(x)
                continue
            norm = Normalization(self.norm, affine=True, axis_name=self.axis_name, name=f'norm_{i}')
            x = norm(x, train=train)
        return x


def pixel_norm(x: jax.Array) -> jax.Array:
    """Divide x [..., C] by the root of the mean square over the channels."""
    y = x.astype(jnp.float32)
    return (y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + EPSILON)).astype(x.dtype)


def halve(x: jax.Array, times: int = 1) -> jax.Array:
    """Average-pool by 2^times. [B, H, W, C] -> [B, H / 2^times, W / 2^times, C]."""
    side = 1 << times
    return x if side == 1 else nn.avg_pool(x, (side, side), (side, side))
