import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.models import losses
from spade_jax.models.spade.model import build_networks, image_of, layout_of
from spade_jax.models.spade.reference_names import to_variables
from spade_jax.models.train_state import (
    abstract_networks,
    averaged_part,
    init_train_state,
    moved_average,
    trained_by_generator_update,
    weights_to_draw_with,
    with_fresh_optimizers,
)
from spade_jax.random_streams import Stream
from spade_jax.training.train_step import (
    Step,
    parts_of,
    seeded_noise,
    train_step,
    with_moved_vectors,
)
from tests import parity
from tests.distributed.replicas_test import SMALL, random_batch

LOSSES = {
    'GAN': 'g_gan',
    'GAN_Feat': 'g_feature_matching',
    'KLD': 'g_kl',
    'D_Fake': 'd_fake',
    'D_real': 'd_real',
}
NUM_STEPS = 3


def config_of(golden) -> Config:
    options = golden.options
    batch_size = options['batchSize']
    return Config.create(
        num_classes=options['label_nc'],
        dontcare=options['contain_dontcare_label'],
        condition='labels' if options['no_instance'] else 'labels+edges',
        crop_size=options['crop_size'],
        generator_width=options['ngf'],
        encoder_width=options['ngf'],
        upsampling=options['num_upsampling_layers'],
        style_encoder=options['use_vae'],
        style_dim=options['z_dim'],
        discriminator_width=options['ndf'],
        discriminator_depth=options['n_layers_D'],
        num_discriminators=options['num_D'],
        perceptual_weight=0.0,
        kl_weight=options['lambda_kld'] * batch_size,
        learning_rate=options['lr'],
        batch_size=batch_size,
    )


def split_state(arrays: dict, prefix: str) -> dict:
    """'netG.up_0...' -> 'up_0...' for one network."""
    return {
        name[len(prefix) + 1 :]: array
        for name, array in arrays.items()
        if name.startswith(prefix + '.')
    }


def variables_of(arrays: dict, config: Config) -> dict:
    """The variables of all networks from arrays named netG.*, netD.*, netE.*."""
    latent_size = config.model.grid_size(config.data) if config.model.style_encoder else None
    variables = {
        'generator': to_variables(
            split_state(arrays, 'netG'), 'generator', latent_size=latent_size
        ),
        'discriminator': to_variables(split_state(arrays, 'netD'), 'discriminator'),
    }
    if config.model.style_encoder:
        variables['encoder'] = to_variables(split_state(arrays, 'netE'), 'encoder')
    return variables


def batch_of(golden, config: Config) -> Batch:
    """The batch as the pipeline would hand it over, but with the picture's fractions of a grey level, so that the comparison is with what the reference saw."""
    label = golden['in/label'][..., 0]
    label = (
        np.where(label == config.data.num_classes, 255, label) if config.data.dontcare else label
    )
    instance = golden['in/instance'][..., 0] if config.data.instance_edges else None
    return Batch((golden['in/image'] * 0.5 + 0.5) * 255, label, instance)


def golden_noise(golden):
    """The recorded latents' noise."""
    return lambda stream, step, indices: jnp.asarray(golden['in/eps'])[
        2 * step + (stream == Stream.STYLE_IN_DISCRIMINATOR_UPDATE)
    ]


def train_step_cases():
    return [case for case in parity.cases('train_step') if not case.endswith('_after')]


@pytest.mark.parametrize('case', train_step_cases())
def test_golden_numbers(case):
    golden, after = parity.Golden(case), parity.Golden(f'{case}_after')
    config = config_of(golden)
    before = variables_of(golden.state('sd'), config)
    state, batch = (
        with_fresh_optimizers(
            config, before['generator'], before['discriminator'], before.get('encoder')
        ),
        batch_of(golden, config),
    )
    step = jax.jit(
        functools.partial(
            train_step,
            config=config,
            networks=build_networks(config),
            num_examples=10**6,
            noise=golden_noise(golden),
        )
    )
    for i in range(1, NUM_STEPS + 1):
        state, metrics = step(state, batch)
        for name, ours in LOSSES.items():
            key = f'loss/{i}/{name}'
            if key in golden:
                drift = abs(
                    float(golden.arrays[key][0]) - float(golden.arrays[f'loss64/{i}/{name}'][0])
                )
                scale = abs(float(golden.arrays[key][0]))
                # In a hinge the sum of cancelling patches carries the error of the patches, which are of order one.
                assert abs(float(metrics[ours]) - golden.arrays[key][0]) <= max(
                    20 * drift, 1e-4 * scale, 1e-4 * i
                ), key
        if i == 1:
            check_first_step(golden, after, before, state, config)


