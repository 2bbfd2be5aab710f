import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.layers.noise_injection import NoiseInjection

X = jnp.zeros((2, 32, 48, 3))


def noise_of(seed):
    params = {'scale': jnp.array([1.0, 0.0, -2.0])}
    return np.asarray(NoiseInjection(seed).apply({'params': params}, X))


def test_fresh_layer_is_the_identity():
    layer = NoiseInjection()
    x = jax.random.normal(jax.random.key(0), X.shape)
    y, variables = layer.init_with_output(jax.random.key(1), x)
    np.testing.assert_array_equal(y, x)
    assert variables['params']['scale'].shape == (3,)


def test_noise_is_scaled_per_channel_and_the_same_for_all_images():
    y = noise_of(0)
    np.testing.assert_array_equal(y[0], y[1])
    np.testing.assert_array_equal(y[..., 1], 0)
    np.testing.assert_allclose(y[..., 2], -2 * y[..., 0])
    assert abs(y[0, ..., 0].mean()) < 0.1 and abs(y[0, ..., 0].std() - 1) < 0.1


def test_layers_have_different_noise():
    layers = np.stack([noise_of(seed)[0, ..., 0] for seed in range(4)])
    correlations = np.corrcoef(layers.reshape(4, -1))
    assert np.abs(correlations - np.eye(4)).max() < 0.1


def test_zero_scale_has_a_gradient():
    def loss(params):
        return (NoiseInjection().apply({'params': params}, X) * jnp.arange(32)[:, None, None]).sum()

    assert (jax.grad(loss)({'scale': jnp.zeros(3)})['scale'] != 0).all()


def test_noise_is_that_of_threefry_whatever_the_default_is():
    noise = noise_of(1)
    with jax.default_prng_impl('rbg'):
        np.testing.assert_array_equal(noise_of(1), noise)
