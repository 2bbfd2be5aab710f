import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.cpu.fast_modulation import CACHE, FastModulation
from spade_jax.layers.spatially_adaptive_norm import SpatiallyAdaptiveNorm
from spade_jax.models.spade.reference_names import to_variables
from tests import parity


@pytest.mark.parametrize('modulation', [None, FastModulation()], ids=['plain', 'fused'])
@pytest.mark.parametrize('case', parity.cases('spade_norm'))
def test_spade_has_golden_numbers(case, modulation):
    golden = parity.Golden(case)
    layer = SpatiallyAdaptiveNorm(
        golden.norm,
        golden.meta['hidden_nc'],
        kernel_size=golden.spade.kernel_size,
        modulation=modulation,
    )
    variables = to_variables(golden.state('sd'), 'norm')
    x, layout, cotangent = golden['in/x'], golden['in/seg'], golden['in/cotangent']

    @jax.jit
    def evaluate(x):
        y, vjp = jax.vjp(lambda x: layer.apply(variables, x, layout, train=False), x)
        return y, vjp(cotangent)[0]

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def train(params, x):
        variables_ = {**variables, 'params': params}
        y, updates = layer.apply(variables_, x, layout, train=True, mutable=['batch_stats'])
        return jnp.sum(y * cotangent), (y, updates)

    y, gradient = evaluate(x)
    golden.check(y, 'out/eval')
    golden.check(gradient, 'grad_in/eval/x')
    (_, (y, updates)), gradients = train(variables['params'], x)
    golden.check(y, 'out/train')
    golden.check(gradients[1], 'grad_in/train/x')
    expected = to_variables(golden.state('grad'), 'norm')['params']
    # The noise of the gradients behind the ReLU is that of sums over all pixels.
    tolerance = max(golden.tolerance(key) for key in golden.arrays if key.startswith('grad/'))
    parity.assert_trees_close(gradients[0], expected, tolerance, 'gradient')
    if golden.norm != 'instance':
        expected = to_variables(golden.state('sd_after_train'), 'norm')['batch_stats']
        parity.assert_trees_close(updates['batch_stats'], expected, 1e-5, 'running statistics')


def test_zero_modulation_is_plain_normalization():
    layer = SpatiallyAdaptiveNorm('instance', hidden=2)
    x = jnp.asarray([[1.0, 3.0], [1.0, 3.0]]).reshape(1, 2, 2, 1)  # mean 2, deviation 1
    layout = jnp.ones((1, 2, 2, 3))
    variables = jax.tree.map(jnp.zeros_like, layer.init(jax.random.key(0), x, layout, train=True))
    y = layer.apply(variables, x, layout, train=True)
    np.testing.assert_allclose(y.ravel(), [-1, 1, -1, 1], atol=1e-5)


def test_cached_modulation_needs_no_layout():
    layer = SpatiallyAdaptiveNorm('instance', hidden=2, modulation=FastModulation())
    random = jax.random.key(0)
    x, layout = jax.random.normal(random, (1, 4, 4, 2)), jax.random.normal(random, (1, 4, 4, 3))
    variables = layer.init(random, x, layout, train=True)
    assert CACHE not in variables
    expected, cache = layer.apply(variables, x, layout, train=False, mutable=[CACHE])
    cached = layer.apply(cache, x, jnp.zeros_like(layout), train=False)
    np.testing.assert_array_equal(cached, expected)
    np.testing.assert_array_equal(layer.apply(variables, x, layout, train=False), expected)
