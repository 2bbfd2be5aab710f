import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.normalization import MOMENTUM, Normalization, moments


def normalize(x, train=True, **attributes):
    layer = Normalization(**attributes)
    variables = layer.init(jax.random.key(0), x, train=True)
    return layer.apply(variables, x, train=train, mutable=['batch_stats'])


X = jnp.asarray([[1.0, 3.0], [5.0, 7.0]]).reshape(2, 1, 2, 1)  # two images of two pixels


def test_instance_norm_uses_statistics_of_each_image():
    y, updates = normalize(X, kind='instance')
    np.testing.assert_allclose(y.ravel(), [-1, 1, -1, 1], atol=1e-4)
    assert not updates


@pytest.mark.parametrize('kind', ['batch', 'sync_batch'])
def test_batch_norm_uses_statistics_of_batch(kind):
    y, _ = normalize(X, kind=kind)
    np.testing.assert_allclose(y.ravel(), (X.ravel() - 4) / np.sqrt(5), atol=1e-4)


def test_no_norm_returns_input():
    y, _ = normalize(X, kind='none')
    np.testing.assert_array_equal(y, X)


@pytest.mark.parametrize('factor, pixels', [(1, 4), (2, 16)])
def test_running_variance_is_unbiased_over_upsampled_pixels(factor, pixels):
    _, updates = normalize(X, kind='batch', upsampling_factor=factor)
    expected = MOMENTUM * 1 + (1 - MOMENTUM) * 5 * pixels / (pixels - 1)
    np.testing.assert_allclose(updates['batch_stats']['var'], [expected], rtol=1e-6)
    np.testing.assert_allclose(updates['batch_stats']['mean'], [(1 - MOMENTUM) * 4], rtol=1e-6)


def test_evaluation_uses_running_statistics():
    y, updates = normalize(X, train=False, kind='batch')  # of a fresh layer: mean 0, variance 1
    np.testing.assert_allclose(y, X, rtol=1e-4)
    np.testing.assert_array_equal(updates['batch_stats']['mean'], [0])


def test_affine_scales_and_shifts():
    layer = Normalization('batch', affine=True)
    variables = layer.init(jax.random.key(0), X, train=True)
    variables['params'] = {'scale': jnp.array([2.0]), 'bias': jnp.array([3.0])}
    np.testing.assert_allclose(layer.apply(variables, X, train=False), 2 * X + 3, rtol=1e-4)


def test_variance_is_exact_for_large_means():
    x = 1e4 + jnp.asarray([-0.5, 0.5])
    np.testing.assert_allclose(moments(x, axes=(0,))[1], [0.25])
