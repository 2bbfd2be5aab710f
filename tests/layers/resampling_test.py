import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.resampling import resize_bilinear, resize_nearest, upsample_nearest


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
def test_nearest_takes_the_floor(source, size, expected):
    np.testing.assert_array_equal(resize_nearest(row(range(source)), 1, size).ravel(), expected)


def test_upsampling_repeats_pixels():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(
        upsample_nearest(x)[0, :, :, 0], [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    )


def test_bilinear_between_pixel_centres_without_antialiasing():
    np.testing.assert_allclose(resize_bilinear(row([0, 1]), 1, 4).ravel(), [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(
        resize_bilinear(row(range(8)), 1, 2).ravel(), [1.5, 5.5]
    )  # two neighbours, not a mean of four
