import jax
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.model import build_model
from spade_jax.models.train_state import init_train_state
from spade_jax.training import train_loop
from spade_jax.training.session import SHARED_BY_PROCESSES, shared_options
from spade_jax.training.train_loop import is_due
from tests.fixtures.small import SMALL, random_batch, step_of


def test_is_due_at_intervals_and_the_last_step():
    assert [step for step in range(1, 11) if is_due(step, last_step=10, interval=4)] == [4, 8, 10]


def test_command_of_a_new_run_is_not_printed_for_options_that_the_data_never_have(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(train_loop, 'initial_state', None)  # It prints the command.
    config = Config.create(dataset='scenes', num_classes=14, perceptual_weight=0.0)
    with pytest.raises(UserError, match='num_classes=14, but .* use --num_classes=13'):
        train_loop.train(config, str(tmp_path))


def test_processes_share_all_options_but_paths():
    shared = set(shared_options(Config.create()))
    assert {
        'model',
        'seed',
        'label_conv',
        'batch_size',
        'ema_decay',
        'perceptual_network',
        *SHARED_BY_PROCESSES,
    } <= shared
    assert shared <= set(Config.create().options())
    own = {'data_dir', 'records_dir', 'vgg19_weights', 'data_workers', 'init_from'}
    assert not shared & own


def test_generator_is_updated_every_n_steps():
    model = build_model(Config.create(**SMALL, discriminator_steps=3))
    players = [[update.player for update in model.updates_at(step, 0)] for step in range(4)]
    both = ['generator', 'discriminator']
    assert players == [both, ['discriminator'], ['discriminator'], both]


@pytest.fixture(scope='module')
def discriminator_step():
    """State before, state after and metrics of a step without generator update."""
    config = Config.create(**SMALL)
    updates = build_model(config).updates[1:]
    state = init_train_state(config)
    return state, *jax.jit(step_of(config, updates=updates))(state, random_batch(config))


def test_discriminator_step_logs_its_metrics_alone(discriminator_step):
    _, state, metrics = discriminator_step
    own = {'d_fake', 'd_real', 'd_logits_fake', 'd_logits_real', 'd_gradient_norm'}
    assert set(metrics) == own | {'discriminator_learning_rate'}
    assert state.step == 1


def differs(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs)


def test_discriminator_step_moves_discriminator_alone(discriminator_step):
    before, after, _ = discriminator_step
    networks = before.networks, after.networks
    assert differs(*(network['discriminator']['params'] for network in networks))
    assert not differs(*(network['generator']['params'] for network in networks))


@pytest.mark.parametrize('collection', ['batch_stats', 'spectral'])
def test_discriminator_step_runs_generator_in_training_mode(discriminator_step, collection):
    before, after, _ = discriminator_step
    assert differs(*(s.networks['generator'][collection] for s in (before, after)))
