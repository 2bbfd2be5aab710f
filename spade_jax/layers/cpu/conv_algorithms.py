"""The choice of a convolution algorithm on a CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from spade_jax.layers.cpu.blocked_convolution import (
    blocked_convolution,
    blocked_weight_gradient,
    im2col_convolution,
)

FEW_PIXELS = 512  # of the whole batch
MANY_PIXELS = 64 * 64
LARGE_KERNEL = 2**21  # weights: 3x3 from 512 to 512 channels


class ConvAlgorithm(NamedTuple):
    """A way to compute a convolution of fixed stride and padding.

    Attributes:
      result: (x, kernel) -> y.
      input_gradient: (x, kernel, cotangent of y) -> gradient of x.
      weight_gradient: (x, kernel, cotangent of y) -> gradient of the kernel.
    """

    result: Callable[..., jax.Array]
    input_gradient: Callable[..., jax.Array]
    weight_gradient: Callable[..., jax.Array]


def from_autodiff(conv: Callable[[jax.Array, jax.Array], jax.Array]) -> ConvAlgorithm:
    """The algorithm whose gradients JAX derives from `conv`."""

    def input_gradient(x, kernel, cotangent):
        return jax.vjp(lambda x: conv(x, kernel), x)[1](cotangent)[0]

    def weight_gradient(x, kernel, cotangent):
        return jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](cotangent)[0]

    return ConvAlgorithm(conv, input_gradient, weight_gradient)


def im2col_conv(padding: int) -> ConvAlgorithm:
    """One matrix product with the patches of all pixels; stride 1."""
    return from_autodiff(functools.partial(im2col_convolution, padding=padding))


def blocked_conv(padding: int) -> ConvAlgorithm:
    """Matrix products over blocks of rows; stride 1."""

    def input_gradient(x, kernel, cotangent):  # a convolution with the rotated kernel
        rotated = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return blocked_convolution(cotangent, rotated, kernel.shape[0] - 1 - padding)

    def weight_gradient(x, kernel, cotangent):
        return blocked_weight_gradient(x, cotangent, kernel.shape[0], padding)

    result = functools.partial(blocked_convolution, padding=padding)
    return ConvAlgorithm(result, input_gradient, weight_gradient)


def fastest_on_cpu(
    xla: ConvAlgorithm, x: jax.Array, kernel: jax.Array, strides: int, padding: int
) -> ConvAlgorithm:
    """Choose an algorithm by shapes and type; `xla` is XLA's own.

    The thresholds were measured on two cores of a chip that multiplies twice as fast in bfloat16.
    """
    batch, height, width, _ = x.shape
    size, _, channels, features = kernel.shape
    any_batch = not isinstance(batch, int)  # an exported program: it cannot loop over blocks
    pixels = height * width if any_batch else batch * height * width
    if strides > 1:
        return xla
    if pixels <= FEW_PIXELS and kernel.size >= LARGE_KERNEL:  # reading the kernel takes longest
        return im2col_conv(padding)
    if any_batch:
        return xla
    low = x.dtype == jnp.bfloat16
    blocked = blocked_conv(padding)
    block_weights = low or pixels > MANY_PIXELS or size % 2 == 0
    return ConvAlgorithm(
        blocked.result if low and channels >= 128 and features >= 64 else xla.result,
        blocked.input_gradient
        if low and features >= 128 and channels >= 64
        else xla.input_gradient,
        blocked.weight_gradient if block_weights else xla.weight_gradient,
    )


def faster_on_cpu(conv: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return `conv` with other algorithms for its result and gradients on a CPU.

    Args:
      conv: function of (x, kernel, strides, padding), the cross-correlation of x [B, H, W, I] with
        kernel [K, K, I, O].

    Returns:
      The same function, equal up to rounding. The choice is made when a program is lowered, so a
      program for several platforms has a branch for each.
    """

    def on_platform(part: str, strides: int, padding: int, x, kernel, *cotangent):
        xla = from_autodiff(lambda x, kernel: conv(x, kernel, strides, padding))
        cpu = fastest_on_cpu(xla, x, kernel, strides, padding)
        return lax.platform_dependent(
            x, kernel, *cotangent, cpu=getattr(cpu, part), default=getattr(xla, part)
        )

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
    @functools.wraps(conv)
    def convolve(x, kernel, strides, padding):
        return on_platform('result', strides, padding, x, kernel)

    def forward(x, kernel, strides, padding):
        return convolve(x, kernel, strides, padding), (x, kernel)

    def backward(strides, padding, residuals, cotangent):
        input_gradient = on_platform('input_gradient', strides, padding, *residuals, cotangent)
        weight_gradient = on_platform('weight_gradient', strides, padding, *residuals, cotangent)
        return input_gradient, weight_gradient

    convolve.defvjp(forward, backward)
    return convolve
