"""The train step of pix2pix against golden numbers, and what holds for its noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.models import losses
from spade_jax.models.optimizers import decay_factor
from spade_jax.models.pix2pix.model import Pix2Pix
from spade_jax.models.pix2pix.published import from_reference, to_reference
from spade_jax.models.train_state import create_train_state
from tests import parity
from tests.fixtures.small import step_of
from tests.models.pix2pix import reference

NUM_STEPS = 3
PREFIXES = reference.PREFIXES
# Name of a loss there -> here, and how much of it the train step minimizes.
LOSSES = {
    'G_GAN': ('g_gan', 1),
    'G_L1': ('g_l1', 1),
    'D_real': ('d_real', 0.5),
    'D_fake': ('d_fake', 0.5),
}


def train_step_cases():
    return [case for case in reference.files('train_step') if not case.endswith('_after')]


def variables_of(arrays, config):
    """The variables of both networks from arrays named netG.*, netD.*."""
    networks = {}
    for name, prefix in PREFIXES.items():
        found = parity.split_state(arrays, prefix.removesuffix('.'))
        networks[name] = from_reference(found, name, config)
    return networks


class RecordingPix2Pix(Pix2Pix):
    """Reports the fake images of the generator update among its metrics."""

    def __init__(self, config, options):
        super().__init__(config)
        self.networks['generator'] = reference.generator_of(self, options)

    def _generate(self, *arguments):
        self._fake, updated = super()._generate(*arguments)
        return self._fake, updated

    def _generator_loss(self, *arguments):
        return super()._generator_loss(*arguments)._replace(metrics={'fake': self._fake})


@functools.cache
def golden_run(case):
    """Of each step: the state between the two updates, the state after them, and the metrics."""
    golden = parity.Golden(case)
    names = ('A', 'B') if golden.options['direction'] == 'AtoB' else ('B', 'A')
    condition, image = ((golden[f'in/{name}'] * 0.5 + 0.5) * 255 for name in names)
    config = reference.train_config(golden.options, image.shape[1:3], len(image))
    model = RecordingPix2Pix(config, golden.options)
    step = step_of(config, model, num_examples=10**6)
    batch = Batch(image, condition)

    @jax.jit
    def both_updates(state):
        discriminator, generator = model.updates
        middle, metrics = step(state, batch, updates=(discriminator,))
        middle = middle.replace(step=state.step)
        end, more = step(middle, batch, updates=(generator,))
        return middle, end, metrics | more

    state, steps = create_train_state(config, variables_of(golden.state('sd'), config)), []
    for _ in range(NUM_STEPS):
        steps.append(both_updates(state))
        state = steps[-1][1]
    return golden, config, steps


@pytest.mark.parametrize('case', train_step_cases())
def test_losses_match_golden_numbers(case):
    golden, _, steps = golden_run(case)
    for i, (*_, metrics) in enumerate(steps, start=1):
        for name, (ours, share) in LOSSES.items():
            expected, exact = (float(golden.arrays[f'{k}/{i}/{name}']) for k in ('loss', 'loss64'))
            tolerance = max(20 * abs(expected - exact), 1e-4 * abs(expected), 1e-6)
            actual = metrics.get(ours, jnp.zeros(())) / share
            parity.assert_close(actual, expected, tolerance, f'{i}/{name}')


@pytest.mark.parametrize('case', train_step_cases())
def test_state_between_the_updates_matches_golden_numbers(case):
    golden, config, ((middle, _, metrics), *_) = golden_run(case)
    stride = golden.meta['fake_stride']
    golden.check(metrics['g_fake'][:, ::stride, ::stride], 'out/fake_generator_step1')
    check_statistics(middle, golden.state('buf_mid'), config, 1e-5)


def check_statistics(state, arrays, config, absolute):
    for name, expected in variables_of(arrays, config).items():
        if 'batch_stats' in expected:
            actual, tolerance = state.networks[name], parity.relative(1e-4, absolute)
            what = dict(batch_stats=expected['batch_stats'])
            parity.assert_trees_close(actual, what, tolerance, name)


@pytest.mark.parametrize('case', train_step_cases())
def test_state_after_the_first_step_matches_golden_numbers(case):
    golden, config, ((_, state, _), *_) = golden_run(case)
    before, after = golden.state('sd'), parity.Golden(f'{case}_after')
    rate = golden.options['lr']
    # The last pass saw a discriminator that had moved by +-rate, in directions of noise too.
    check_statistics(state, after.state('sd_after'), config, rate)
    for name, prefix in PREFIXES.items():
        params = {'params': state.networks[name]['params']}
        for key, actual in to_reference(params, name, config).items():
            expected, mask = (after.state(kind)[prefix + key] for kind in ('sd_after', 'mask'))
            masked = np.where(mask.astype(bool), actual, expected)
            parity.assert_close(masked, expected, 0.02 * rate, prefix + key)
            assert np.all(np.abs(actual - before[prefix + key]) <= 1.01 * rate + 1e-7), key


@pytest.mark.parametrize('case', train_step_cases())
def test_gradients_of_the_first_step_match_golden_numbers(case):
    """After one step, Adam's first moment is the gradient times 1 - beta1."""
    golden, config, ((_, state, _), *_) = golden_run(case)
    beta1, _ = config.optimizer.adam_betas
    norms, whole = golden.state('gradnorm64'), golden.state('grad')
    for name, prefix in PREFIXES.items():
        moments = jax.tree.map(lambda m: m / (1 - beta1), state.optimizers[name].mu[name])
        gradients = to_reference({'params': moments}, name, config)
        largest = max(float(norm) for key, norm in norms.items() if key.startswith(prefix))
        for key, gradient in gradients.items():
            norm = float(norms[prefix + key])
            tolerance = max(1e-3 * norm, 1e-5 * largest)
            parity.assert_close(np.linalg.norm(gradient), norm, tolerance, prefix + key)
            if prefix + key in whole:
                tolerance = golden.tolerance(f'grad/{prefix}{key}')
                what = f'grad {prefix}{key}'
                parity.assert_close(gradient, whole[prefix + key], tolerance, what)


