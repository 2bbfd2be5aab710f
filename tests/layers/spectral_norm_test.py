import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.layers.convolution import Convolution
from spade_jax.layers.spectral_norm import SpectralNorm, fold_spectral_norm, power_iterate

LAYER = SpectralNorm()
DIAGONAL = jnp.diag(jnp.array([3.0, 1.0])).reshape(1, 1, 2, 2)


def vectors(u, v):
    return {'spectral': {'u': jnp.array(u), 'v': jnp.array(v)}}


def test_evaluation_uses_stored_vectors():
    """Here those of the smaller singular value."""
    normalized = LAYER.apply(vectors([0.0, 1.0], [0.0, 1.0]), DIAGONAL, train=False)
    np.testing.assert_allclose(normalized, DIAGONAL)


def test_training_iterates_once_by_hand():
    half = np.sqrt(0.5)
    variables = vectors([half, half], [1.0, 0.0])
    normalized, updates = LAYER.apply(variables, DIAGONAL, train=True, mutable=['spectral'])
    v, u = np.array([3, 1]) / np.sqrt(10), np.array([9, 1]) / np.sqrt(82)
    np.testing.assert_allclose(updates['spectral']['v'], v, rtol=1e-6)
    np.testing.assert_allclose(updates['spectral']['u'], u, rtol=1e-6)
    np.testing.assert_allclose(normalized, DIAGONAL / (u @ np.diag([3, 1]) @ v), rtol=1e-6)


def test_many_iterations_find_the_spectral_norm():
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 4, 6))
    variables = LAYER.init(jax.random.key(1), kernel, train=True)
    for _ in range(100):
        normalized, variables = LAYER.apply(variables, kernel, train=True, mutable=['spectral'])
    largest = np.linalg.svd(np.asarray(normalized).reshape(-1, 6), compute_uv=False)[0]
    np.testing.assert_allclose(largest, 1, rtol=1e-4)


def test_gradient_holds_vectors_constant():
    kernel = jax.random.normal(jax.random.key(0), (1, 1, 2, 2))
    variables = LAYER.init(jax.random.key(1), kernel, train=True)

    def first_entry(kernel):
        normalized, updates = LAYER.apply(variables, kernel, train=True, mutable=['spectral'])
        return normalized[0, 0, 0, 0], updates['spectral']

    gradient, updates = jax.grad(first_entry, has_aux=True)(kernel)
    u, v = updates['u'], updates['v']
    sigma = v @ kernel[0, 0] @ u
    expected = -kernel[0, 0, 0, 0] / sigma**2 * jnp.outer(v, u)
    expected = expected.at[0, 0].add(1 / sigma)
    np.testing.assert_allclose(gradient[0, 0], expected, rtol=1e-4)


def conv_and_variables():
    x = jax.random.normal(jax.random.key(0), (1, 5, 5, 3))
    conv = Convolution(4, spectral_norm=True)
    return conv, x, conv.init(jax.random.key(1), x, train=True)


def test_power_iterate_equals_a_training_pass():
    conv, x, variables = conv_and_variables()
    _, updates = conv.apply(variables, x, train=True, mutable=['spectral'])
    ours = power_iterate(variables)['spectral']
    jax.tree.map(np.testing.assert_array_equal, ours, updates['spectral'])


def test_folded_variables_give_the_same_result():
    conv, x, variables = conv_and_variables()
    folded = fold_spectral_norm(variables)
    assert set(folded) == {'params'}
    expected = conv.apply(variables, x, train=False)
    np.testing.assert_allclose(conv.apply(folded, x, train=False), expected, rtol=1e-5)
    assert np.abs(conv.apply({'params': variables['params']}, x) - expected).max() > 0.1


def test_variables_without_spectral_norm_are_returned():
    variables = {'params': {'kernel': jnp.ones(1)}}
    assert power_iterate(variables) is variables
    assert fold_spectral_norm(variables) is variables
