import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import xla_conv
from spade_jax.layers.cpu.blocked_convolution import (
    blocked_convolution,
    blocked_weight_gradient,
    im2col_convolution,
)

# Height, width, kernel size, padding: grids of one block, of blocks of different sizes, of blocks
# with more rows than the grid; odd and even kernels; with and without padding.
SIZES = [
    (5, 6, 3, 1),
    (1, 1, 3, 1),
    (40, 33, 3, 1),
    (67, 40, 3, 1),
    (34, 34, 4, 2),
    (33, 35, 4, 1),
    (20, 70, 1, 0),
    (50, 30, 5, 2),
    (129, 130, 2, 0),
]


@functools.cache
def example(height, width, size, padding):
    """x, kernel, y, cotangent and weight gradient."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2, height, width, 3)).astype(np.float32)
    kernel = random.normal(size=(size, size, 3, 5)).astype(np.float32)
    y, vjp = jax.vjp(lambda kernel: xla_conv(x, kernel, 1, padding), kernel)
    cotangent = random.normal(size=y.shape).astype(np.float32)
    return x, kernel, y, cotangent, vjp(cotangent)[0]


def assert_gradient_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize('size', SIZES)
def test_blocked_convolution_equals_xla(size):
    x, kernel, y, _, _ = example(*size)
    np.testing.assert_allclose(blocked_convolution(x, kernel, size[-1]), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', SIZES)
def test_blocked_weight_gradient_equals_xla(size):
    x, _, _, cotangent, gradient = example(*size)
    assert_gradient_close(blocked_weight_gradient(x, cotangent, *size[-2:]), gradient)


@pytest.mark.parametrize('size', SIZES[:2] + SIZES[4:6])
def test_im2col_convolution_equals_xla(size):
    x, kernel, y, cotangent, gradient = example(*size)
    ours, vjp = jax.vjp(lambda kernel: im2col_convolution(x, kernel, size[-1]), kernel)
    np.testing.assert_allclose(ours, y, rtol=1e-4, atol=1e-4)
    assert_gradient_close(vjp(cotangent)[0], gradient)


def test_blocked_weight_gradient_is_summed_in_float32():
    """In bfloat16, 256 + 1 is 256."""
    ones = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    assert blocked_weight_gradient(ones, ones, 1, 0) == 4096