@pytest.mark.parametrize('case', train_step_cases()[:1])
def test_statistics_between_the_two_updates(case):
    golden = parity.Golden(case)
    config = config_of(golden)
    arrays = golden.state('sd')
    before = variables_of(arrays, config)
    state = with_fresh_optimizers(
        config, before['generator'], before['discriminator'], before.get('encoder')
    )
    batch = batch_of(golden, config)
    step = Step(config, build_networks(config), None, None, golden_noise(golden))

    @jax.jit
    def first_half(state):
        layout, real = layout_of(batch, config), image_of(batch)
        drawing = trained_by_generator_update(state.generator, state.encoder)
        fake, *_ = step.generate(
            with_moved_vectors(state),
            drawing,
            layout,
            real,
            jnp.arange(config.optimizer.batch_size),
            Stream.STYLE_IN_GENERATOR_UPDATE,
        )
        return step.update_generator(state, parts_of(batch, 1), config.optimizer.learning_rate / 2)[
            0
        ], fake

    state, fake = first_half(state)
    stride = golden.meta['fake_stride']
    golden.check(fake[:, ::stride, ::stride], 'out/fake_generator_step1')
    expected = variables_of({**arrays, **golden.state('buf_mid')}, config)
    for name, variables in {
        'generator': state.generator,
        'discriminator': state.discriminator,
        'encoder': state.encoder,
    }.items():
        for collection in set(expected.get(name, {})) - {'params'}:
            parity.assert_trees_close(
                variables[collection],
                expected[name][collection],
                parity.relative(1e-4, 1e-5),
                f'{name} {collection}',
            )


def check_first_step(golden, after, before, state, config):
    arrays = {**golden.state('sd'), **after.state('sd_after')}
    expected = variables_of(arrays, config)
    masks = variables_of({**golden.state('sd'), **after.state('mask')}, config)
    actual = {
        'generator': state.generator,
        'discriminator': state.discriminator,
        'encoder': state.encoder,
    }
    rates = {
        'generator': config.optimizer.learning_rate / 2,
        'encoder': config.optimizer.learning_rate / 2,
        'discriminator': config.optimizer.learning_rate * 2,
    }
    for name, network in expected.items():
        for collection in set(network) - {'params'}:
            # The second pass of generator and encoder saw parameters that had moved by +-rate in directions of pure noise, which shifts means and vectors by up to that;
            # those of the discriminator moved after its last pass.
            noise = 2e-5 if (name, collection) == ('discriminator', 'spectral') else rates[name]
            parity.assert_trees_close(
                actual[name][collection],
                network[collection],
                parity.relative(2e-4, noise),
                f'{name} {collection}',
            )

        def check(path, actual, expected, before, mask):
            what = f'{name} {jax.tree_util.keystr(path)}'
            mask = np.asarray(mask, bool)
            parity.assert_close(
                np.where(mask, actual, expected), expected, 0.02 * rates[name], what
            )
            # Elsewhere the direction is rounding noise. The first step is at most the rate (Adam's bias correction makes it about the rate).
            assert np.all(np.abs(actual - before) <= 1.01 * rates[name] + 1e-7), what

        jax.tree_util.tree_map_with_path(
            check,
            jax.tree.map(np.asarray, actual[name]['params']),
            network['params'],
            before[name]['params'],
            masks[name]['params'],
        )
    check_gradients(golden, state, config)


