"""The generator of Johnson et al. against golden numbers of pix2pixHD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.residual_generator import ResidualGenerator
from spade_jax.models.torch_layout import residual_generator_names, to_state, to_variables
from tests import parity


def cases():
    return parity.cases('hdref_global')


def generator_of(golden):
    """The generator for the options of a golden file, and the names of its modules."""
    options = golden.options
    sizes = options['n_downsampling'], options['n_blocks']
    norm, features = parity.NORMS[options['norm']], options['output_nc']
    generator = ResidualGenerator(options['ngf'], *sizes, features, norm=norm)
    return generator, residual_generator_names(*sizes)


@pytest.mark.parametrize('case', cases())
def test_generator_matches_golden_numbers(case):
    golden = parity.Golden(case)
    generator, names = generator_of(golden)
    variables = to_variables(golden.state('sd'), names)
    check_generator(golden, generator, variables, lambda state: to_variables(state, names))


def check_generator(golden, generator, variables, to_variables):
    """Compare outputs in both modes, gradients and updated collections with a golden file."""

    def outputs(params, x):
        before = variables | {'params': params}
        evaluated = generator.apply(before, x, train=False)
        iterated = power_iterate(before)
        trained, updated = generator.apply(iterated, x, train=True, mutable=['batch_stats'])
        loss = jnp.mean(trained * golden['in/cotangent/y'])
        return loss, (evaluated, trained, {**iterated, **updated})

    gradient = jax.jit(jax.grad(outputs, argnums=(0, 1), has_aux=True))
    (params, x), (evaluated, trained, after) = gradient(variables['params'], golden['in/x'])
    golden.check(evaluated, 'out/eval/y')
    if 'out/train/y' in golden:
        golden.check(trained, 'out/train/y')
    golden.check(x, 'grad_in/x')
    for prefix in ('grad', 'sd_after_train'):
        if state := golden.state(prefix):
            spectral = {k: v for k, v in golden.state('sd').items() if k.endswith('weight_orig')}
            expected = to_variables(state if prefix == 'grad' else {**spectral, **state})
            actual = {'params': params} if prefix == 'grad' else after
            tolerance = max(golden.tolerance(f'{prefix}/{name}') for name in state)
            parity.assert_trees_close(actual, expected, tolerance, prefix)
    norms = golden.state('gradnorm64')
    largest = max(map(float, norms.values()))
    arrays = golden.state('sd')
    filled = to_variables({name: np.full(arrays[name].shape, norms[name]) for name in norms})
    for (_, ours), (path, norm) in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree_util.tree_leaves_with_path(filled['params']),
        strict=True,
    ):
        norm = float(norm.ravel()[0])
        limit = max(1e-3 * norm, 1e-5 * largest)
        parity.assert_close(jnp.linalg.norm(ours), norm, limit, jax.tree_util.keystr(path))


@pytest.mark.parametrize('case', cases())
def test_state_round_trips_through_variables(case):
    golden = parity.Golden(case)
    _, names = generator_of(golden)
    state = golden.state('sd')
    back = to_state(to_variables(state, names), names)
    assert {n for n in state if not n.endswith('num_batches_tracked')} == set(back)
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], name)


def test_generator_without_features_ends_after_last_relu():
    generator = ResidualGenerator(4, 1, 1, features=None)
    variables = jax.eval_shape(
        lambda: generator.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    )
    assert 'last' not in variables['params']


def test_dropout_acts_within_each_block():
    x = jnp.ones((1, 8, 8, 3))
    generator = ResidualGenerator(2, 1, 2)
    variables = generator.init(jax.random.key(0), x, train=False)
    blocks = []

    def dropout(features, block):
        blocks.append((block, features.shape))
        return features

    generator.apply(variables, x, train=False, between_layers=dropout)
    assert blocks == [(0, (1, 4, 4, 4)), (1, (1, 4, 4, 4))]
