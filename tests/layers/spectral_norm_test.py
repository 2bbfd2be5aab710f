import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.layers.spectral_norm import SpectralNorm


def test_by_hand():
    kernel = jnp.diag(jnp.array([3.0, 1.0])).reshape(1, 1, 2, 2)
    variables = {'spectral': {'u': jnp.array([0.0, 1.0]), 'v': jnp.array([0.0, 1.0])}}
    layer = SpectralNorm()
    np.testing.assert_allclose(
        layer.apply(variables, kernel, train=False), kernel
    )  # as stored: sigma is that of the smaller direction
    diagonal = jnp.sqrt(0.5)
    variables = {'spectral': {'u': jnp.array([diagonal, diagonal]), 'v': jnp.array([1.0, 0.0])}}
    normalized, moved = layer.apply(variables, kernel, train=True, mutable=['spectral'])
    v = np.array([3, 1]) / np.sqrt(10)
    u = np.array([9, 1]) / np.sqrt(82)
    np.testing.assert_allclose(moved['spectral']['v'], v, rtol=1e-6)
    np.testing.assert_allclose(moved['spectral']['u'], u, rtol=1e-6)
    np.testing.assert_allclose(normalized, kernel / (u @ np.diag([3, 1]) @ v), rtol=1e-6)


def test_many_iterations_find_the_spectral_norm():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 6))
    layer = SpectralNorm()
    variables = layer.init(jax.random.key(1), kernel, train=True)
    for _ in range(100):
        normalized, variables = layer.apply(variables, kernel, train=True, mutable=['spectral'])
    largest = np.linalg.svd(np.asarray(normalized).reshape(-1, 6), compute_uv=False)[0]
    np.testing.assert_allclose(largest, 1, rtol=1e-4)
    np.testing.assert_allclose(
        layer.apply(variables, kernel, train=False), normalized, rtol=1e-4
    )  # the stored vectors, without another iteration


def test_gradient_holds_the_vectors_constant():
    kernel = jax.random.normal(jax.random.key(0), (1, 1, 2, 2))
    layer = SpectralNorm()
    variables = layer.init(jax.random.key(1), kernel, train=True)

    def first_entry(kernel):
        normalized, moved = layer.apply(variables, kernel, train=True, mutable=['spectral'])
        return normalized[0, 0, 0, 0], moved['spectral']

    gradient, moved = jax.grad(first_entry, has_aux=True)(kernel)
    u, v = moved['u'], moved['v']
    sigma = v @ kernel[0, 0] @ u
    expected = -kernel[0, 0, 0, 0] / sigma**2 * jnp.outer(v, u)
    expected = expected.at[0, 0].add(1 / sigma)
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-4)
