"""Convolutions with explicit symmetric padding, optionally spectrally normalised."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import lax

from spade_jax.layers.spectral_norm import SpectralNorm


class Weights(NamedTuple):
    """Of a convolution: kernel [K, K, I, O], bias [O] (or a scalar 0)."""

    kernel: jax.Array
    bias: jax.Array


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

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        kernel, bias = self.weights(x.shape[-1], train=train)
        padding = (self.kernel_size - 1) // 2 if self.padding is None else self.padding
        y = convolve(x.astype(self.dtype), kernel, self.strides, padding)
        return y + bias if self.use_bias else y

    @nn.compact
    def weights(self, channels: int, *, train: bool) -> Weights:
        """What an input of so many channels is convolved with, in `dtype`: for whoever computes several convolutions as one."""
        kernel = self.param('kernel', nn.initializers.glorot_normal(), (self.kernel_size, self.kernel_size, channels, self.features))
        if self.spectral_norm:
            kernel = SpectralNorm(name='spectral_norm')(kernel, train=train)
        bias = self.param('bias', nn.initializers.zeros, (self.features,)) if self.use_bias else jnp.zeros(())
        return Weights(kernel.astype(self.dtype), bias.astype(self.dtype))


def side_by_side(*convolutions: Weights) -> Weights:
    """Several convolutions of one input as one, whose output channels are theirs, one after the other."""
    return Weights(*(jnp.concatenate(arrays, axis=-1) for arrays in zip(*convolutions)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, strides: int, padding: int) -> jax.Array:
    """Cross-correlation of x [B, H, W, I] with kernel [K, K, I, O]. The gradient has a form of its own, see `_weight_gradient`."""
    return _convolve(x, kernel, strides, padding)


def _convolve(x, kernel, strides, padding):
    return lax.conv_general_dilated(x, kernel, window_strides=(strides, strides), padding=[(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _convolve_forward(x, kernel, strides, padding):
    return _convolve(x, kernel, strides, padding), (x, kernel)


def _convolve_backward(strides, padding, residuals, cotangent):
    x, kernel = residuals
    _, input_gradient = jax.vjp(lambda x: _convolve(x, kernel, strides, padding), x)
    return input_gradient(cotangent)[0], _weight_gradient(x, kernel, cotangent, strides, padding)


convolve.defvjp(_convolve_forward, _convolve_backward)


def _weight_gradient(x, kernel, cotangent, strides, padding):
    """Derivative for the kernel. Exact in both forms; for even kernels of stride 1, XLA's own is some 15 times slower on a CPU."""
    def plain(x, cotangent):
        return jax.vjp(lambda kernel: _convolve(x, kernel, strides, padding), kernel)[1](cotangent)[0]

    if strides > 1 or kernel.shape[0] % 2:
        return plain(x, cotangent)
    return lax.platform_dependent(x, cotangent, cpu=functools.partial(weight_gradient_by_taps, kernel_size=kernel.shape[0], padding=padding), default=plain)


def weight_gradient_by_taps(x: jax.Array, cotangent: jax.Array, *, kernel_size: int, padding: int) -> jax.Array:
    """Weight gradient of a convolution of stride 1: one matrix product of shifted input and cotangent for each of the K x K taps.

    Args:
      x: [B, H, W, I], the input.
      cotangent: [B, H', W', O].

    Returns:
      [K, K, I, O].
    """
    _, height, width, _ = cotangent.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    taps = [[jnp.einsum('bhwi,bhwo->io', x[:, i:i + height, j:j + width], cotangent) for j in range(kernel_size)] for i in range(kernel_size)]
    return jnp.stack([jnp.stack(row) for row in taps])
