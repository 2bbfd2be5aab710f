import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import moments, standardize
from spade_jax.layers.resampling import upsample_nearest
from spade_jax.layers.spatially_adaptive_norm import SpatiallyAdaptiveNorm
from spade_jax.models.spade.generator import SpadeGenerator, SpadeResidualBlock
from spade_jax.models.spade.reference_names import to_variables
from tests import parity

MUTABLE = ['batch_stats', 'spectral']
NUM_UPSAMPLINGS = {'normal': 5, 'more': 6, 'most': 7}


@pytest.mark.parametrize('case', parity.cases('spade_resblock'))
def test_block_golden_numbers(case):
    golden = parity.Golden(case)
    block = SpadeResidualBlock(
        golden.options['fout'], norm=functools.partial(SpatiallyAdaptiveNorm, golden.norm)
    )
    x, layout, cotangent = golden['in/x'], golden['in/seg'], golden['in/cotangent']
    state = golden.state('sd')
    variables = to_variables(state, 'block')
    golden.check(block.apply(variables, x, layout, train=False), 'out/eval0')

    def weighted_sum(params):
        y, _ = block.apply({**variables, 'params': params}, x, layout, train=True, mutable=MUTABLE)
        return jnp.sum(y * cotangent)

    gradients = jax.grad(weighted_sum)(variables['params'])
    expected = to_variables(golden.state('grad'), 'block')['params']
    tolerance = max(golden.tolerance(key) for key in golden.arrays if key.startswith('grad/'))
    parity.assert_trees_close(gradients, expected, tolerance, 'gradient')

    for i in range(
        3
    ):  # three training passes in a row: running statistics and spectral vectors move each time
        y, moved = block.apply(variables, x, layout, train=True, mutable=MUTABLE)
        variables = {**variables, **moved}
        golden.check(y, f'out/train{i}')
        if i in (0, 2):
            expected = to_variables({**state, **golden.state(f'sd_after_train{i}')}, 'block')
            for collection in moved:
                parity.assert_trees_close(
                    moved[collection], expected[collection], 1e-5, f'{collection} after pass {i}'
                )
        if i == 0:
            for conv in golden.state('sigma/train0'):
                kernel, vectors = moved_kernel(variables, conv)
                sigma = np.vdot(vectors['v'], kernel.reshape(-1, kernel.shape[-1]) @ vectors['u'])
                np.testing.assert_allclose(sigma, golden.arrays[f'sigma/train0/{conv}'], rtol=1e-5)
    golden.check(block.apply(variables, x, layout, train=False), 'out/eval3')


@pytest.mark.parametrize('features', [3, 4])  # with a shortcut of its own, and without
def test_a_block_that_doubles_the_resolution_is_one_after_the_doubling(features):
    random = np.random.default_rng(0)
    x, layout = (
        random.normal(size=(2, 3, 5, 4)).astype(np.float32),
        jax.nn.one_hot(random.integers(0, 3, (2, 6, 10)), 3),
    )
    doubling, plain = SpadeResidualBlock(features, upsample=True), SpadeResidualBlock(features)
    variables = doubling.init(jax.random.key(0), x, layout, train=True)
    ours, moved = doubling.apply(variables, x, layout, train=True, mutable=MUTABLE)
    expected, expected_moved = plain.apply(
        variables, upsample_nearest(x), layout, train=True, mutable=MUTABLE
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), moved, expected_moved
    )  # the unbiased variance counts all pixels


def moved_kernel(variables, conv):
    return variables['params'][conv]['kernel'], variables['spectral'][conv]['spectral_norm']


def make_generator(golden) -> SpadeGenerator:
    options = golden.options
    return SpadeGenerator(
        width=options['ngf'],
        num_upsamplings=NUM_UPSAMPLINGS[options['num_upsampling_layers']],
        norm=golden.norm,
        style_dim=options['z_dim'] if options['use_vae'] else None,
        latent_size=tuple(golden.meta['latent_hw']),
    )


@pytest.mark.parametrize('case', parity.cases('generator'))
def test_generator_golden_numbers(case):
    golden = parity.Golden(case)
    generator = make_generator(golden)
    layout, cotangent = golden['in/semantics'], golden['in/cotangent']
    style = golden['in/z'] if 'in/z' in golden else None
    state = golden.state('sd')
    to_flax = functools.partial(
        to_variables,
        network='generator',
        latent_size=golden.meta['latent_hw'] if style is not None else None,
    )
    variables = to_flax(state)

    evaluate = jax.jit(
        functools.partial(
            generator.apply,
            train=False,
            capture_intermediates=is_top_level,
            mutable=['intermediates'],
        )
    )
    picture, captured = evaluate(variables, layout, style)
    golden.check(picture, 'out/eval')
    check_features(golden, captured['intermediates'], 'feat/eval')

    @functools.partial(jax.value_and_grad, has_aux=True)
    def train(params):
        picture, moved = generator.apply(
            {**variables, 'params': params},
            layout,
            style,
            train=True,
            mutable=MUTABLE + ['intermediates'],
            capture_intermediates=is_top_level,
        )
        return jnp.sum(picture * cotangent) / picture[0].size, (picture, moved)

    (_, (picture, moved)), gradients = jax.jit(train)(variables['params'])
    golden.check(picture, 'out/train')
    check_features(golden, moved.pop('intermediates'), 'feat/train')
    expected = to_flax({**state, **golden.state('sd_after_train')})
    for collection, tree in moved.items():
        parity.assert_trees_close(
            tree, expected[collection], parity.relative(1e-4, 1e-6), collection
        )
    check_gradients(golden, gradients, to_flax)


