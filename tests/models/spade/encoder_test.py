import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.models.spade.encoder import StyleEncoder, sample_style
from spade_jax.models.spade.reference_names import to_variables
from tests import parity

MUTABLE = ['batch_stats', 'spectral']


def variables_of(golden, encoder):
    variables = to_variables(golden.state('sd'), 'encoder')
    if golden.meta.get('error'):  # the reference stops before its heads
        kernel = jnp.zeros((8 * 8 * 8 * encoder.width, encoder.style_dim))
        head = {'kernel': kernel, 'bias': jnp.zeros(encoder.style_dim)}
        variables['params'] |= {'mean': head, 'log_variance': head}
    return variables


@pytest.mark.parametrize('mode', ['eval', 'train'])
@pytest.mark.parametrize('case', parity.cases('encoder'))
def test_encoder_has_golden_numbers(case, mode):
    golden = parity.Golden(case)
    encoder = parity.encoder_of(golden.options)
    variables = variables_of(golden, encoder)
    apply = jax.jit(
        functools.partial(
            encoder.apply,
            train=mode == 'train',
            mutable=[*MUTABLE, 'intermediates'],
            capture_intermediates=True,
        )
    )
    for i in range(sum(key.startswith('in/x') for key in golden.arrays)):
        (mean, log_variance), updates = apply(variables, golden[f'in/x{i}'])
        features = updates.pop('intermediates')
        if not golden.meta.get('error'):
            golden.check(mean, f'out/{mode}{i}/mu')
            golden.check(log_variance, f'out/{mode}{i}/logvar')
        if i == 0:
            for layer in range(3, encoder.depth + 1):
                (feature,) = features[f'norm_{layer - 1}']['__call__']
                golden.check(feature, f'out/{mode}0/layer{layer}')
        after = golden.state(f'sd_after_train{i}')
        if mode == 'train' and after:
            expected = to_variables({**golden.state('sd'), **after}, 'encoder')
            for collection, tree in updates.items():
                parity.assert_trees_close(tree, expected[collection], 1e-5, collection)


@pytest.mark.parametrize('case', parity.usable_encoders())
def test_gradients_have_golden_norms(case):
    golden = parity.Golden(case)
    encoder = parity.encoder_of(golden.options)
    state = golden.state('sd')
    variables = to_variables(state, 'encoder')

    def score(params):
        (mean, log_variance), _ = encoder.apply(
            {**variables, 'params': params}, golden['in/x0'], train=True, mutable=MUTABLE
        )
        return jnp.sum(mean) + jnp.sum(jnp.square(log_variance))

    gradients = jax.jit(jax.grad(score))(variables['params'])
    norms = golden.state('gradnorm64')
    full = {name: np.full(state[name].shape, norm) for name, norm in norms.items()}

    def check(gradient, norm):
        np.testing.assert_allclose(jnp.linalg.norm(gradient), norm.flat[0], rtol=1e-3)

    jax.tree.map(check, gradients, to_variables(full, 'encoder')['params'])


@pytest.mark.parametrize(
    'crop, depth, input_size', [(64, 5, 256), (96, 4, 64), (320, 6, 256), (256, 8, 512)]
)
def test_any_crop_and_latent_fit(crop, depth, input_size):
    encoder = StyleEncoder(width=2, style_dim=7, depth=depth, input_size=input_size)
    init = functools.partial(encoder.init_with_output, train=True)
    image = jnp.zeros((3, crop, crop // 2, 3))
    (mean, log_variance), variables = jax.eval_shape(init, jax.random.key(0), image)
    assert mean.shape == (3, 7)
    assert log_variance.shape == (3, 7)
    assert sum(name.startswith('conv_') for name in variables['params']) == depth


@pytest.mark.parametrize('norm', ['batch', 'sync_batch'])
def test_batch_norm_is_affine_with_running_statistics(norm):
    encoder = StyleEncoder(width=2, style_dim=3, depth=1, input_size=8, norm=norm)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = jax.jit(functools.partial(encoder.init, train=True))(jax.random.key(0), image)
    assert set(variables['params']['norm_0']) == {'scale', 'bias'}
    train = jax.jit(functools.partial(encoder.apply, train=True, mutable=MUTABLE))
    (before, _), updates = train(variables, image)
    assert float(jnp.abs(updates['batch_stats']['norm_0']['mean']).max()) > 0
    evaluate = jax.jit(functools.partial(encoder.apply, train=False))
    after, _ = evaluate({**variables, **updates}, image)
    assert float(jnp.abs(after - before).max()) > 0


def test_reparameterization_by_hand():
    mean, log_variance, noise = jnp.array([1.0]), 2 * jnp.log(jnp.array([3.0])), jnp.array([-1.0])
    np.testing.assert_allclose(sample_style(mean, log_variance, noise), [-2.0], rtol=1e-6)
