import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import Weights, xla_conv
from spade_jax.models.patch_discriminator import (
    MultiscaleDiscriminator,
    PatchDiscriminator,
    convolve_jointly,
)
from spade_jax.models.spade.reference_names import to_variables
from tests import parity

MUTABLE = ['batch_stats', 'spectral']


@pytest.mark.parametrize('case', parity.cases('discriminator'))
def test_discriminator_has_golden_numbers(case):
    golden = parity.Golden(case)
    options = golden.options
    discriminator = parity.discriminator_of(options)
    state = golden.state('sd')
    variables = to_variables(state, 'discriminator')
    layout, image = golden['in/x'][..., :-3], golden['in/x'][..., -3:]

    def layers(outputs):
        """(scale/layer, array) of features and logits, numbered as in the reference."""
        for i, scale in enumerate(outputs):
            for j, layer in enumerate([*scale.features, scale.logits]):
                yield f'{i}/{j}', layer

    def check(outputs, mode):
        assert len(outputs) == options['num_D']
        assert {len(scale.features) for scale in outputs} == {options['n_layers_D']}
        for name, layer in layers(outputs):
            golden.check(layer, f'out/{mode}/{name}')

    evaluate = jax.jit(functools.partial(discriminator.apply, train=False))
    check(evaluate(variables, layout, image), 'eval')

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def train(params):
        outputs, updates = discriminator.apply(
            {**variables, 'params': params}, layout, image, train=True, mutable=MUTABLE
        )
        terms = [
            jnp.mean(layer * golden[f'in/cotangent/{name}']) for name, layer in layers(outputs)
        ]
        return sum(terms), (outputs, updates)

    (_, (outputs, updates)), gradients = train(variables['params'])
    check(outputs, 'train')
    expected = to_variables({**state, **golden.state('sd_after_train')}, 'discriminator')
    assert set(updates) == set(expected) - {'params'}
    for collection, tree in updates.items():
        tolerance = 1e-5 if collection == 'spectral' else parity.relative(1e-4, 1e-5)
        parity.assert_trees_close(tree, expected[collection], tolerance, collection)
    check_gradients(golden, gradients)


def check_gradients(golden, gradients):
    state = golden.state('sd')
    norms = golden.state('gradnorm64')
    largest = max(map(float, norms.values()))
    full = {name: np.full(state[name].shape, norm) for name, norm in norms.items()}

    def check(gradient, norm):
        tolerance = max(1e-4 * norm.flat[0], 1e-6 * largest)
        norm_of_ours = jnp.linalg.norm(gradient)
        parity.assert_close(norm_of_ours, norm.flat[0], tolerance, 'norm of a gradient')

    jax.tree.map(check, gradients, to_variables(full, 'discriminator')['params'])
    whole = golden.state('grad')
    expected = to_variables(whole, 'discriminator')['params']
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    parity.assert_trees_close(gradients, expected, tolerance, 'gradient')


def test_joint_convolution_equals_convolution_of_concatenation():
    random = np.random.default_rng(0)
    layout = jnp.asarray(random.normal(size=(2, 9, 7, 4)), jnp.float32)
    image = jnp.asarray(random.normal(size=(4, 9, 7, 3)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(4, 4, 7, 5)), jnp.float32)
    weights = Weights(kernel, jnp.asarray(random.normal(size=5), jnp.float32))

    def concatenated(weights, image):
        x = jnp.concatenate([jnp.tile(layout, (2, 1, 1, 1)), image], axis=-1)
        return xla_conv(x, weights.kernel, 2, 2) + weights.bias

    def jointly(weights, image):
        return convolve_jointly(layout, image, weights, strides=2, padding=2)

    ours, our_gradients = jax.vjp(jointly, weights, image)
    expected, expected_gradients = jax.vjp(concatenated, weights, image)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    cotangent = jnp.asarray(random.normal(size=expected.shape), jnp.float32)
    assert_close = functools.partial(np.testing.assert_allclose, atol=1e-3)
    jax.tree.map(assert_close, our_gradients(cotangent), expected_gradients(cotangent))


def discriminator_of(num_scales, dtype=jnp.float32, **attributes):
    patch_discriminator = functools.partial(PatchDiscriminator, width=4, dtype=dtype, **attributes)
    return MultiscaleDiscriminator(patch_discriminator, num_scales, dtype)


def shapes_of(discriminator, num_layouts=2, num_images=2):
    """Shapes of outputs and variables."""
    layout, image = jnp.zeros((num_layouts, 32, 32, 3)), jnp.zeros((num_images, 32, 32, 3))
    init = functools.partial(discriminator.init_with_output, train=True)
    return jax.eval_shape(init, jax.random.key(0), layout, image)


def test_features_are_bfloat16_and_logits_float32():
    outputs, _ = shapes_of(discriminator_of(2, depth=2, dtype=jnp.bfloat16))
    assert len(outputs) == 2
    for scale in outputs:
        assert [feature.dtype for feature in scale.features] == [jnp.bfloat16] * 2
        assert scale.logits.dtype == jnp.float32


def test_unequal_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match='3 images cannot be shared equally by 2 layouts'):
        shapes_of(discriminator_of(1, depth=2), num_images=3)


@pytest.mark.parametrize('norm', ['sync_batch', 'batch', 'none'])
def test_hidden_layers_have_norm_or_bias(norm):
    discriminator = discriminator_of(1, depth=3, norm=norm, spectral_norm=False)
    _, variables = shapes_of(discriminator)
    params = variables['params']['scale_0']
    assert ('bias' in params['conv_1']) == (norm == 'none')
    assert ('norm_1' in params) == (norm != 'none')
    assert 'spectral' not in variables


@pytest.mark.parametrize(('depth', 'receptive_field'), [(2, 16), (3, 34), (4, 70)])
def test_logit_sees_receptive_field(depth, receptive_field):
    discriminator = discriminator_of(1, depth=depth, norm='none', spectral_norm=False, padding=1)
    image = jnp.zeros((1, 128, 32, 3))
    abstract = jax.eval_shape(discriminator.init, jax.random.key(0), image, image, train=False)
    # Positive weights: every pixel that a logit sees raises it.
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1), abstract)

    def logit(image):
        (output,) = discriminator.apply(variables, image, image, train=False)
        middle = output.logits.shape[1] // 2
        return output.logits[0, middle, 0, 0]

    rows = np.flatnonzero(np.any(jax.jit(jax.grad(logit))(image), axis=(0, 2, 3)))
    assert rows[-1] - rows[0] + 1 == receptive_field
