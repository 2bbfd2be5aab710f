import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.models import losses
from spade_jax.models.model import build_model, to_signed
from spade_jax.models.spade.model import Spade
from spade_jax.models.spade.published import from_reference
from spade_jax.models.train_state import (
    abstract_networks,
    create_train_state,
    ema_part,
    init_train_state,
    sampling_variables,
    trained_params,
    update_ema,
)
from spade_jax.models.vgg19 import Vgg19
from spade_jax.random_streams import Stream
from tests import parity
from tests.fixtures.small import TINY, assert_trees_allclose, random_batch, step_of

LOSSES = {
    'GAN': 'g_gan',
    'GAN_Feat': 'g_feature_matching',
    'VGG': 'g_perceptual',
    'KLD': 'g_kl',
    'D_Fake': 'd_fake',
    'D_real': 'd_real',
}
PREFIXES = {'generator': 'netG', 'discriminator': 'netD', 'encoder': 'netE'}
NUM_STEPS = 3


def train_step_cases():
    return [case for case in parity.cases('train_step') if not case.endswith('_after')]


def variables_of(arrays, config):
    """The variables of all networks from arrays named netG.*, netD.*, netE.*."""
    return {
        name: from_reference(parity.split_state(arrays, PREFIXES[name]), name, config)
        for name in build_model(config).networks
    }


