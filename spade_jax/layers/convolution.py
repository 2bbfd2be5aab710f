"""Convolutions with explicit symmetric padding, optionally spectrally normalised."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import lax

from spade_jax.layers.cpu.blocked_convolution import (
    convolution_in_bands,
    product_of_patches,
    weight_gradient_in_bands,
)
from spade_jax.layers.spectral_norm import SpectralNorm


class Weights(NamedTuple):
    """Of a convolution: kernel [K, K, I, O] in the type of the products, bias [O] (or a scalar 0) in float32."""

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
        return add_bias(y, bias) if self.use_bias else y

    @nn.compact
    def weights(self, channels: int, *, train: bool) -> Weights:
        """What an input of so many channels is convolved with: for whoever computes several convolutions as one."""
        kernel = self.param(
            'kernel',
            nn.initializers.glorot_normal(),
            (self.kernel_size, self.kernel_size, channels, self.features),
        )
        if self.spectral_norm:
            kernel = SpectralNorm(name='spectral_norm')(kernel, train=train)
        bias = (
            self.param('bias', nn.initializers.zeros, (self.features,))
            if self.use_bias
            else jnp.zeros(())
        )
        return Weights(kernel.astype(self.dtype), bias)


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Y [..., O] + bias [O], in y's type. The gradient of the bias is summed in float32: in bfloat16 256 + 1 is 256, and a sum over pixels ends far too early."""
    return y + jnp.broadcast_to(bias, y.shape).astype(y.dtype)


def concat_kernels(*convolutions: Weights) -> Weights:
    """Several convolutions of one input as one, whose output channels are theirs, one after the other."""
    return Weights(*(jnp.concatenate(arrays, axis=-1) for arrays in zip(*convolutions)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, strides: int, padding: int) -> jax.Array:
    """Cross-correlation of x [B, H, W, I] with kernel [K, K, I, O], and its gradients, each in the form that the device is good at; all forms are exact."""
    return lax.platform_dependent(
        x,
        kernel,
        cpu=form_for_cpu(x, kernel, strides, padding).result,
        default=plain_form(strides, padding).result,
    )


def _convolve_forward(x, kernel, strides, padding):
    return convolve(x, kernel, strides, padding), (x, kernel)


def _convolve_backward(strides, padding, residuals, cotangent):
    on_cpu, elsewhere = form_for_cpu(*residuals, strides, padding), plain_form(strides, padding)
    return (
        lax.platform_dependent(
            *residuals, cotangent, cpu=on_cpu.input_gradient, default=elsewhere.input_gradient
        ),
        lax.platform_dependent(
            *residuals, cotangent, cpu=on_cpu.weight_gradient, default=elsewhere.weight_gradient
        ),
    )


convolve.defvjp(_convolve_forward, _convolve_backward)


class Form(NamedTuple):
    """A way to compute a convolution: functions of (x, kernel), the gradients of (x, kernel, cotangent)."""

    result: Callable[..., jax.Array]
    input_gradient: Callable[..., jax.Array]
    weight_gradient: Callable[..., jax.Array]


def differentiated(convolution: Callable[[jax.Array, jax.Array], jax.Array]) -> Form:
    """The form whose gradients JAX finds."""
    return Form(
        convolution,
        lambda x, kernel, cotangent: jax.vjp(lambda x: convolution(x, kernel), x)[1](cotangent)[0],
        lambda x, kernel, cotangent: jax.vjp(lambda kernel: convolution(x, kernel), kernel)[1](
            cotangent
        )[0],
    )


def plain_form(strides: int, padding: int) -> Form:
    """XLA's own convolution."""
    return differentiated(
        lambda x, kernel: lax.conv_general_dilated(
            x,
            kernel,
            (strides, strides),
            [(padding, padding)] * 2,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
    )


FEW_PIXELS = 512  # of the whole batch
MANY_PIXELS = 64 * 64
LARGE_KERNEL = 2**21  # weights: 3x3 from 512 to 512 channels


def form_for_cpu(x: jax.Array, kernel: jax.Array, strides: int, padding: int) -> Form:
    """The fastest form on a CPU, see `matrix_products.py`. What is compared here was measured with two cores of a chip that multiplies in bfloat16 twice as fast."""
    plain, (batch, height, width, _), (size, _, channels, features) = (
        plain_form(strides, padding),
        x.shape,
        kernel.shape,
    )
    for_any_batch = not isinstance(
        batch, int
    )  # a program that is exported: it can loop over no bands
    pixels = height * width if for_any_batch else batch * height * width
    if strides > 1:
        return plain
    if (
        pixels <= FEW_PIXELS and kernel.size >= LARGE_KERNEL
    ):  # most of the time goes to reading the kernel
        return differentiated(functools.partial(product_of_patches, padding=padding))
    if for_any_batch:
        return plain
    half = x.dtype == jnp.bfloat16
    bands = bands_form(padding)
    return Form(
        bands.result if half and channels >= 128 and features >= 64 else plain.result,
        bands.input_gradient
        if half and features >= 128 and channels >= 64
        else plain.input_gradient,
        bands.weight_gradient
        if half or pixels > MANY_PIXELS or size % 2 == 0
        else plain.weight_gradient,
    )


def bands_form(padding: int) -> Form:
    """In bands of rows; the input gradient is a convolution of the cotangent with the kernel turned round."""
    return Form(
        functools.partial(convolution_in_bands, padding=padding),
        lambda x, kernel, cotangent: convolution_in_bands(
            cotangent, kernel[::-1, ::-1].transpose(0, 1, 3, 2), kernel.shape[0] - 1 - padding
        ),
        lambda x, kernel, cotangent: weight_gradient_in_bands(
            x, cotangent, kernel.shape[0], padding
        ),
    )
