import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from spade_jax.layers.convolution import Convolution
from spade_jax.layers.cpu.fast_modulation import FastModulation
from spade_jax.layers.normalization import moments, standardize
from spade_jax.layers.resampling import upsample_bilinear, upsample_nearest
from spade_jax.layers.spatially_adaptive_norm import SpatiallyAdaptiveNorm
from spade_jax.models.spade.generator import SpadeGenerator, SpadeResidualBlock, upsampling_blocks
from spade_jax.models.spade.reference_names import to_variables
from tests import parity

MUTABLE = ['batch_stats', 'spectral']
MODULATIONS = {'plain': None, 'fused': FastModulation(), 'dedup': FastModulation(dedup=True)}


@pytest.mark.parametrize('case', parity.cases('spade_resblock'))
def test_block_has_golden_numbers(case):
    golden = parity.Golden(case)
    block = SpadeResidualBlock(
        golden.options['fout'],
        norm=functools.partial(
            SpatiallyAdaptiveNorm, golden.norm, kernel_size=golden.spade.kernel_size
        ),
        conv=functools.partial(Convolution, spectral_norm=golden.spade.spectral),
    )
    x, layout, cotangent = golden['in/x'], golden['in/seg'], golden['in/cotangent']
    state = golden.state('sd')
    variables = to_variables(state, 'block')
    evaluate = jax.jit(functools.partial(block.apply, train=False))
    train = jax.jit(functools.partial(block.apply, train=True, mutable=MUTABLE))
    golden.check(evaluate(variables, x, layout), 'out/eval0')

    def weighted_sum(params):
        y, _ = train({**variables, 'params': params}, x, layout)
        return jnp.sum(y * cotangent)

    gradients = jax.jit(jax.grad(weighted_sum))(variables['params'])
    expected = to_variables(golden.state('grad'), 'block')['params']
    tolerance = max(golden.tolerance(key) for key in golden.arrays if key.startswith('grad/'))
    parity.assert_trees_close(gradients, expected, tolerance, 'gradient')

    # Three training passes: each updates running statistics and spectral vectors.
    for i in range(3):
        y, updates = train(variables, x, layout)
        variables = {**variables, **updates}
        golden.check(y, f'out/train{i}')
        if i in (0, 2):
            expected = to_variables({**state, **golden.state(f'sd_after_train{i}')}, 'block')
            for collection, tree in updates.items():
                what = f'{collection} after pass {i}'
                parity.assert_trees_close(tree, expected[collection], 1e-5, what)
        if i == 0:
            for conv in golden.state('sigma/train0'):
                expected = golden.arrays[f'sigma/train0/{conv}']
                np.testing.assert_allclose(sigma_of(variables, conv), expected, rtol=1e-5)
    golden.check(evaluate(variables, x, layout), 'out/eval3')


def image_of_uniform_layout(style, size, upsample=upsample_nearest, noise_injection=False):
    """Image [size, size, 3] of one class; noise has the scale 1."""
    generator = SpadeGenerator(
        multipliers=(4, 4, 2, 1),
        num_upsamplings=3,
        width=4,
        style_dim=2,
        spade_hidden=4,
        spectral_norm=False,
        upsample=upsample,
        noise_injection=noise_injection,
    )
    layout, style = jnp.ones((1, size, size, 1)), jnp.full((1, 2), style)
    variables = jax.jit(functools.partial(generator.init, train=False))(
        jax.random.key(0), layout, style
    )
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.ones_like(x) if 'noise' in str(path) else x, variables['params']
    )
    apply = jax.jit(functools.partial(generator.apply, train=False))
    return apply({**variables, 'params': params}, layout, style)[0]


def test_bilinear_upsampling_leaves_no_step_between_coarse_pixels():
    def largest_step(upsample):
        """Between neighbors in the middle row, relative to its range."""
        row = image_of_uniform_layout(1.0, 32, upsample)[16]
        return float(jnp.abs(jnp.diff(row, axis=0)).max() / jnp.ptp(row, axis=0).max())

    assert largest_step(upsample_bilinear) < 0.8 * largest_step(upsample_nearest)


def test_noise_gives_a_uniform_region_detail():
    def middle(noise_injection):
        """Pixels that no border reaches; the coarse grid of this style is uniform."""
        image = image_of_uniform_layout(0.0, 160, noise_injection=noise_injection)
        return np.asarray(image[72:88, 72:88])

    np.testing.assert_allclose(np.ptp(middle(False), axis=(0, 1)), 0, atol=1e-6)
    assert middle(True).std(axis=(0, 1)).min() > 0.01


def sigma_of(variables, conv):
    kernel = np.asarray(variables['params'][conv]['kernel'])
    vectors = variables['spectral'][conv]['spectral_norm']
    return np.vdot(vectors['v'], kernel.reshape(-1, kernel.shape[-1]) @ vectors['u'])