def model_of(golden, config):
    """The model and its constants; VGG19 has fewer channels in the golden files."""
    model = RecordingSpade(config)
    if not config.losses.perceptual_weight:
        return model, {}
    model.perceptual.network = Vgg19(64 // golden.meta['vgg_conv_channels'][0])
    state = parity.split_state(golden.state('sd'), 'criterionVGG')
    return model, {'vgg19': parity.vgg19_variables(state)}


def batch_of(golden, config):
    """The batch as the pipeline yields it, but with fractions of a gray level.

    So the comparison is with exactly what the reference saw.
    """
    label = golden['in/label'][..., 0]
    if config.data.dontcare:
        label = np.where(label == config.data.num_classes, 255, label)
    instance = golden['in/instance'][..., 0] if config.data.instance_edges else None
    return Batch((golden['in/image'] * 0.5 + 0.5) * 255, label, instance)


def golden_noise(golden):
    """The recorded noise of the latents."""

    def noise(stream, step, indices, dim):
        eps = jnp.asarray(golden['in/eps'])
        return eps[2 * step + (stream == Stream.STYLE_IN_DISCRIMINATOR_UPDATE)]

    return noise


class RecordingSpade(Spade):
    """Reports the fake images of the generator update among its metrics."""

    def _generate(self, *arguments):
        self._fake, kl, updated = super()._generate(*arguments)
        return self._fake, kl, updated

    def _generator_loss(self, *arguments):
        output = super()._generator_loss(*arguments)
        return output._replace(metrics={'fake': self._fake})


@functools.cache
def golden_run(case):
    """Of each step: the state between the two updates, the state after them, and the metrics.

    One compiled program serves all tests of a case.
    """
    golden = parity.Golden(case)
    config = parity.config_of(golden.options)
    model, constants = model_of(golden, config)
    step = step_of(config, model, num_examples=10**6, noise=golden_noise(golden))

    @jax.jit
    def both_updates(state, batch):
        generator, discriminator = model.updates
        middle, metrics = step(state, batch, constants, updates=(generator,))
        middle = middle.replace(step=state.step)
        end, more = step(middle, batch, constants, updates=(discriminator,))
        return middle, end, metrics | more

    state = create_train_state(config, variables_of(golden.state('sd'), config))
    steps = []
    for _ in range(NUM_STEPS):
        steps.append(both_updates(state, batch_of(golden, config)))
        state = steps[-1][1]
    return golden, config, steps


@pytest.mark.parametrize('case', train_step_cases())
def test_losses_match_golden_numbers(case):
    golden, _, steps = golden_run(case)
    for i, (*_, metrics) in enumerate(steps, start=1):
        rates = [metrics[f'{player}_learning_rate'] for player in ('generator', 'discriminator')]
        expected = [golden.meta['lr_G'], golden.meta['lr_D']]
        np.testing.assert_allclose(rates, expected, rtol=1e-6)
        for name, ours in LOSSES.items():
            key = f'loss/{i}/{name}'
            assert (key in golden) == (ours in metrics), key
            if key in golden:
                expected = golden.arrays[key][0]
                drift = abs(float(expected) - float(golden.arrays[f'loss64/{i}/{name}'][0]))
                # In a hinge, the sum of canceling patches has the error of the patches, which are
                # of order one.
                tolerance = max(20 * drift, 1e-4 * abs(float(expected)), 1e-4 * i)
                parity.assert_close(metrics[ours], expected, tolerance, key)


@pytest.mark.parametrize('case', train_step_cases())
def test_first_step_matches_golden_numbers(case):
    golden, config, ((_, state, _), *_) = golden_run(case)
    before = variables_of(golden.state('sd'), config)
    check_first_step(golden, parity.Golden(f'{case}_after'), before, state, config)


@pytest.mark.parametrize('case', train_step_cases())
def test_generator_update_matches_golden_numbers(case):
    golden, config, ((middle, _, metrics), *_) = golden_run(case)
    stride = golden.meta['fake_stride']
    golden.check(metrics['g_fake'][:, ::stride, ::stride], 'out/fake_generator_step1')
    expected = variables_of({**golden.state('sd'), **golden.state('buf_mid')}, config)
    for name, variables in middle.networks.items():
        for collection in set(expected[name]) - {'params'}:
            actual, tolerance = variables[collection], parity.relative(1e-4, 1e-5)
            what = f'{name} {collection}'
            parity.assert_trees_close(actual, expected[name][collection], tolerance, what)


def check_first_step(golden, after, before, state, config):
    arrays = golden.state('sd')
    expected = variables_of({**arrays, **after.state('sd_after')}, config)
    masks = variables_of({**arrays, **after.state('mask')}, config)
    rates = {name: golden.meta['lr_G'] for name in before}
    rates['discriminator'] = golden.meta['lr_D']
    for name, network in expected.items():
        actual = state.networks[name]
        for collection in set(network) - {'params'}:
            # The second pass of generator and encoder saw parameters that had moved by +-rate in
            # directions of pure noise, which shifts means and vectors by up to that; those of the
            # discriminator moved after its last pass.
            noise = 2e-5 if (name, collection) == ('discriminator', 'spectral') else rates[name]
            tolerance, what = parity.relative(2e-4, noise), f'{name} {collection}'
            parity.assert_trees_close(actual[collection], network[collection], tolerance, what)
        check_params(
            name,
            rates[name],
            *(tree['params'] for tree in (actual, network, before[name], masks[name])),
        )
    check_gradients(golden, state, config)


def check_params(name, rate, actual, expected, before, masks):
    def check(path, actual, expected, before, mask):
        what, mask = f'{name} {jax.tree_util.keystr(path)}', np.asarray(mask, bool)
        parity.assert_close(np.where(mask, actual, expected), expected, 0.02 * rate, what)
        # Elsewhere the direction is rounding noise. The first step is at most the rate (Adam's
        # bias correction makes it about the rate).
        assert np.all(np.abs(actual - before) <= 1.01 * rate + 1e-7), what

    actual = jax.tree.map(np.asarray, actual)
    jax.tree_util.tree_map_with_path(check, actual, expected, before, masks)


def check_gradients(golden, state, config):
    """After one step, Adam's first moment is the gradient times 1 - beta1."""
    moments = {**state.optimizers['generator'].mu, **state.optimizers['discriminator'].mu}
    beta1, _ = config.optimizer.adam_betas
    gradients = jax.tree.map(lambda moment: moment / (1 - beta1), moments)
    arrays, whole, norms = golden.state('sd'), golden.state('grad'), golden.state('gradnorm64')
    filled = {name: np.full(arrays[name].shape, norm) for name, norm in norms.items()}
    for name, network in variables_of({**arrays, **filled}, config).items():
        largest = max(float(norms[key]) for key in norms if key.startswith(PREFIXES[name]))

        def check(gradient, filled, name=name, largest=largest):
            norm = filled.ravel()[0]
            tolerance = max(1e-3 * norm, 1e-5 * largest)
            parity.assert_close(jnp.linalg.norm(gradient), norm, tolerance, name)

        jax.tree.map(check, gradients[name], network['params'])
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    # Biases tell which layer of a discriminator is the last, see `reference_names`.
    biases = {key: arrays[key] for key in arrays if 'netD' in key and key.endswith('bias')}
    for name, network in partial_variables({**biases, **whole}, config).items():
        expected, what = network['params'], f'gradient of the {name}'
        parity.assert_trees_close(gradients[name], expected, tolerance, what)


def partial_variables(arrays, config):
    """`variables_of` the networks of which there are any arrays."""
    networks = {}
    for name in build_model(config).networks:
        if state := parity.split_state(arrays, PREFIXES[name]):
            networks[name] = from_reference(state, name, config)
    return networks


@functools.cache
def first_step(**options):
    """The state and the metrics after one step of a tiny model."""
    config = Config.create(**TINY, **options)
    return jax.jit(step_of(config))(init_train_state(config), random_batch(config))


def test_bfloat16_step_is_close_and_keeps_float32_parameters():
    state, metrics = first_step(compute_dtype='bfloat16')
    _, expected = first_step()
    for name in ('g_gan', 'g_feature_matching', 'd_fake', 'd_real'):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=0.03, atol=0.03)
        assert metrics[name] != expected[name]
    networks = {leaf.dtype for leaf in jax.tree.leaves(state.networks)}
    assert networks == {np.dtype('float32')}


