import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from spade_jax.layers.activations import SLOPE, leaky_relu, relu


def flax_leaky_relu(x):
    return nn.leaky_relu(x, SLOPE)


@pytest.mark.parametrize('ours, flax', [(relu, nn.relu), (leaky_relu, flax_leaky_relu)])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_activation_and_gradient_equal_flax(ours, flax, dtype):
    x = jnp.asarray([-3.0, -0.01, 0.0, 0.01, jnp.inf], dtype)
    cotangent = jnp.asarray([1, 2, 3, 4, 5], dtype)
    y, vjp = jax.vjp(ours, x)
    expected, expected_vjp = jax.vjp(flax, x)
    for actual, other in ((y, expected), (vjp(cotangent)[0], expected_vjp(cotangent)[0])):
        assert actual.dtype == dtype
        np.testing.assert_array_equal(np.asarray(actual, np.float32), np.asarray(other, np.float32))


def test_relu_propagates_nan_with_gradient_one():
    y, vjp = jax.vjp(relu, jnp.nan)
    assert jnp.isnan(y)
    assert vjp(1.0)[0] == 1