@pytest.mark.parametrize('features', [3, 4])  # with a learned shortcut, and without
def test_upsampling_block_equals_block_after_upsampling(features):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, 5, 4)).astype(np.float32)
    layout = jax.nn.one_hot(random.integers(0, 3, (2, 6, 10)), 3)
    upsampling = SpadeResidualBlock(features, upsample=upsample_nearest)
    plain = SpadeResidualBlock(features)
    training = dict(train=True, mutable=MUTABLE)
    variables = jax.jit(functools.partial(upsampling.init, train=True))(
        jax.random.key(0), x, layout
    )
    ours, updates = jax.jit(functools.partial(upsampling.apply, **training))(variables, x, layout)
    expected, expected_updates = jax.jit(functools.partial(plain.apply, **training))(
        variables, upsample_nearest(x), layout
    )
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert_close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(assert_close, updates, expected_updates)


CASES = parity.cases('generator')


# One with the modulation of CPUs, which is compared with the plain one by layer, too.
@pytest.mark.parametrize(
    'case, modulation', [(case, 'plain') for case in CASES[:-1]] + [(CASES[-1], 'dedup')]
)
def test_generator_has_golden_numbers(case, modulation):
    golden = parity.Golden(case)
    grid_size = tuple(golden.meta['latent_hw'])
    generator = parity.generator_of(golden.options, modulation=MODULATIONS[modulation])
    layout, cotangent = golden['in/semantics'], golden['in/cotangent']
    style = golden['in/z'] if golden.options['use_vae'] else None
    to_flax = functools.partial(
        to_variables, network='generator', grid_size=None if style is None else grid_size
    )
    state = golden.state('sd')
    variables = to_flax(state)
    apply = functools.partial(generator.apply, capture_intermediates=is_top_level)

    evaluate = jax.jit(functools.partial(apply, train=False, mutable=['intermediates']))
    image, captured = evaluate(variables, layout, style)
    golden.check(image, 'out/eval')
    check_features(golden, captured['intermediates'], 'feat/eval')

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def train(params):
        variables_ = {**variables, 'params': params}
        mutable = [*MUTABLE, 'intermediates']
        image, updates = apply(variables_, layout, style, train=True, mutable=mutable)
        return jnp.sum(image * cotangent) / image[0].size, (image, updates)

    (_, (image, updates)), gradients = train(variables['params'])
    golden.check(image, 'out/train')
    check_features(golden, updates.pop('intermediates'), 'feat/train')
    expected = to_flax({**state, **golden.state('sd_after_train')})
    for collection, tree in updates.items():
        tolerance = parity.relative(1e-4, 1e-6)
        parity.assert_trees_close(tree, expected[collection], tolerance, collection)
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
    dense = golden.options['use_vae']
    checked, expected = 0, sum(key.startswith(prefix) for key in golden.arrays)
    for name, calls in captured.items():
        (feature,) = calls['__call__']
        key = f'{prefix}/{names.get(name, name)}'
        # The outputs of the dense layer are in another order.
        if key in golden and not (name == 'first' and dense):
            golden.check(feature, key)
            checked += 1
    assert checked >= expected - dense


def check_gradients(golden, gradients, to_flax):
    """Norms of all gradients against those in double precision, and the small gradients whole."""
    state = golden.state('sd')
    norms64, norms32 = golden.state('gradnorm64'), golden.state('gradnorm')
    largest = max(float(norm) for norm in norms64.values())
    whole = golden.state('grad')

    def by_parameter(values):
        full = {name: np.full(state[name].shape, value) for name, value in values.items()}
        return to_flax(full)['params']

    def check(gradient, norm, noise):
        norm, noise = norm.flat[0], noise.flat[0]
        tolerance = max(20 * noise, 2e-4 * norm, 1e-6 * largest)
        parity.assert_close(jnp.linalg.norm(gradient), norm, tolerance, 'norm of a gradient')

    noise = {name: abs(norms64[name] - norms32[name]) for name in norms64}
    jax.tree.map(check, gradients, by_parameter(norms64), by_parameter(noise))
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    parity.assert_trees_close(gradients, to_flax(whole)['params'], tolerance, 'gradient')


@pytest.mark.parametrize(
    'num_blocks, num_upsamplings, expected',
    [
        (7, 5, {1, 3, 4, 5, 6}),  # middle_0 and up_0 ... up_3
        (7, 6, {1, 2, 3, 4, 5, 6}),
        (8, 7, {1, 2, 3, 4, 5, 6, 7}),
        (2, 1, {1}),
        (4, 2, {2, 3}),
        (2, 0, set()),
    ],
)
def test_upsampling_blocks_are_the_published_or_the_last(num_blocks, num_upsamplings, expected):
    assert upsampling_blocks(num_blocks, num_upsamplings) == expected


def test_more_upsamplings_than_blocks_are_refused():
    with pytest.raises(ValueError, match='3 upsamplings need as many blocks, not 2'):
        upsampling_blocks(2, 3)


def shapes_of(generator, layout_shape, style_shape=None):
    style = None if style_shape is None else jnp.zeros(style_shape)
    init = functools.partial(generator.init_with_output, train=True)
    return jax.eval_shape(init, jax.random.key(0), jnp.zeros(layout_shape), style)


