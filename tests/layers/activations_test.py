import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from spade_jax.layers.activations import leaky_relu, relu


@pytest.mark.parametrize(
    'ours, plain', [(relu, nn.relu), (leaky_relu, lambda x: nn.leaky_relu(x, 0.2))]
)
@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_they_are_the_plain_functions_with_their_gradients(ours, plain, precision):
    x = jnp.asarray([-3.0, -0.01, 0.0, 0.01, jnp.inf], precision)
    (y, gradient), (expected, expected_gradient) = (
        jax.vjp(function, x) for function in (ours, plain)
    )
    cotangent = jnp.asarray([1, 2, 3, 4, 5], precision)
    for array, other in ((y, expected), (gradient(cotangent)[0], expected_gradient(cotangent)[0])):
        assert array.dtype == precision
        np.testing.assert_array_equal(np.asarray(array, np.float32), np.asarray(other, np.float32))
