"""Convolutions with explicit symmetric padding, optionally spectrally normalised."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.spectral_norm import SpectralNorm


class Convolution(nn.Module):
    """2-D convolution. [B, H, W, I] -> [B, H', W', features].

    Attributes:
      features: output channels.
      kernel_size: side of the kernel.
      strides: step in both directions.
      padding: zeros on each of the four sides. Never 'SAME', which pads stride-2 convolutions on one side only. Default: (kernel_size - 1) // 2.
      use_bias: add a bias per channel.
      spectral_norm: divide the kernel by its spectral norm (the collection `spectral` holds its vectors).
      dtype: of the product; the parameters are float32.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int | None = None
    use_bias: bool = True
    spectral_norm: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        kernel = self.param('kernel', nn.initializers.glorot_normal(), (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        if self.spectral_norm:
            kernel = SpectralNorm(name='spectral_norm')(kernel, train=train)
        padding = (self.kernel_size - 1) // 2 if self.padding is None else self.padding
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, padding)
        if self.use_bias:
            y += self.param('bias', nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y


def convolve(x: jax.Array, kernel: jax.Array, strides: int, padding: int) -> jax.Array:
    """Cross-correlation of x [B, H, W, I] with kernel [K, K, I, O]."""
    return jax.lax.conv_general_dilated(x, kernel, window_strides=(strides, strides), padding=[(padding, padding)] * 2,
                                        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
