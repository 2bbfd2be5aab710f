import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.evaluation.networks.unet import UNet, UpConvolution, max_pool


def test_network_has_two_million_parameters():
    shapes = jax.eval_shape(UNet(35).init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == pytest.approx(2e6, rel=0.05)


def test_logits_have_the_size_of_the_images():
    images = jnp.zeros((2, 21, 35, 3), jnp.uint8)
    logits, _ = jax.eval_shape(UNet(5).init_with_output, jax.random.key(0), images)
    assert (logits.shape, logits.dtype) == ((2, 21, 35, 5), jnp.float32)


def test_up_convolution_writes_blocks_of_two_by_two():
    """Pixel [i, j] of the input becomes the pixels [2i, 2j] to [2i + 1, 2j + 1]."""
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    kernel = jnp.array([[1.0, 10, 100, 1000]])
    params = {'dense': {'kernel': kernel, 'bias': jnp.zeros(4)}}
    y = UpConvolution(1).apply({'params': params}, x)
    expected = np.kron(x[0, :, :, 0], [[1, 10], [100, 1000]])
    np.testing.assert_allclose(y[0, :, :, 0], expected)


def test_max_pool_takes_the_largest_of_four():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[5, 7], [13, 15]])
