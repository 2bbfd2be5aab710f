import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.models.model import build_model
from spade_jax.models.optimizers import apply_gradients, decay_factor, make_optimizer
from tests import parity


@pytest.mark.parametrize('case', ['ttur_5_5', 'ttur_5_0', 'nottur_3_4'])
def test_learning_rates_match_golden_schedule(case):
    golden = parity.Golden('lr_schedule')
    options = golden.meta['cases'][case]
    config = Config.create(
        constant_epochs=options['niter'],
        decay_epochs=options['niter_decay'],
        learning_rate=options['lr'],
        ttur=not options.get('no_TTUR', False),
        batch_size=4,
    )
    scales = np.array([update.time_scale for update in build_model(config).updates])
    steps_in_epoch = 3
    for epoch, *expected in golden.arrays[f'out/{case}'][:, :3]:
        for step in range(steps_in_epoch * int(epoch - 1), steps_in_epoch * int(epoch)):
            factor = decay_factor(jnp.asarray(step), num_examples=12, config=config.optimizer)
            rates = config.optimizer.learning_rate * factor * scales
            np.testing.assert_allclose(rates, expected, rtol=1e-5, err_msg=f'step {step}')


def test_batch_across_two_epochs_has_the_rate_of_its_first_example():
    config = Config.create(constant_epochs=1, decay_epochs=2, batch_size=4).optimizer
    factors = [float(decay_factor(step, num_examples=6, config=config)) for step in range(6)]
    # The first examples 0, 4, 8, 12, 16, 20 are of epochs 0, 0, 1, 2, 2, 3; the decay starts after
    # epoch 1.
    np.testing.assert_allclose(factors, [1, 1, 1, 0.5, 0.5, 0], atol=1e-6)


def test_schedule_holds_after_more_examples_than_fit_32_bits():
    config = Config.create(constant_epochs=10, decay_epochs=20, batch_size=65536).optimizer
    steps = np.array([10, 20, 30, 40, 10**4]) * 100_000  # Of epochs of 100,000 steps.
    factors = decay_factor(steps, num_examples=65536 * 100_000, config=config)
    np.testing.assert_allclose(factors, [1, 0.5, 0, 0, 0], atol=1e-6)


def test_first_step_of_adam_by_hand():
    optimizer = make_optimizer(Config.create().optimizer)
    params = {'w': jnp.array([1.0, -2.0])}
    gradients, state = {'w': jnp.array([0.5, -3.0])}, optimizer.init(params)
    params, state, norm = apply_gradients(optimizer, gradients, state, params, jnp.asarray(0.1))
    np.testing.assert_allclose(norm, np.sqrt(0.25 + 9), rtol=1e-6)
    np.testing.assert_allclose(params['w'], [0.9, -1.9], rtol=1e-5)
    np.testing.assert_allclose(state.nu['w'], [0.1 * 0.25, 0.1 * 9], rtol=1e-5)  # beta2 = 0.9


@pytest.mark.parametrize(
    'options, betas',
    [
        (dict(), (0.0, 0.9)),
        (dict(ttur=False), (0.5, 0.999)),
        (dict(ttur=False, adam_beta1=0.25), (0.25, 0.999)),
    ],
)
def test_betas_follow_ttur_unless_given(options, betas):
    assert Config.create(**options).optimizer.adam_betas == betas
