"""The result does not depend on the number of devices: one replica and eight give the same losses and the same update."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax import replicas
from spade_jax.batch import Batch
from spade_jax.config import Config
from spade_jax.errors import UserError
from spade_jax.layers.normalization import Normalization
from spade_jax.models import build_networks
from spade_jax.training.train_state import init_train_state
from spade_jax.training.train_step import train_step

SMALL = dict(num_classes=3, crop_size=32, load_size=32, generator_width=2, spade_hidden=4, discriminator_width=4, discriminator_depth=3, encoder_width=2,
             encoder_input_size=64, style_dim=4, perceptual_weight=0.0, batch_size=8,
             # Biases in front of a normalisation have no gradient but rounding, which Adam turns into steps of the full rate: keep those small.
             learning_rate=1e-4)


def random_batch(config, seed=0):
    random = np.random.default_rng(seed)
    size = config.batch_size, config.image_height, config.image_width
    # Bright pictures beside dark ones, so that the statistics of a half of the batch are far from those of the whole.
    image = random.integers(0, 128, (*size, 3)) + np.linspace(0, 127, config.batch_size).astype(int)[:, None, None, None]
    return Batch(image.astype(np.uint8), random.integers(0, config.num_classes, size).astype(np.uint8))


def run(config, num_devices, num_steps=2, mapped=True):
    """Losses of each step, and the state after the last."""
    axis_name = replicas.REPLICA_AXIS if mapped else None
    step = functools.partial(train_step, config=config, networks=build_networks(config, axis_name), num_examples=16, axis_name=axis_name)
    state = init_train_state(config, build_networks(config))
    devices = jax.devices()[:num_devices]
    mapped_step = replicas.replicate(step, devices=devices) if mapped else jax.jit(step)
    state = replicas.broadcast(state, devices) if mapped else state
    losses = []
    for i in range(num_steps):
        batch = random_batch(config, i)
        state, metrics = mapped_step(state, replicas.split(batch, num_devices) if mapped else batch)
        losses.append({name: float(value) for name, value in metrics.items()})
    return losses, state


def largest_differences(one, other):
    """Largest difference between the losses, between first moments of Adam (with beta1 = 0: the last gradients; relative), and between running statistics."""
    (losses, state), (other_losses, other_state) = one, other
    of_losses = max(abs(a[name] - b[name]) / max(1, abs(a[name])) for a, b in zip(losses, other_losses, strict=True) for name in a)

    def largest(select, scale):
        pairs = list(zip(jax.tree.leaves(select(state)), jax.tree.leaves(select(other_state)), strict=True))
        return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) / scale(a) for a, b in pairs)

    norm = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(state.generator_optimizer.mu))
    of_gradients = largest(lambda s: s.generator_optimizer.mu, lambda _: norm)
    norm_d = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(state.discriminator_optimizer.mu))
    of_gradients = max(of_gradients, largest(lambda s: s.discriminator_optimizer.mu, lambda _: norm_d))
    of_statistics = largest(lambda s: s.generator['batch_stats'], lambda a: max(1.0, float(np.abs(a).max())))
    return dict(losses=of_losses, gradients=of_gradients, statistics=of_statistics)


def assert_same_update(one, other):
    differences = largest_differences(one, other)
    assert differences['losses'] < 2e-5 and differences['gradients'] < 1e-4 and differences['statistics'] < 1e-4, differences


@functools.cache
def run_unmapped():
    return run(Config(**SMALL), 1, num_steps=1, mapped=False)


@pytest.mark.slow
def test_eight_replicas_give_the_update_of_the_unmapped_step():
    eight = run(Config(**SMALL), 8, num_steps=1)
    assert_same_update(run_unmapped(), eight)
    for leaf in jax.tree.leaves(eight[1]):  # `out_axes=None` calls a value replicated without looking
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 8
        for shard in shards[1:]:
            np.testing.assert_array_equal(shard, shards[0])


@pytest.mark.slow
def test_recorded_norms_are_those_of_the_gradients_of_the_global_batch():
    (losses,), state = run_unmapped()
    for name, optimizer_state in (('g_gradient_norm', state.generator_optimizer), ('d_gradient_norm', state.discriminator_optimizer)):
        expected = np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in map(np.asarray, jax.tree.leaves(optimizer_state.mu))))  # with beta1 = 0
        np.testing.assert_allclose(losses[name], expected, rtol=1e-5)


@pytest.mark.slow
def test_one_replica_and_eight_give_the_same_two_steps_with_style_encoder():
    config = Config(**SMALL, style_encoder=True)
    assert_same_update(run(config, 1), run(config, 8))


# The means over replicas in the step, by the function that takes them; those of `moments` have a test of their own below.
MEANS = ['update_generator', 'update_discriminator', 'train_step']


def without_mean(caller, monkeypatch):
    """Makes `replicas.mean` return the first tree that `caller` gives it as it is; returns the list of all its mapped callers."""
    callers = []

    def lossy_mean(tree, axis_name):
        if axis_name is not None:
            callers.append(inspect.stack()[1].function)
            if callers[-1] == caller and callers.count(caller) == 1:
                return tree
        return true_mean(tree, axis_name)

    true_mean = replicas.mean
    monkeypatch.setattr(replicas, 'mean', lossy_mean)
    return callers


@pytest.mark.slow
@pytest.mark.parametrize('caller', MEANS)
def test_a_mean_that_is_left_out_is_noticed(caller, monkeypatch):
    callers = without_mean(caller, monkeypatch)
    lossy = run(Config(**SMALL), 2, num_steps=1)
    assert set(callers) == {*MEANS, 'moments'}
    with pytest.raises(AssertionError):
        assert_same_update(run_unmapped(), lossy)


@pytest.mark.parametrize('left_out', [None, 0, 1])
def test_gradients_through_synchronised_statistics(left_out, monkeypatch):
    """Of the mean and of the variance: with either left out, the gradient of the input is another one."""
    x = np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype(np.float32) + np.arange(4).reshape(4, 1, 1, 1)
    cotangent = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    variables = {'batch_stats': {'mean': jnp.zeros(3), 'var': jnp.ones(3)}}

    def loss(axis_name, x, cotangent):
        y, moved = Normalization('sync_batch', axis_name=axis_name).apply(variables, x, train=True, mutable=['batch_stats'])
        return jnp.sum(y * cotangent), moved

    expected = jax.grad(functools.partial(loss, None), has_aux=True)(x, cotangent)
    means = []

    def lossy_mean(tree, axis_name):
        means.append(axis_name)
        return tree if len(means) - 1 == left_out else true_mean(tree, axis_name)

    true_mean = replicas.mean
    monkeypatch.setattr(replicas, 'mean', lossy_mean)
    mapped = jax.pmap(jax.grad(functools.partial(loss, replicas.REPLICA_AXIS), has_aux=True), axis_name=replicas.REPLICA_AXIS, devices=jax.devices()[:4],
                      out_axes=(0, 0))
    gradient, moved = mapped(x[:, None], cotangent[:, None])
    assert means[:2] == [replicas.REPLICA_AXIS] * 2
    same = np.allclose(gradient[:, 0], expected[0], atol=1e-5) and all(
        np.allclose(a, b, atol=1e-5) for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(jax.tree.map(lambda leaf: leaf[None], expected[1]))))
    assert same == (left_out is None)


@pytest.mark.parametrize('kind', ['sync_batch', 'batch'])
def test_statistics_over_replicas(kind):
    x = np.random.default_rng(0).normal(size=(8, 2, 3, 5)).astype(np.float32) + np.arange(8).reshape(8, 1, 1, 1)
    layer = Normalization(kind, axis_name=replicas.REPLICA_AXIS)
    variables = {'batch_stats': {'mean': jnp.zeros(5), 'var': jnp.ones(5)}}

    def apply(variables, x):
        return layer.apply(variables, x, train=True, mutable=['batch_stats'])

    y, moved = jax.pmap(apply, axis_name=replicas.REPLICA_AXIS, in_axes=(None, 0), out_axes=(0, None), devices=jax.devices()[:4])(
        variables, x.reshape(4, 2, 2, 3, 5))
    y = np.asarray(y).reshape(x.shape)
    groups = x.reshape(1, -1, 5) if kind == 'sync_batch' else x.reshape(4, -1, 5)
    mean, var = groups.mean(1), groups.var(1)
    repeats = 8 // len(groups)
    expected = (x - np.repeat(mean, repeats, 0)[:, None, None]) / np.sqrt(np.repeat(var, repeats, 0)[:, None, None] + 1e-5)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    pixels = groups.shape[1]
    np.testing.assert_allclose(moved['batch_stats']['mean'], 0.1 * mean.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moved['batch_stats']['var'], 0.9 + 0.1 * var.mean(0) * pixels / (pixels - 1), rtol=1e-5)


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    with pytest.raises(UserError, match='batch_size=6 is not divisible by the 8 devices; use 8'):
        replicas.check_divisible(6, 8)
    with pytest.raises(UserError, match='use 8 or 16'):
        replicas.check_divisible(12, 8)


def test_split_deals_out_in_order():
    batch = Batch(np.arange(6).reshape(6, 1), np.arange(6), None)
    parts = replicas.split(batch, 3)
    np.testing.assert_array_equal(parts.label, [[0, 1], [2, 3], [4, 5]])
    assert parts.instance is None
