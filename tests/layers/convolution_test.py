import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import Convolution, _convolve, convolve, weight_gradient_by_taps


@pytest.mark.parametrize('kernel_size, strides, padding', [(3, 1, 1), (3, 2, 1), (4, 1, 2), (4, 2, 2), (1, 1, 0), (2, 1, 0)])
def test_gradients_are_those_of_the_plain_convolution(kernel_size, strides, padding):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 7, 9, 3)).astype(np.float32)
    kernel = random.normal(size=(kernel_size, kernel_size, 3, 5)).astype(np.float32)
    cotangent = random.normal(size=_convolve(x, kernel, strides, padding).shape).astype(np.float32)

    def weighted_sum(conv, x, kernel):
        return jnp.sum(conv(x, kernel, strides, padding) * cotangent)

    ours, plain = (jax.grad(functools.partial(weighted_sum, conv), argnums=(0, 1))(x, kernel) for conv in (convolve, _convolve))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, plain)
    if strides == 1:
        np.testing.assert_allclose(weight_gradient_by_taps(x, cotangent, kernel_size=kernel_size, padding=padding), plain[1], rtol=1e-4, atol=1e-4)


def test_padding_is_on_both_sides():
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1) * jnp.ones((1, 4, 1, 1))
    centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    y = Convolution(1, strides=2, use_bias=False).apply({'params': {'kernel': centre}}, x, train=False)
    np.testing.assert_array_equal(y[0, 0, :, 0], [1, 3])  # 'SAME' would give 2, 4