def test_multipliers_set_number_and_channels_of_blocks():
    generator = SpadeGenerator(width=4, multipliers=(3, 0.5), num_upsamplings=1, spade_hidden=2)
    image, variables = shapes_of(generator, (1, 6, 8, 3))
    assert image.shape == (1, 6, 8, 3)
    params = variables['params']
    assert set(params) == {'first', 'head', 'middle_0', 'to_rgb'}
    assert params['first']['kernel'].shape == (3, 3, 3, 12)
    assert params['middle_0']['conv_1']['kernel'].shape == (3, 3, 2, 2)


@pytest.mark.parametrize('num_upsamplings, scale', [(5, 32), (6, 64), (7, 128)])
def test_indivisible_layout_is_refused(num_upsamplings, scale):
    generator = SpadeGenerator(width=2, num_upsamplings=num_upsamplings)
    with pytest.raises(ValueError, match=f'not divisible by {scale}'):
        shapes_of(generator, (1, scale, scale + 16, 3))


def test_unexpected_style_is_refused():
    with pytest.raises(ValueError, match='style is given'):
        shapes_of(SpadeGenerator(width=2), (1, 32, 32, 3), (1, 8))


def test_dense_layer_of_another_grid_is_refused():
    generator = SpadeGenerator(
        width=2, multipliers=(1,), num_upsamplings=0, style_dim=3, spade_hidden=2
    )
    _, variables = shapes_of(generator, (1, 4, 4, 3), (1, 3))
    apply = functools.partial(generator.apply, train=False)
    with pytest.raises(ValueError, match='has 32 units; a grid of 4x6 needs 48'):
        jax.eval_shape(apply, variables, jnp.zeros((1, 4, 6, 3)), jnp.zeros((1, 3)))


@functools.partial(jax.jit, static_argnums=0)
def gradients_of(generator, variables, layout, cotangent):
    """Gradients of the parameters, and updates."""

    def weighted_sum(params):
        image, updates = generator.apply(
            variables | {'params': params}, layout, train=True, mutable=MUTABLE
        )
        return jnp.sum(image * cotangent), updates

    return jax.grad(weighted_sum, has_aux=True)(variables['params'])


@pytest.mark.parametrize(
    'rematerialize, modulation',
    [('modulation', 'plain'), ('blocks', 'plain'), ('modulation', 'fused'), ('blocks', 'dedup')],
)
def test_rematerialization_changes_no_gradient(rematerialize, modulation):
    """Nor does the modulation: the reference is the plain one."""
    layout = jax.nn.one_hot(np.arange(64)[:, None] // 16 + np.arange(64) // 48, 7)[None]
    attributes = {'width': 2, 'multipliers': (2, 1), 'num_upsamplings': 1, 'spade_hidden': 4}
    plain = SpadeGenerator(**attributes)
    ours = plain.clone(rematerialize=rematerialize, modulation=MODULATIONS[modulation])
    variables = jax.jit(functools.partial(plain.init, train=True))(jax.random.key(0), layout)
    cotangent = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)
    inputs = variables, layout, cotangent
    (actual, updates), (expected, expected_updates) = (
        gradients_of(generator, *inputs) for generator in (ours, plain)
    )
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    # The gradient of a bias before a normalization is rounding noise.
    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5 * largest)
    jax.tree.map(assert_close, actual, expected)
    jax.tree.map(functools.partial(assert_close, atol=1e-5), updates, expected_updates)


def one_class(index, size, classes):
    return jax.nn.one_hot(jnp.full((1, *size), index), classes)


class PlainGenerator(nn.Module):
    """The layout enters at the input only, as in pix2pixHD.

    Circular padding keeps a layout without borders without borders.
    """

    @nn.compact
    def __call__(self, layout):
        x = layout
        for i in range(3):
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode='wrap')
            x = Convolution(8, padding=0, name=f'conv_{i}')(x)
            x = jax.nn.relu(standardize(x, *moments(x, axes=(1, 2))))
        return jnp.tanh(Convolution(3, kernel_size=1, name='to_rgb')(x))


def test_plain_normalization_washes_out_uniform_layouts():
    """Section 3.2 of the paper."""
    plain = PlainGenerator()
    variables = plain.init(jax.random.key(0), one_class(0, (64, 64), 2))
    # Larger weights than the initial ones: the images must not be equal because they are small.
    variables = jax.tree.map(lambda w: 50 * w + 0.1, variables)
    sample = jax.jit(plain.apply)
    images = [sample(variables, one_class(index, (64, 64), 2)) for index in (0, 1)]
    assert float(jnp.abs(images[0]).max()) > 0.05
    np.testing.assert_allclose(images[0], images[1], atol=1e-3)


def test_spade_distinguishes_uniform_layouts():
    goldens = (parity.Golden(case) for case in parity.cases('generator_normal'))
    golden = next(golden for golden in goldens if not golden.options['use_vae'])
    spade = parity.generator_of(golden.options)
    variables = to_variables(golden.state('sd'), 'generator')
    _, *size, channels = golden['in/semantics'].shape
    sample = jax.jit(functools.partial(spade.apply, train=False))
    images = [sample(variables, one_class(index, size, channels)) for index in (0, 1)]
    assert float(jnp.abs(images[0] - images[1]).mean()) > 0.05