@pytest.mark.parametrize('case', reference.files('loss_gan'))
def test_losses_of_logits_match_golden_numbers(case):
    golden = parity.Golden(case)
    keys = [key.removeprefix('out/') for key in golden.arrays if key.startswith('out/')]
    assert keys
    for key in keys:
        mode, target = key.split('/')
        kind = losses.GAN_LOSSES[reference.GAN_LOSSES[mode]]
        number = 1 if target == 'real' else kind.fake_target
        loss = functools.partial(kind.discriminator, target=number)
        value, gradient = jax.value_and_grad(loss)(golden['in/pred'])
        golden.check(value, f'out/{key}')
        golden.check(gradient, f'grad_in/{key}')


def schedules():
    return [
        (file, case)
        for file in reference.files('lr_schedule')
        for case in parity.Golden(file).meta['cases']
    ]


@pytest.mark.parametrize('lr_decay, column', [('early', 1), ('even', 2)])
@pytest.mark.parametrize('file, case', schedules())
def test_learning_rates_match_golden_schedule(file, case, lr_decay, column):
    golden = parity.Golden(file)
    options = golden.meta['cases'][case]
    if options.get('lr_policy', 'linear') != 'linear':
        pytest.skip(f'not offered: lr_policy={options["lr_policy"]}')
    if not options['n_epochs_decay'] and lr_decay == 'early':
        pytest.skip('not offered: a last epoch with a learning rate of 0, without a decay')
    resumed = options['epoch_count'] - 1  # It counts epochs from this one.
    config = Config.create(
        'pix2pix',
        constant_epochs=options['n_epochs'],
        decay_epochs=options['n_epochs_decay'],
        learning_rate=options['lr'],
        lr_decay=lr_decay,
        batch_size=4,
    ).optimizer
    table = golden.arrays[f'out/{case}']
    epochs = table[:, 0].astype(int) - 1
    assert epochs[0] == resumed
    for offset in (0, 2):
        factors = decay_factor(3 * epochs + offset, num_examples=12, config=config)
        rates = config.learning_rate * np.asarray(factors)
        np.testing.assert_allclose(rates, table[:, column], rtol=1e-5, atol=1e-10)
