import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spade_jax.layers.convolution import Convolution, convolve, product_of_patches, weight_gradient_by_taps


@pytest.mark.parametrize('kernel_size, strides, padding, channels', [
    (3, 1, 1, (3, 5)), (3, 2, 1, (3, 5)), (4, 1, 2, (3, 5)), (4, 2, 2, (3, 5)), (1, 1, 0, (3, 5)), (2, 1, 0, (3, 5)), (3, 1, 1, (512, 512)), (4, 1, 2, (512, 256))])
def test_it_is_the_plain_convolution_with_its_gradients(kernel_size, strides, padding, channels):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 6, channels[0])).astype(np.float32)
    kernel = (random.normal(size=(kernel_size, kernel_size, *channels)) / channels[0]).astype(np.float32)

    def plain(x, kernel):
        return lax.conv_general_dilated(x, kernel, (strides, strides), [(padding, padding)] * 2, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(conv, x, kernel):
        y, gradients = jax.vjp(conv, x, kernel)
        return y, gradients(jnp.asarray(np.random.default_rng(1).normal(size=y.shape), y.dtype))

    ours, expected = value_and_gradients(lambda x, kernel: convolve(x, kernel, strides, padding), x, kernel), value_and_gradients(plain, x, kernel)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, expected)
    if strides == 1:  # the forms of a CPU, on any device
        np.testing.assert_allclose(product_of_patches(x, kernel, padding), expected[0], rtol=1e-4, atol=1e-4)
        cotangent = np.random.default_rng(1).normal(size=expected[0].shape).astype(np.float32)
        np.testing.assert_allclose(weight_gradient_by_taps(x, cotangent, kernel_size=kernel_size, padding=padding), expected[1][1], rtol=1e-4, atol=1e-4)


def test_padding_is_on_both_sides():
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1) * jnp.ones((1, 4, 1, 1))
    centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    y = Convolution(1, strides=2, use_bias=False).apply({'params': {'kernel': centre}}, x, train=False)
    np.testing.assert_array_equal(y[0, 0, :, 0], [1, 3])  # 'SAME' would give 2, 4
