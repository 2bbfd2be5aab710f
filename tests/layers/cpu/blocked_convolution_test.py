"""Each form of a convolution against XLA's own, on any device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spade_jax.layers.cpu.blocked_convolution import (
    convolution_in_bands,
    matrix_product,
    product_of_patches,
    weight_gradient_in_bands,
)


def convolved(x, kernel, padding):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


@functools.cache
def arrays(height, width, size, padding):
    random = np.random.default_rng(0)
    x, kernel = (
        random.normal(size=(2, height, width, 3)).astype(np.float32),
        random.normal(size=(size, size, 3, 5)).astype(np.float32),
    )
    y, gradient = jax.vjp(lambda kernel: convolved(x, kernel, padding), kernel)
    cotangent = random.normal(size=y.shape).astype(np.float32)
    return x, kernel, y, cotangent, gradient(cotangent)[0]


# Grids of one band, of bands of different sizes, of more rows than their bands have; odd and even kernels, with and without padding.
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


@pytest.mark.parametrize('size', SIZES)
def test_convolution_in_bands(size):
    x, kernel, y, _, _ = arrays(*size)
    np.testing.assert_allclose(convolution_in_bands(x, kernel, size[-1]), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', SIZES)
def test_weight_gradient_in_bands(size):
    x, _, _, cotangent, gradient = arrays(*size)
    ours = weight_gradient_in_bands(x, cotangent, *size[-2:])
    np.testing.assert_allclose(ours, gradient, rtol=1e-4, atol=1e-4 * np.abs(gradient).max())


@pytest.mark.parametrize('size', SIZES[:2] + SIZES[4:6])
def test_product_of_patches(size):
    x, kernel, y, cotangent, gradient = arrays(*size)
    ours, gradients = jax.vjp(lambda kernel: product_of_patches(x, kernel, size[-1]), kernel)
    np.testing.assert_allclose(ours, y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        gradients(cotangent)[0], gradient, rtol=1e-4, atol=1e-4 * np.abs(gradient).max()
    )


@pytest.mark.parametrize('rows', [5, 300])
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_matrix_product_and_its_gradients(rows, precision):
    random = np.random.default_rng(0)
    a, b, cotangent = (
        jnp.asarray(random.normal(size=shape), precision)
        for shape in ((rows, 7), (7, 11), (rows, 11))
    )
    y, gradients = jax.vjp(matrix_product, a, b)
    exact_a, exact_b, exact_cotangent = (
        np.asarray(array, np.float64) for array in (a, b, cotangent)
    )
    expected = exact_a @ exact_b, exact_cotangent @ exact_b.T, exact_a.T @ exact_cotangent
    for array, exact in zip((y, *gradients(cotangent)), expected, strict=True):
        assert array.dtype == precision
        np.testing.assert_allclose(
            np.asarray(array, np.float64),
            exact,
            rtol=5e-3 if precision == 'bfloat16' else 1e-5,
            atol=1e-5 * np.abs(exact).max(),
        )


def test_sums_are_those_of_float32():
    """In bfloat16, 256 + 1 is 256."""
    ones = jnp.ones((4096, 1), jnp.bfloat16)
    assert matrix_product(ones.T, ones)[0, 0] == 4096
    assert jax.vjp(matrix_product, ones, ones[:1])[1](ones)[1][0, 0] == 4096
    assert (
        weight_gradient_in_bands(ones.reshape(1, 64, 64, 1), ones.reshape(1, 64, 64, 1), 1, 0)[
            0, 0, 0, 0
        ]
        == 4096
    )
