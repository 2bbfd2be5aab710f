import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import init_train_state
from spade_jax.training.train_loop import IN_STEP, average, fields_in_step, is_due, mapped_steps
from spade_jax.training.train_step import train_step
from tests.distributed.replicas_test import SMALL, random_batch


def test_intervals_and_the_last_step():
    assert [step for step in range(1, 11) if is_due(step, last_step=10, interval=4)] == [4, 8, 10]


def test_processes_may_have_paths_of_their_own_and_nothing_that_they_do_together():
    fields = fields_in_step(Config.create())
    assert (
        {'seed', 'batch_size', 'ema_decay', *IN_STEP}
        <= set(fields)
        <= set(Config.create().to_json())
    )
    assert not set(fields) & {
        'data_dir',
        'records_dir',
        'vgg19_weights',
        'data_workers',
        'init_from',
        'profile_steps',
    }


def test_average_over_the_records_that_have_a_metric():
    records = [
        {'d_real': jnp.asarray(1.0), 'g_gan': jnp.asarray(4.0)},
        {'d_real': jnp.asarray(3.0)},
    ]
    assert average(records) == {'d_real': 2.0, 'g_gan': 4.0}


def test_the_generator_is_updated_on_every_nth_step(monkeypatch):
    monkeypatch.setattr(
        'spade_jax.replicas.pmap_step', lambda step, **_: step.keywords['update_generator']
    )
    step_of = mapped_steps(Config.create(**SMALL, discriminator_steps=3), 16, None)
    assert [step_of(step) for step in range(5)] == [True, False, False, True, False]


@pytest.mark.slow
def test_a_step_of_the_discriminator_alone():
    config = Config.create(**SMALL)
    networks = build_networks(config)
    state = init_train_state(config, networks)
    step = jax.jit(
        functools.partial(
            train_step, config=config, networks=networks, num_examples=16, update_generator=False
        )
    )
    moved, metrics = step(state, random_batch(config))
    assert set(metrics) == {
        'd_fake',
        'd_real',
        'd_logits_fake',
        'd_logits_real',
        'd_gradient_norm',
        'discriminator_learning_rate',
    }
    jax.tree.map(
        np.testing.assert_array_equal, moved.generator['params'], state.generator['params']
    )
    assert moved.step == 1

    def differs(a, b):
        return any(
            np.any(np.asarray(x) != np.asarray(y))
            for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
        )

    assert differs(moved.discriminator['params'], state.discriminator['params'])
    assert differs(
        moved.generator['batch_stats'], state.generator['batch_stats']
    )  # its pass is a training pass all the same
    assert differs(moved.generator['spectral'], state.generator['spectral'])
