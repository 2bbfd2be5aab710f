import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.models.optimizers import apply_gradients, learning_rates, make_optimizer
from tests import parity


@pytest.mark.parametrize('case', ['ttur_5_5', 'ttur_5_0', 'nottur_3_4'])
def test_rates_of_every_epoch(case):
    golden = parity.Golden('lr_schedule')
    options = golden.meta['cases'][case]
    config = Config.create(
        constant_epochs=options['niter'],
        decay_epochs=options['niter_decay'],
        learning_rate=options['lr'],
        ttur=not options.get('no_TTUR', False),
        batch_size=4,
    )
    num_examples = 12  # three steps an epoch
    for epoch, generator_rate, discriminator_rate, *_ in golden.arrays[f'out/{case}']:
        for step in range(3 * int(epoch) - 3, 3 * int(epoch)):
            rates = learning_rates(jnp.asarray(step), num_examples=num_examples, config=config)
            np.testing.assert_allclose(
                rates,
                [generator_rate, discriminator_rate],
                rtol=1e-5,
                err_msg=f'epoch {epoch}, step {step}',
            )


def test_a_batch_that_straddles_two_epochs_has_the_rate_of_its_first_example():
    config = Config.create(constant_epochs=1, decay_epochs=2, batch_size=4)
    factors = [
        float(learning_rates(step, num_examples=6, config=config)[0]) / 1e-4 for step in range(6)
    ]
    # First examples 0, 4, 8, 12, 16, 20 are of the epochs 0, 0, 1, 2, 2, 3; the decay begins after epoch 1.
    np.testing.assert_allclose(factors, [1, 1, 1, 0.5, 0.5, 0], atol=1e-6)


def test_first_step_of_adam_is_the_rate_against_the_gradient():
    optimizer = make_optimizer(Config.create())
    params = {'w': jnp.array([1.0, -2.0])}
    moved, state, norm = apply_gradients(
        optimizer, {'w': jnp.array([0.5, -3.0])}, optimizer.init(params), params, jnp.asarray(0.1)
    )
    np.testing.assert_allclose(norm, np.sqrt(0.25 + 9), rtol=1e-6)
    np.testing.assert_allclose(moved['w'], [0.9, -1.9], rtol=1e-5)
    np.testing.assert_allclose(state.nu['w'], [0.1 * 0.25, 0.1 * 9], rtol=1e-5)  # beta2 = 0.9
