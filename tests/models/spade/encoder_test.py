import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.models.spade.encoder import StyleEncoder, sample_style
from spade_jax.models.spade.reference_names import to_variables
from tests import parity


@pytest.mark.parametrize('case', parity.cases('encoder'))
def test_golden_numbers(case):
    golden = parity.Golden(case)
    usable = not golden.meta.get('error')
    encoder = StyleEncoder(
        golden.options['ngf'],
        golden.options['z_dim'],
        depth=6 if golden.options['crop_size'] >= 256 else 5,
    )
    state = golden.state('sd')
    variables = to_variables(state, 'encoder')
    if (
        not usable
    ):  # the reference stops at its dense heads; the convolutions in front of them are compared
        variables['params'] |= {
            head: {
                'kernel': jnp.zeros((8 * 8 * 8 * golden.options['ngf'], 256)),
                'bias': jnp.zeros(256),
            }
            for head in ('mean', 'log_variance')
        }

    for i in range(sum(key.startswith('in/x') for key in golden.arrays)):
        for mode in ('eval', 'train'):
            apply = jax.jit(
                functools.partial(
                    encoder.apply,
                    train=mode == 'train',
                    mutable=['spectral', 'intermediates'],
                    capture_intermediates=True,
                )
            )
            (mean, log_variance), moved = apply(variables, golden[f'in/x{i}'])
            if usable:
                golden.check(mean, f'out/{mode}{i}/mu')
                golden.check(log_variance, f'out/{mode}{i}/logvar')
            if i == 0:
                for layer in range(3, encoder.depth + 1):
                    (feature,) = moved['intermediates'][f'norm_{layer - 1}']['__call__']
                    golden.check(feature, f'out/{mode}0/layer{layer}')
            after = golden.state(f'sd_after_train{i}')
            if mode == 'train' and after:
                parity.assert_trees_close(
                    moved['spectral'],
                    to_variables({**state, **after}, 'encoder')['spectral'],
                    1e-5,
                    'spectral',
                )

    if usable:

        def score(params):
            (mean, log_variance), _ = encoder.apply(
                {**variables, 'params': params}, golden['in/x0'], train=True, mutable=['spectral']
            )
            return jnp.sum(mean) + jnp.sum(jnp.square(log_variance))

        gradients = jax.jit(jax.grad(score))(variables['params'])
        norms = golden.state('gradnorm64')
        expected = to_variables(
            {name: np.full(state[name].shape, norm) for name, norm in norms.items()}, 'encoder'
        )['params']
        jax.tree.map(
            lambda g, norm: np.testing.assert_allclose(
                jnp.linalg.norm(g), norm.ravel()[0], rtol=1e-3
            ),
            gradients,
            expected,
        )


@pytest.mark.parametrize('crop, depth, input_size', [(64, 5, 256), (96, 4, 64), (320, 6, 256)])
def test_any_crop_and_latent(crop, depth, input_size):
    encoder = StyleEncoder(width=2, style_dim=7, depth=depth, input_size=input_size)
    image = jnp.zeros((3, crop, crop // 2, 3))
    (mean, log_variance), _ = jax.eval_shape(
        functools.partial(encoder.init_with_output, train=True), jax.random.key(0), image
    )
    assert mean.shape == log_variance.shape == (3, 7)


def test_reparameterisation_by_hand():
    np.testing.assert_allclose(
        sample_style(jnp.array([1.0]), 2 * jnp.log(jnp.array([3.0])), jnp.array([-1.0])),
        [-2.0],
        rtol=1e-6,
    )
