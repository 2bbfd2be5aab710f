import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.spatially_adaptive_norm import SpatiallyAdaptiveNorm
from spade_jax.models.spade.reference_names import to_variables
from tests import parity


@pytest.mark.parametrize('case', parity.cases('spade_norm'))
def test_golden_numbers(case):
    golden = parity.Golden(case)
    kernel_size = int(golden.meta['config'][-1])
    layer = SpatiallyAdaptiveNorm(golden.norm, golden.meta['hidden_nc'], kernel_size)
    variables = to_variables(golden.state('sd'), 'norm')
    x, layout, cotangent = golden['in/x'], golden['in/seg'], golden['in/cotangent']

    def evaluate(x):
        return layer.apply(variables, x, layout, train=False)

    def train(params, x):
        y, state = layer.apply(
            {**variables, 'params': params}, x, layout, train=True, mutable=['batch_stats']
        )
        return jnp.sum(y * cotangent), (y, state)

    golden.check(evaluate(x), 'out/eval')
    golden.check(jax.grad(lambda x: jnp.sum(evaluate(x) * cotangent))(x), 'grad_in/eval/x')
    (_, (y, state)), gradients = jax.value_and_grad(train, argnums=(0, 1), has_aux=True)(
        variables['params'], x
    )
    golden.check(y, 'out/train')
    golden.check(gradients[1], 'grad_in/train/x')
    expected = to_variables(golden.state('grad'), 'norm')['params']
    # Gradients of the hidden convolution pass through a ReLU; their noise is that of sums over all pixels.
    tolerance = max(golden.tolerance(key) for key in golden.arrays if key.startswith('grad/'))
    parity.assert_trees_close(gradients[0], expected, tolerance, 'gradient')
    if golden.norm != 'instance':
        parity.assert_trees_close(
            state['batch_stats'],
            to_variables(golden.state('sd_after_train'), 'norm')['batch_stats'],
            1e-5,
            'running statistics',
        )


def test_zero_modulation_is_plain_normalisation():
    layer = SpatiallyAdaptiveNorm('instance', hidden=2)
    x = jnp.asarray([[1.0, 3.0], [1.0, 3.0]]).reshape(1, 2, 2, 1)  # mean 2, deviation 1
    variables = jax.tree.map(
        jnp.zeros_like, layer.init(jax.random.key(0), x, jnp.ones((1, 2, 2, 3)), train=True)
    )
    y = layer.apply(variables, x, jnp.ones((1, 2, 2, 3)), train=True)
    np.testing.assert_allclose(y.ravel(), [-1, 1, -1, 1], atol=1e-5)
