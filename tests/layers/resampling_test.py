import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.resampling import (
    average_pool,
    resize_bilinear,
    resize_nearest,
    upsample_bilinear,
    upsample_nearest,
)


def row(values):
    return jnp.asarray(values, jnp.float32).reshape(1, 1, -1, 1)


@pytest.mark.parametrize(
    'source, size, expected',
    [
        (8, 4, [0, 2, 4, 6]),  # not 1, 3, 5, 7
        (8, 2, [0, 4]),
        (5, 2, [0, 2]),
        (5, 3, [0, 1, 3]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (4, 4, [0, 1, 2, 3]),
    ],
)
def test_nearest_takes_floor_of_position(source, size, expected):
    np.testing.assert_array_equal(resize_nearest(row(range(source)), 1, size).ravel(), expected)


def test_upsampling_repeats_pixels():
    y = upsample_nearest(jnp.arange(4.0).reshape(1, 2, 2, 1))
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    np.testing.assert_array_equal(y[0, :, :, 0], expected)


def test_bilinear_interpolates_between_pixel_centers():
    y = resize_bilinear(row([0, 1]), 1, 4)
    np.testing.assert_allclose(y.ravel(), [0, 0.25, 0.75, 1])


def test_bilinear_does_not_antialias():
    y = resize_bilinear(row(range(8)), 1, 2)
    np.testing.assert_allclose(y.ravel(), [1.5, 5.5])  # two neighbors, not a mean of four


def test_average_pool_does_not_count_padding():
    y = average_pool(jnp.ones((1, 5, 4, 1)))
    np.testing.assert_allclose(y, np.ones((1, 3, 2, 1)), rtol=1e-6)


def test_average_pool_keeps_bfloat16():
    assert average_pool(jnp.ones((1, 5, 4, 1), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize('shape', [(2, 3, 5, 2), (1, 1, 4, 1)])
def test_bilinear_upsampling_interpolates_between_pixel_centers(shape):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    expected = resize_bilinear(x, 2 * shape[1], 2 * shape[2])
    np.testing.assert_allclose(upsample_bilinear(x), expected, atol=1e-6)
