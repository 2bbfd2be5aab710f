import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import Weights, convolve
from spade_jax.layers.resampling import average_pool
from spade_jax.models.spade.discriminator import MultiscaleDiscriminator, convolve_together
from spade_jax.models.spade.reference_names import to_variables
from tests import parity


@pytest.mark.parametrize('case', parity.cases('discriminator'))
def test_golden_numbers(case):
    golden = parity.Golden(case)
    options = golden.options
    discriminator = MultiscaleDiscriminator(options['num_D'], options['ndf'], options['n_layers_D'])
    state = golden.state('sd')
    variables = to_variables(state, 'discriminator')
    layout, image = golden['in/x'][..., :-3], golden['in/x'][..., -3:]

    def check(outputs, mode):
        assert len(outputs) == options['num_D']
        for i, scale in enumerate(outputs):
            assert len(scale) == options['n_layers_D'] + 1
            for j, layer in enumerate(scale):
                golden.check(layer, f'out/{mode}/{i}/{j}')

    check(
        jax.jit(functools.partial(discriminator.apply, train=False))(variables, layout, image),
        'eval',
    )

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def train(params):
        outputs, moved = discriminator.apply(
            {**variables, 'params': params}, layout, image, train=True, mutable=['spectral']
        )
        total = sum(
            jnp.mean(layer * golden[f'in/cotangent/{i}/{j}'])
            for i, scale in enumerate(outputs)
            for j, layer in enumerate(scale)
        )
        return total, (outputs, moved)

    (_, (outputs, moved)), gradients = train(variables['params'])
    check(outputs, 'train')
    parity.assert_trees_close(
        moved['spectral'],
        to_variables({**state, **golden.state('sd_after_train')}, 'discriminator')['spectral'],
        1e-5,
        'spectral',
    )
    norms = golden.state('gradnorm64')
    expected = to_variables(
        {name: np.full(state[name].shape, norm) for name, norm in norms.items()}, 'discriminator'
    )['params']
    largest = max(map(float, norms.values()))
    jax.tree.map(
        lambda g, norm: parity.assert_close(
            jnp.linalg.norm(g),
            norm.ravel()[0],
            max(1e-4 * norm.ravel()[0], 1e-6 * largest),
            'norm of a gradient',
        ),
        gradients,
        expected,
    )
    whole = golden.state('grad')
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    parity.assert_trees_close(
        gradients, to_variables(whole, 'discriminator')['params'], tolerance, 'gradient'
    )


def test_average_pool_does_not_count_padding():
    x = jnp.ones((1, 5, 4, 1))
    np.testing.assert_allclose(average_pool(x), np.ones((1, 3, 2, 1)), rtol=1e-6)
    assert average_pool(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_pictures_of_one_layout_share_its_part():
    """As one convolution of layout and picture behind one another, with the gradients of kernel and pictures."""
    random = np.random.default_rng(0)
    layout, image = (
        jnp.asarray(random.normal(size=shape), jnp.float32)
        for shape in ((2, 9, 7, 4), (4, 9, 7, 3))
    )
    weights = Weights(
        jnp.asarray(random.normal(size=(4, 4, 7, 5)), jnp.float32),
        jnp.asarray(random.normal(size=5), jnp.float32),
    )

    def plain(weights, image):
        return (
            convolve(
                jnp.concatenate([jnp.concatenate([layout, layout]), image], axis=-1),
                weights.kernel,
                2,
                2,
            )
            + weights.bias
        )

    ours, expected = (
        jax.vjp(function, weights, image)
        for function in (
            lambda weights, image: convolve_together(layout, image, weights, 2, 2),
            plain,
        )
    )
    np.testing.assert_allclose(ours[0], expected[0], atol=1e-4)
    cotangent = jnp.asarray(random.normal(size=expected[0].shape), jnp.float32)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-3),
        ours[1](cotangent),
        expected[1](cotangent),
    )


def test_all_scales_in_bfloat16():
    discriminator = MultiscaleDiscriminator(2, width=4, depth=2, dtype=jnp.bfloat16)
    outputs, _ = jax.eval_shape(
        functools.partial(discriminator.init_with_output, train=True),
        jax.random.key(0),
        jnp.zeros((2, 32, 32, 3)),
        jnp.zeros((2, 32, 32, 3)),
    )
    assert [[feature.dtype.name for feature in scale] for scale in outputs] == [
        ['bfloat16', 'bfloat16', 'float32']
    ] * 2


def test_as_many_pictures_of_every_layout():
    with pytest.raises(
        ValueError, match='3 pictures are not the same number for each of 2 layouts'
    ):
        MultiscaleDiscriminator(1, width=4, depth=2).init(
            jax.random.key(0), jnp.zeros((2, 32, 32, 3)), jnp.zeros((3, 32, 32, 3)), train=True
        )


@pytest.mark.parametrize('norm', ['sync_batch', 'batch', 'none'])
def test_other_normalisations(norm):
    discriminator = MultiscaleDiscriminator(1, width=4, depth=3, norm=norm, spectral_norm=False)
    layout, image = jnp.zeros((2, 32, 32, 3)), jnp.zeros((2, 32, 32, 3))
    variables = jax.eval_shape(
        functools.partial(discriminator.init, train=True), jax.random.key(0), layout, image
    )
    hidden = variables['params']['scale_0']['conv_1']
    assert ('bias' in hidden) == (norm == 'none')
    assert ('norm_1' in variables['params']['scale_0']) == (norm != 'none')
    assert 'spectral' not in variables