def is_top_level(module, method_name):
    return method_name == '__call__' and len(module.path) == 1


def check_features(golden, captured, prefix):
    names = {
        'first': 'fc',
        'head': 'head_0',
        'middle_0': 'G_middle_0',
        'middle_1': 'G_middle_1',
        'to_rgb': 'conv_img',
    }
    checked, expected = 0, sum(key.startswith(prefix) for key in golden.arrays)
    for name, calls in captured.items():
        (feature,) = calls['__call__']
        key = f'{prefix}/{names.get(name, name)}'
        if key in golden and not (
            name == 'first' and golden.options['use_vae']
        ):  # the dense layer's outputs are ordered otherwise
            golden.check(feature, key)
            checked += 1
    assert checked >= expected - golden.options['use_vae']


def check_gradients(golden, gradients, to_flax):
    """Norms of all gradients against the double-precision ones, and the small gradients whole."""
    state = golden.state('sd')
    norms64, norms32 = golden.state('gradnorm64'), golden.state('gradnorm')
    largest = max(float(norm) for norm in norms64.values())
    whole = golden.state('grad')
    expected_norms = to_flax({name: np.full(state[name].shape, norms64[name]) for name in norms64})[
        'params'
    ]
    noise = to_flax(
        {name: np.full(state[name].shape, abs(norms64[name] - norms32[name])) for name in norms64}
    )['params']
    jax.tree.map(
        lambda g, norm, noise: parity.assert_close(
            jnp.linalg.norm(g),
            norm.ravel()[0],
            max(20 * noise.ravel()[0], 2e-4 * norm.ravel()[0], 1e-6 * largest),
            'norm of a gradient',
        ),
        gradients,
        expected_norms,
        noise,
    )
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    parity.assert_trees_close(gradients, to_flax(whole)['params'], tolerance, 'gradient')


@pytest.mark.parametrize('num_upsamplings, scale', [(5, 32), (6, 64), (7, 128)])
def test_size_that_the_upsamplings_do_not_reach_is_refused(num_upsamplings, scale):
    generator = SpadeGenerator(width=2, num_upsamplings=num_upsamplings)
    with pytest.raises(ValueError, match=f'not divisible by {scale}'):
        jax.eval_shape(
            functools.partial(generator.init, train=True),
            jax.random.key(0),
            jnp.zeros((1, scale, scale + 32 // 2, 3)),
        )


def test_style_without_encoder_is_refused():
    with pytest.raises(ValueError, match='style is given'):
        SpadeGenerator(width=2).init(
            jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 8)), train=True
        )


def test_maps_of_one_class_tell_apart_where_plain_normalisation_cannot():
    """Section 3.2 of the paper: behind convolution and instance normalisation, two maps of one class each are the same picture."""

    def one_class(index):
        return jax.nn.one_hot(jnp.full((1, 64, 64), index), 2)

    class PlainGenerator(nn.Module):
        """The map enters at the input only, as in pix2pixHD; circular padding keeps a map without borders without borders."""

        @nn.compact
        def __call__(self, layout):
            x = layout
            for i in range(3):
                x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='wrap')
                x = Convolution(8, padding=0, name=f'conv_{i}')(x, train=True)
                x = jax.nn.relu(standardize(x, *moments(x, axes=(1, 2))))
            return jnp.tanh(Convolution(3, kernel_size=1, name='to_rgb')(x, train=True))

    plain = PlainGenerator()
    variables = plain.init(jax.random.key(0), one_class(0))
    # Larger weights than the initial ones: the sameness must not come from small numbers.
    variables = jax.tree.map(lambda w: 50 * w + 0.1, variables)
    pictures = [plain.apply(variables, one_class(index)) for index in (0, 1)]
    assert float(jnp.abs(pictures[0]).max()) > 0.05
    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-3)

    golden = parity.Golden('generator_normal')
    spade = make_generator(golden)
    variables = to_variables(golden.state('sd'), 'generator')
    channels = golden['in/semantics'].shape[-1]
    pictures = [
        spade.apply(variables, jax.nn.one_hot(jnp.full((1, 64, 64), index), channels), train=False)
        for index in (0, 1)
    ]
    assert float(jnp.abs(pictures[0] - pictures[1]).mean()) > 0.05
