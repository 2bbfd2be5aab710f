"""The choice of a convolution algorithm on a CPU."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from spade_jax.layers.cpu import blocked_convolution as blocked

FEW_PIXELS = 512  # Of the whole batch.
MANY_PIXELS = 64 * 64
LARGE_KERNEL = 2**21  # Weights: 3x3 from 512 to 512 channels.


class ConvAlgorithm(NamedTuple):
    """Functions of (x, kernel), and for the gradients of (x, kernel, cotangent)."""

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


def blocked_conv(padding: int) -> ConvAlgorithm:
    """Matrix products over blocks of rows; stride 1."""

    def input_gradient(x, kernel, cotangent):  # A convolution with the rotated kernel.
        rotated = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return blocked.blocked_convolution(cotangent, rotated, kernel.shape[0] - 1 - padding)

    def weight_gradient(x, kernel, cotangent):
        return blocked.blocked_weight_gradient(x, cotangent, kernel.shape[0], padding)

    result = functools.partial(blocked.blocked_convolution, padding=padding)
    return ConvAlgorithm(result, input_gradient, weight_gradient)


def fastest_on_cpu(
    xla: ConvAlgorithm, x: jax.Array, kernel: jax.Array, strides: int, padding: int
) -> ConvAlgorithm:
    """Choose an algorithm by shapes and type; `xla` is XLA's own.

    The thresholds were measured on two cores of a chip that multiplies twice as fast in bfloat16.
    """
    batch, height, width, _ = x.shape
    size, _, channels, features = kernel.shape
    any_batch = not isinstance(batch, int)  # An exported program: it cannot loop over blocks.
    pixels = height * width if any_batch else batch * height * width
    if strides > 1:
        return xla
    if pixels <= FEW_PIXELS and kernel.size >= LARGE_KERNEL:  # Reading the kernel takes longest.
        return from_autodiff(functools.partial(blocked.im2col_convolution, padding=padding))
    if any_batch:
        return xla
    low, blocks = x.dtype == jnp.bfloat16, blocked_conv(padding)
    result = low and channels >= 128 and features >= 64
    input_gradient = low and features >= 128 and channels >= 64
    weight_gradient = low or pixels > MANY_PIXELS or size % 2 == 0
    return ConvAlgorithm(
        (blocks if result else xla).result,
        (blocks if input_gradient else xla).input_gradient,
        (blocks if weight_gradient else xla).weight_gradient,
    )


def faster_on_cpu(conv: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Return conv(x, kernel, strides, padding) with `fastest_on_cpu` on a CPU.

    Result and gradients are equal up to rounding. The platform is known when a program is lowered;
    a program for several platforms has a branch for each.
    """

    def on_platform(part: str, strides: int, padding: int, x, kernel, *cotangent):
        xla = from_autodiff(lambda x, kernel: conv(x, kernel, strides, padding))
        cpu = getattr(fastest_on_cpu(xla, x, kernel, strides, padding), part)
        default = getattr(xla, part)
        if cpu is default:  # Without branches it is traced in a fraction of the time.
            return default(x, kernel, *cotangent)
        return lax.platform_dependent(x, kernel, *cotangent, cpu=cpu, default=default)

    @functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
    @functools.wraps(conv)
    def convolve(x, kernel, strides, padding):
        return on_platform('result', strides, padding, x, kernel)

    def forward(x, kernel, strides, padding):
        return convolve(x, kernel, strides, padding), (x, kernel)

    def backward(strides, padding, residuals, cotangent):
        parts = 'input_gradient', 'weight_gradient'
        return tuple(on_platform(p, strides, padding, *residuals, cotangent) for p in parts)

    convolve.defvjp(forward, backward)
    return convolve  # pyright: ignore[reportReturnType]
