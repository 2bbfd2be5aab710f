import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.cpu.matrix_product import matrix_product


@pytest.mark.parametrize('rows', [5, 300])
@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-5), ('bfloat16', 5e-3)])
def test_product_and_gradients_equal_numpy(rows, dtype, tolerance):
    random = np.random.default_rng(0)
    shapes = (rows, 7), (7, 11), (rows, 11)
    a, b, cotangent = (jnp.asarray(random.normal(size=shape), dtype) for shape in shapes)
    y, vjp = jax.vjp(matrix_product, a, b)
    actual = y, *vjp(cotangent)
    a, b, cotangent = (np.asarray(array, np.float64) for array in (a, b, cotangent))
    expected = a @ b, cotangent @ b.T, a.T @ cotangent
    for array, exact in zip(actual, expected, strict=True):
        assert array.dtype == dtype
        array, atol = np.asarray(array, np.float64), 1e-5 * np.abs(exact).max()
        np.testing.assert_allclose(array, exact, rtol=tolerance, atol=atol)


def test_sums_are_in_float32():
    """In bfloat16, 256 + 1 is 256."""
    ones = jnp.ones((4096, 1), jnp.bfloat16)
    assert matrix_product(ones.T, ones)[0, 0] == 4096
    _, vjp = jax.vjp(matrix_product, ones, ones[:1])
    assert vjp(ones)[1][0, 0] == 4096