def weights(value):
    return {
        'params': {'w': jnp.full(2, value)},
        'batch_stats': {'mean': jnp.full(1, 10 * value)},
        'spectral': {'u': jnp.full(1, 99.0)},
    }


def test_ema_part_leaves_spectral_vectors_out():
    networks = {'generator': weights(0.0), 'discriminator': weights(0.0)}
    assert set(ema_part(networks, ('generator',))) == {'generator'}
    assert set(ema_part(networks, ('generator',))['generator']) == {'params', 'batch_stats'}


def test_update_ema_by_hand():
    ema = ema_part({'generator': weights(0.0)}, ('generator',))
    # In the first step the decay is 1/10.
    ema = update_ema(ema, {'generator': weights(1.0)}, step=jnp.asarray(0), decay=0.5)
    np.testing.assert_allclose(ema['generator']['params']['w'], 0.9, rtol=1e-6)
    ema = update_ema(ema, {'generator': weights(2.0)}, step=jnp.asarray(1000), decay=0.5)
    np.testing.assert_allclose(ema['generator']['params']['w'], 1.45, rtol=1e-6)
    np.testing.assert_allclose(ema['generator']['batch_stats']['mean'], 14.5, rtol=1e-6)


def test_sampling_variables_are_the_ema_with_trained_spectral_vectors():
    networks = {'generator': weights(2.0), 'discriminator': weights(2.0)}
    ema = ema_part({'generator': weights(1.0)}, ('generator',))
    variables = sampling_variables(networks, ema, ('generator',))
    assert set(variables) == {'generator'}
    assert variables['generator']['params']['w'][0] == 1
    assert variables['generator']['spectral']['u'] == 99


def test_ema_and_rematerialization_do_not_change_the_step():
    options = dict(ema_decay=0.999, rematerialize='blocks')
    (actual, _), (expected, _) = first_step(**options), first_step()
    statistics = [state.networks['generator']['batch_stats'] for state in (actual, expected)]
    assert_trees_allclose(*statistics, rtol=1e-3, atol=1e-5)
    moments = [state.optimizers['generator'].mu for state in (actual, expected)]
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moments[1]))
    assert_trees_allclose(*moments, atol=1e-4 * largest)
    assert expected.ema is None

    config = Config.create(**TINY, **options)
    names = build_model(config).sampling_networks
    start, end = (ema_part(s.networks, names) for s in (init_train_state(config), actual))
    expected_ema = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, start, end)
    assert_trees_allclose(actual.ema, expected_ema, atol=1e-6)