def check_gradients(golden, state, config):
    """With beta1 = 0, Adam's first moment is the gradient itself."""
    gradients = state.generator_optimizer.mu | {'discriminator': state.discriminator_optimizer.mu}
    shapes = golden.state('sd')
    whole, norms = golden.state('grad'), golden.state('gradnorm64')
    expected = variables_of(
        {**shapes, **{name: np.full(shapes[name].shape, norms[name]) for name in norms}}, config
    )
    for name, network in expected.items():
        largest = max(
            float(norms[key])
            for key in norms
            if key.startswith(
                {'generator': 'netG', 'discriminator': 'netD', 'encoder': 'netE'}[name]
            )
        )
        jax.tree.map(
            lambda g, norm: parity.assert_close(
                jnp.linalg.norm(g),
                norm.ravel()[0],
                max(1e-3 * norm.ravel()[0], 1e-5 * largest),
                name,
            ),
            gradients[name],
            network['params'],
        )
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    expected = variables_of(
        {**{key: shapes[key] for key in shapes if 'netD' in key and key.endswith('bias')}, **whole},
        config,
    )
    for name, network in expected.items():
        if network:
            parity.assert_trees_close(
                gradients[name], network['params'], tolerance, f'gradient of the {name}'
            )


@pytest.mark.slow
def test_bfloat16_draws_about_the_same_and_keeps_float32_parameters():
    golden = parity.Golden('train_step_novae')
    config = config_of(golden)
    before = variables_of(golden.state('sd'), config)
    state = with_fresh_optimizers(config, before['generator'], before['discriminator'], None)
    low = config.replace(compute_dtype='bfloat16')
    step = jax.jit(
        functools.partial(train_step, config=low, networks=build_networks(low), num_examples=10**6)
    )
    moved, metrics = step(state, batch_of(golden, config))
    for name, ours in LOSSES.items():
        if f'loss/1/{name}' in golden:
            np.testing.assert_allclose(
                metrics[ours], golden.arrays[f'loss/1/{name}'][0], rtol=0.03, atol=0.03
            )
    assert {leaf.dtype for leaf in jax.tree.leaves(moved.replace(step=None))} == {
        np.dtype('float32')
    } | ({np.dtype('int32')} & {leaf.dtype for leaf in jax.tree.leaves(moved.generator_optimizer)})


def test_the_average_by_hand():
    def weights(value):
        return {
            'params': {'w': jnp.full(2, value)},
            'batch_stats': {'mean': jnp.full(1, 10 * value)},
            'spectral': {'u': jnp.full(1, 99.0)},
        }

    average = averaged_part(weights(0.0), None)
    assert set(average['generator']) == {'params', 'batch_stats'}
    average = moved_average(
        average, weights(1.0), None, step=jnp.asarray(0), decay=0.5
    )  # in the first step the decay is 1/10
    np.testing.assert_allclose(average['generator']['params']['w'], 0.9, rtol=1e-6)
    average = moved_average(average, weights(2.0), None, step=jnp.asarray(1000), decay=0.5)
    np.testing.assert_allclose(average['generator']['params']['w'], 1.45, rtol=1e-6)
    np.testing.assert_allclose(average['generator']['batch_stats']['mean'], 14.5, rtol=1e-6)
    generator, encoder = weights_to_draw_with(weights(2.0), None, average)
    assert (
        encoder is None
        and generator['spectral']['u'] == 99
        and generator['params']['w'][0] == average['generator']['params']['w'][0]
    )


@pytest.mark.slow
def test_a_step_moves_the_average_and_draws_as_without():
    """The average is beside training, and activations that are computed again are the same."""
    config = Config.create(**SMALL)
    plain, averaging = (config, config.replace(ema_decay=0.999, rematerialize='blocks'))
    moved = {}
    for one in (plain, averaging):
        networks = build_networks(one)
        step = jax.jit(
            functools.partial(train_step, config=one, networks=networks, num_examples=16)
        )
        moved[one], _ = step(init_train_state(one, networks), random_batch(one))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5),
        moved[averaging].generator['batch_stats'],
        moved[plain].generator['batch_stats'],
    )
    largest = max(
        float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moved[plain].generator_optimizer.mu)
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-4 * largest),
        moved[averaging].generator_optimizer.mu,
        moved[plain].generator_optimizer.mu,
    )
    start, end = init_train_state(averaging, build_networks(averaging)), moved[averaging]
    expected = jax.tree.map(
        lambda a, b: 0.1 * a + 0.9 * b,
        averaged_part(start.generator, start.encoder),
        averaged_part(end.generator, end.encoder),
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), end.average, expected)
    assert moved[plain].average is None


