"""Convolutions with explicit symmetric padding, optionally spectrally normalised."""

from __future__ import annotations

import functools
from typing import Callable, NamedTuple

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
    """Cross-correlation of x [B, H, W, I] with kernel [K, K, I, O], and its gradients, each in the form that the device is good at; all forms are exact."""
    return _in_best_form(lambda form: form, strides, padding, x, kernel)


def _convolve_forward(x, kernel, strides, padding):
    return convolve(x, kernel, strides, padding), (x, kernel)


def _convolve_backward(strides, padding, residuals, cotangent):
    x, kernel = residuals
    input_gradient = _in_best_form(_input_gradient_of, strides, padding, x, kernel, cotangent)
    if strides == 1 and kernel.shape[0] % 2 == 0 and not _is_small(x, kernel):  # XLA's own is 15 to 150 times slower on a CPU
        return input_gradient, lax.platform_dependent(
            x, kernel, cotangent, cpu=functools.partial(_weight_gradient_by_taps, padding=padding), default=_weight_gradient_of(_plain_form(strides, padding)))
    return input_gradient, _in_best_form(_weight_gradient_of, strides, padding, x, kernel, cotangent)


convolve.defvjp(_convolve_forward, _convolve_backward)

SMALL_GRID = 16 * 16  # pixels
LARGE_KERNEL = 2**21  # weights: 3x3 from 512 to 512 channels


def _in_best_form(function_of: Callable[[Callable], Callable], strides: int, padding: int, x: jax.Array, kernel: jax.Array, *arrays: jax.Array) -> jax.Array:
    """`function_of(form)(x, kernel, *arrays)` for a form (x, kernel) -> y of the convolution."""
    plain = function_of(_plain_form(strides, padding))
    if strides > 1 or not _is_small(x, kernel):
        return plain(x, kernel, *arrays)
    return lax.platform_dependent(x, kernel, *arrays, cpu=function_of(functools.partial(product_of_patches, padding=padding)), default=plain)


def _is_small(x, kernel):
    """Whether most of the time goes to reading the kernel."""
    return x.shape[1] * x.shape[2] <= SMALL_GRID and kernel.size >= LARGE_KERNEL


def _plain_form(strides, padding):
    return lambda x, kernel: lax.conv_general_dilated(x, kernel, (strides, strides), [(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _input_gradient_of(form):
    return lambda x, kernel, cotangent: jax.vjp(lambda x: form(x, kernel), x)[1](cotangent)[0]


def _weight_gradient_of(form):
    return lambda x, kernel, cotangent: jax.vjp(lambda kernel: form(x, kernel), kernel)[1](cotangent)[0]


def product_of_patches(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """A convolution of stride 1 as one matrix product. On small grids and with many channels it is two to five times as fast on a CPU, with both of its gradients."""
    size, _, channels, features = kernel.shape
    height, width = (side + 2 * padding - size + 1 for side in x.shape[1:3])
    shifted = shifts(x, size, height, width, padding)
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(size * size * channels, features)


def _weight_gradient_by_taps(x, kernel, cotangent, padding):
    return weight_gradient_by_taps(x, cotangent, kernel_size=kernel.shape[0], padding=padding)


def weight_gradient_by_taps(x: jax.Array, cotangent: jax.Array, *, kernel_size: int, padding: int) -> jax.Array:
    """Weight gradient of a convolution of stride 1: one matrix product of shifted input and cotangent for each of the K x K taps.

    Args:
      x: [B, H, W, I], the input.
      cotangent: [B, H', W', O].

    Returns:
      [K, K, I, O].
    """
    _, height, width, features = cotangent.shape
    taps = [jnp.einsum('bhwi,bhwo->io', shifted, cotangent) for shifted in shifts(x, kernel_size, height, width, padding)]
    return jnp.stack(taps).reshape(kernel_size, kernel_size, x.shape[-1], features)


def shifts(x: jax.Array, kernel_size: int, height: int, width: int, padding: int) -> list[jax.Array]:
    """What each of the K x K taps of a kernel of stride 1 sees of x [B, H, W, I]: arrays [B, height, width, I]."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return [x[:, i:i + height, j:j + width] for i in range(kernel_size) for j in range(kernel_size)]