@pytest.mark.parametrize('norm', ['instance', 'sync_batch'])
def test_constant_real_images_do_not_change_losses_and_gradients(norm):
    config = Config.create(**TINY, discriminator_norm=norm)
    model, batch = Spade(config), random_batch(config)
    variables = init_train_state(config).networks
    layout, real = model.condition(batch.label), to_signed(batch.image)

    @functools.partial(jax.jit, static_argnums=1)
    def loss_and_gradient(fake, real_is_constant):
        def loss(fake):
            fake_outputs, real_outputs, _ = model._discriminate(
                variables, layout, fake, real, real_is_constant=real_is_constant
            )
            gan = losses.generator_loss('hinge', fake_outputs)
            return losses.feature_matching(fake_outputs, real_outputs) + gan

        return jax.value_and_grad(loss)(fake)

    constant, both = (loss_and_gradient(real[::-1], constant) for constant in (True, False))
    assert_trees_allclose(constant, both, rtol=1e-3, atol=1e-6)


def test_reused_fakes_are_those_of_the_generator_update():
    config = Config.create(**TINY, reuse_fakes=True)
    step, half = step_of(config), step_of(config, updates=build_model(config).updates[:1])
    # One program, so that what both have in common is compiled once.
    both = jax.jit(lambda *inputs: (half(*inputs)[0], *step(*inputs)))
    middle, end, metrics = both(init_train_state(config), random_batch(config))
    # Generator and encoder run once: the discriminator update leaves them alone.
    for collection in ('batch_stats', 'spectral'):
        networks = [s.networks['generator'][collection] for s in (end, middle)]
        assert_trees_allclose(*networks, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(
        lambda a, b: jnp.abs(a - b).max(),
        end.networks['discriminator']['params'],
        middle.networks['discriminator']['params'],
    )
    # The bias of the logits does not: the gradients of real and fake images cancel at the start.
    assert min(layer['kernel'] for layer in moved['scale_0'].values()) > 0
    assert {'d_fake', 'd_real', 'g_gan'} <= set(metrics)


def test_reused_fakes_are_discriminated():
    """The loss of the discriminator is that of exactly the fake images it is given."""
    config = Config.create(**TINY, reuse_fakes=True)
    model, batch = Spade(config), random_batch(config)
    networks = init_train_state(config).networks
    fake = jnp.zeros_like(to_signed(batch.image))
    output = model._discriminator_loss(networks, batch, lambda stream, dim: None, fake)
    layout, images = model.condition(batch.label), (fake, to_signed(batch.image))
    expected, *_ = model._discriminate(networks, layout, *images, real_is_constant=False)
    loss = losses.discriminator_loss('hinge', expected, expected)['fake']
    np.testing.assert_allclose(output.terms['fake'], loss, rtol=1e-5)
    assert set(output.updated) == {'discriminator'}


def test_frozen_networks_keep_their_parameters():
    config = Config.create(**TINY, style_encoder=True)
    model = build_model(config)
    update = model.updates[0]
    frozen = (update.__class__(**vars(update) | {'frozen': ('generator',)}),)
    state = init_train_state(config)
    end, _ = jax.jit(step_of(config, updates=frozen))(state, random_batch(config))
    before, after = (trained_params(s.networks, update) for s in (state, end))
    jax.tree.map(np.testing.assert_array_equal, after['generator'], before['generator'])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after['encoder'], before['encoder'])
    assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.parametrize('kind, share', [('modulation', 0.7), ('blocks', 0.35)])
def test_rematerialization_saves_residuals(kind, share):
    """The residuals of the generator's backward pass, from its trace."""

    def residuals(rematerialize):
        config = Config.create(**TINY, rematerialize=rematerialize)
        model = build_model(config)
        variables = abstract_networks(model)['generator']
        layout = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)

        def pullback(params, variables, layout):
            def generate(params):
                variables_ = {'generator': variables | {'params': params}}
                statistics = ('batch_stats',)
                return model.sample(variables_, layout, train=True, mutable=statistics)[0]

            return jax.vjp(generate, params)[1]

        kept = jax.eval_shape(pullback, variables['params'], variables, layout)
        return sum(leaf.size for leaf in jax.tree.leaves(kept))

    assert residuals(kind) < share * residuals('none')