@pytest.mark.slow
@pytest.mark.parametrize('norm', ['instance', 'sync_batch'])
def test_the_generator_update_without_gradients_of_the_real_pictures(norm):
    """What the discriminator says, and the gradient for the fakes, are those of one batch of both."""
    config = Config.create(**SMALL, discriminator_norm=norm)
    networks, batch = build_networks(config), random_batch(config)
    state = init_train_state(config, networks)
    step, layout, real = (
        Step(config, networks, None, None, seeded_noise(config)),
        layout_of(batch, config),
        image_of(batch),
    )

    @functools.partial(jax.jit, static_argnums=1)
    def judged(fake, real_is_constant):
        def loss(fake):
            fake_outputs, real_outputs, _ = step.discriminate(
                state.discriminator, layout, fake, real, real_is_constant=real_is_constant
            )
            return losses.feature_matching(fake_outputs, real_outputs) + losses.adversarial(
                fake_outputs, True, kind='hinge', for_discriminator=False
            )

        return jax.value_and_grad(loss)(fake)

    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6),
        judged(real[::-1], True),
        judged(real[::-1], False),
    )


@pytest.mark.slow
def test_reused_pictures_are_those_of_the_generator_update():
    """The discriminator update is what it is for these pictures, and generator and encoder move once."""
    config = Config.create(**SMALL, reuse_fakes='reused')
    networks, batch = build_networks(config), random_batch(config)
    state = init_train_state(config, networks)
    step = Step(config, networks, None, None, seeded_noise(config))

    @jax.jit
    def by_hand(state):
        parts = parts_of(batch, 1)
        layout, real = layout_of(batch, config), image_of(batch)
        drawing = trained_by_generator_update(state.generator, state.encoder)
        fake, *_ = step.generate(
            with_moved_vectors(state),
            drawing,
            layout,
            real,
            jnp.arange(config.optimizer.batch_size),
            Stream.STYLE_IN_GENERATOR_UPDATE,
        )
        middle, *_ = step.update_generator(state, parts, config.optimizer.learning_rate / 2)
        return middle, step.update_discriminator(
            middle, parts, config.optimizer.learning_rate * 2, fake
        )[0]

    middle, expected = by_hand(state)
    moved, metrics = jax.jit(
        functools.partial(train_step, config=config, networks=networks, num_examples=10**6)
    )(state, batch)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
        moved.discriminator['params'],
        expected.discriminator['params'],
    )
    for collection in ('batch_stats', 'spectral'):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
            moved.generator[collection],
            middle.generator[collection],
        )
    assert {'d_fake', 'd_real', 'g_gan'} <= set(metrics)


@pytest.mark.parametrize('kind', ['modulation', 'blocks'])
def test_what_is_computed_again_is_not_kept(kind):
    """The residuals of the generator's backward pass, from its trace."""

    def residuals(rematerialize):
        config = Config.create(**SMALL, rematerialize=rematerialize)
        networks = build_networks(config)
        variables, *_ = abstract_networks(config, networks)
        layout = jax.ShapeDtypeStruct((8, 32, 32, 3), jnp.float32)

        def pullback(params, variables, layout):
            def draw(params):
                return networks.generator.apply(
                    variables | {'params': params}, layout, train=True, mutable=['batch_stats']
                )[0]

            return jax.vjp(draw, params)[1]

        return sum(
            leaf.size
            for leaf in jax.tree.leaves(
                jax.eval_shape(pullback, variables['params'], variables, layout)
            )
        )

    assert residuals(kind) < {'modulation': 0.7, 'blocks': 0.35}[kind] * residuals('none')
