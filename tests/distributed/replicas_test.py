"""The result does not depend on the number of devices: one replica and eight give the same losses and the same update."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.distributed import replicas
from spade_jax.errors import UserError
from spade_jax.layers.normalization import Normalization
from spade_jax.models.optimizers import apply_gradients, make_optimizer
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import init_train_state
from spade_jax.training import state_sharding
from spade_jax.training.train_step import train_step

SMALL = dict(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    discriminator_depth=3,
    encoder_width=2,
    encoder_input_size=64,
    style_dim=4,
    perceptual_weight=0.0,
    batch_size=8,
    # Biases in front of a normalisation have no gradient but rounding, which Adam turns into steps of the full rate: keep those small.
    learning_rate=1e-4,
)


def random_batch(config, seed=0):
    random = np.random.default_rng(seed)
    size = config.optimizer.batch_size, config.data.image_height, config.data.image_width
    # Bright pictures beside dark ones, so that the statistics of a half of the batch are far from those of the whole.
    image = (
        random.integers(0, 128, (*size, 3))
        + np.linspace(0, 127, config.optimizer.batch_size).astype(int)[:, None, None, None]
    )
    return Batch(
        image.astype(np.uint8), random.integers(0, config.data.num_classes, size).astype(np.uint8)
    )


def run(config, num_devices, num_steps=2, mapped=True):
    """Losses of each step, and the state after the last: on the host, and as the mapped step returned it."""
    axis_name = replicas.REPLICA_AXIS if mapped else None
    step = functools.partial(
        train_step,
        config=config,
        networks=build_networks(config, axis_name),
        num_examples=16,
        axis_name=axis_name,
    )
    state = init_train_state(config, build_networks(config))
    devices = jax.devices()[:num_devices]
    mapped_step = (
        replicas.pmap_step(
            step, state_axes=state_sharding.axes(state, config, devices), devices=devices
        )
        if mapped
        else jax.jit(step)
    )
    state = state_sharding.to_devices(state, config, devices) if mapped else state
    losses = []
    for i in range(num_steps):
        batch = random_batch(config, i)
        state, metrics = mapped_step(
            state,
            replicas.shard_batch(batch, num_devices, config.optimizer.accumulation_steps)
            if mapped
            else batch,
        )
        losses.append({name: float(value) for name, value in metrics.items()})
    return (
        losses,
        state_sharding.to_host(state, config, devices) if mapped else jax.device_get(state),
        state,
    )


def largest_differences(one, other):
    """Largest difference between the losses (relative where they are above 1), between first moments of Adam (with beta1 = 0: the last gradients; relative), and between running statistics."""
    (losses, state, _), (other_losses, other_state, _) = one, other
    of_losses = max(
        abs(a[name] - b[name]) / max(1, abs(a[name]))
        for a, b in zip(losses, other_losses, strict=True)
        for name in a
    )

    def largest(select, scale):
        pairs = list(
            zip(jax.tree.leaves(select(state)), jax.tree.leaves(select(other_state)), strict=True)
        )
        return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) / scale(a) for a, b in pairs)

    norm = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(state.generator_optimizer.mu))
    of_gradients = largest(lambda s: s.generator_optimizer.mu, lambda _: norm)
    norm_d = max(
        float(np.abs(leaf).max()) for leaf in jax.tree.leaves(state.discriminator_optimizer.mu)
    )
    of_gradients = max(
        of_gradients, largest(lambda s: s.discriminator_optimizer.mu, lambda _: norm_d)
    )
    of_statistics = largest(
        lambda s: s.generator.get('batch_stats', {'none': np.zeros(1)}),
        lambda a: max(1.0, float(np.abs(a).max())),
    )
    return dict(losses=of_losses, gradients=of_gradients, statistics=of_statistics)


def assert_same_update(one, other):
    differences = largest_differences(one, other)
    assert (
        differences['losses'] < 2e-5
        and differences['gradients'] < 1e-4
        and differences['statistics'] < 1e-4
    ), differences


@functools.cache
def run_unmapped():
    return run(Config.create(**SMALL), 1, num_steps=1, mapped=False)


@pytest.mark.slow
def test_eight_replicas_give_the_update_of_the_unmapped_step():
    eight = run(Config.create(**SMALL), 8, num_steps=1)
    assert_same_update(run_unmapped(), eight)
    assert_equal_on_all_replicas(eight[2], 8)


def assert_equal_on_all_replicas(state, num_replicas):
    """`out_axes=None` calls a value replicated without looking. The optimisers' moments are dealt out."""
    for leaf in jax.tree.leaves(
        state.replace(generator_optimizer=None, discriminator_optimizer=None)
    ):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == num_replicas
        for shard in shards[1:]:
            np.testing.assert_array_equal(shard, shards[0])


def test_every_replica_keeps_an_eighth_of_the_optimisers_state():
    config, devices = Config.create(**SMALL), jax.devices()[:8]
    state = init_train_state(config, build_networks(config))
    state = state.replace(
        generator_optimizer=jax.tree.map(
            lambda x: np.arange(x.size, dtype=x.dtype).reshape(x.shape), state.generator_optimizer
        )
    )
    placed = state_sharding.to_devices(state, config, devices)

    def bytes_on(device, optimizer_state):
        return sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves(optimizer_state)
            for shard in leaf.addressable_shards
            if shard.device == device
        )

    for name in ('generator_optimizer', 'discriminator_optimizer'):
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(getattr(state, name)))
        for device in devices:
            assert (
                abs(bytes_on(device, getattr(placed, name)) - whole / 8) <= 2 * 4 * 1 + 4
            )  # padding of two moments; the count
    jax.tree.map(
        np.testing.assert_array_equal, state_sharding.to_host(placed, config, devices), state
    )


@pytest.mark.slow
def test_a_dealt_out_optimiser_gives_the_update_of_a_replicated_one():
    dealt, whole = (
        run(Config.create(**SMALL, style_encoder=True, shard_optimizer=shard), 4)
        for shard in (True, False)
    )
    assert_same_update(whole, dealt)
    gradients = whole[1].generator_optimizer.mu['generator']
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))

    def compare(a, b, gradient):  # where the gradient is more than rounding noise
        clear = np.abs(gradient) > 1e-4 * largest
        np.testing.assert_allclose(np.where(clear, a, b), b, atol=2e-6)  # of steps of 1e-4
        return clear.sum()

    compared = jax.tree.map(
        compare, dealt[1].generator['params'], whole[1].generator['params'], gradients
    )
    assert sum(jax.tree.leaves(compared)) > 1000


def test_a_dealt_out_optimiser_exchanges_no_more_than_a_mean_of_the_gradients():
    """One reduce-scatter and one all-gather of the parameters: together what an all-reduce sends. Besides, one number for the norm."""
    optimizer, params = (
        make_optimizer(Config.create()),
        {'w': np.zeros((16, 4), np.float32), 'b': np.zeros(8, np.float32)},
    )
    dealt = jax.eval_shape(optimizer.init, jax.ShapeDtypeStruct((72 // 8,), np.float32))
    step = jax.make_jaxpr(
        lambda gradients, state, params: apply_gradients(
            optimizer, gradients, state, params, 0.1, 'replicas'
        ),
        axis_env=[('replicas', 8)],
    )
    exchanged = [
        (equation.primitive.name, sum(v.aval.size for v in equation.invars))
        for equation in step(params, dealt, params).eqns
        if 'axis_name' in equation.params
        or 'axes' in equation.params
        and 'replicas' in np.atleast_1d(equation.params['axes'])
    ]
    assert [(name.removesuffix('_invariant'), size) for name, size in exchanged if size > 1] == [
        ('reduce_scatter', 72),
        ('all_gather', 9),
    ], exchanged


@pytest.mark.slow
@pytest.mark.parametrize('norm', ['instance', 'sync_batch'])
def test_a_batch_in_parts(norm):
    """With normalisation of single pictures it is the update of the whole batch; with batch statistics that of the parts, on any number of replicas."""
    config = Config.create(**SMALL, generator_norm=norm)
    in_parts = config.replace(accumulation_steps=4 if norm == 'instance' else 2)
    on_one, on_two = run(in_parts, 1, num_steps=1), run(in_parts, 2, num_steps=1)
    assert_same_update(on_one, on_two)
    if norm == 'instance':
        assert_same_update(run(config, 1, num_steps=1), on_one)
    else:
        assert (
            largest_differences(run_unmapped(), on_one)['losses'] > 1e-3
        )  # the statistics of four dark or four bright pictures are others than those of all


@pytest.mark.slow
def test_recorded_norms_are_those_of_the_gradients_of_the_global_batch():
    (losses,), state, _ = run_unmapped()
    for name, optimizer_state in (
        ('g_gradient_norm', state.generator_optimizer),
        ('d_gradient_norm', state.discriminator_optimizer),
    ):
        expected = np.sqrt(
            sum(
                np.sum(np.square(leaf, dtype=np.float64))
                for leaf in map(np.asarray, jax.tree.leaves(optimizer_state.mu))
            )
        )  # with beta1 = 0
        np.testing.assert_allclose(losses[name], expected, rtol=1e-5)


@pytest.mark.slow
def test_one_replica_and_eight_give_the_same_two_steps_with_style_encoder():
    config = Config.create(**SMALL, style_encoder=True)
    assert_same_update(run(config, 1), run(config, 8))


# The means over replicas in the step, by the function that takes them; those of `moments` have a test of their own below.
MEANS = [('apply_gradients', 1), ('apply_gradients', 2), ('train_step', 1)]


def without_mean(caller, call, monkeypatch):
    """Makes `replicas.mean` return the tree that `caller` gives it in one of its calls as it is; returns the list of all its mapped callers."""
    callers = []

    def lossy_mean(tree, axis_name):
        if axis_name is not None:
            callers.append(inspect.stack()[1].function)
            if callers[-1] == caller and callers.count(caller) == call:
                return tree
        return true_mean(tree, axis_name)

    true_mean = replicas.mean
    monkeypatch.setattr(replicas, 'mean', lossy_mean)
    return callers


@pytest.mark.slow
@pytest.mark.parametrize('caller, call', MEANS)
def test_a_mean_that_is_left_out_is_noticed(caller, call, monkeypatch):
    callers = without_mean(caller, call, monkeypatch)
    lossy = run(Config.create(**SMALL, shard_optimizer=False), 2, num_steps=1)
    assert (
        set(callers) == {'apply_gradients', 'train_step', 'moments'}
        and callers.count('apply_gradients') == 2
    )
    with pytest.raises(AssertionError):
        assert_same_update(run_unmapped(), lossy)


@pytest.mark.parametrize('left_out', [None, 0, 1])
def test_gradients_through_synchronised_statistics(left_out, monkeypatch):
    """Of the mean and of the variance: with either left out, the gradient of the input is another one."""
    x = np.random.default_rng(0).normal(size=(4, 2, 2, 3)).astype(np.float32) + np.arange(
        4
    ).reshape(4, 1, 1, 1)
    cotangent = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    variables = {'batch_stats': {'mean': jnp.zeros(3), 'var': jnp.ones(3)}}

    def loss(axis_name, x, cotangent):
        y, moved = Normalization('sync_batch', axis_name=axis_name).apply(
            variables, x, train=True, mutable=['batch_stats']
        )
        return jnp.sum(y * cotangent), moved

    expected = jax.grad(functools.partial(loss, None), has_aux=True)(x, cotangent)
    means = []

    def lossy_mean(tree, axis_name):
        means.append(axis_name)
        return tree if len(means) - 1 == left_out else true_mean(tree, axis_name)

    true_mean = replicas.mean
    monkeypatch.setattr(replicas, 'mean', lossy_mean)
    mapped = jax.pmap(
        jax.grad(functools.partial(loss, replicas.REPLICA_AXIS), has_aux=True),
        axis_name=replicas.REPLICA_AXIS,
        devices=jax.devices()[:4],
        out_axes=(0, 0),
    )
    gradient, moved = mapped(x[:, None], cotangent[:, None])
    assert means[:2] == [replicas.REPLICA_AXIS] * 2
    same = np.allclose(gradient[:, 0], expected[0], atol=1e-5) and all(
        np.allclose(a, b, atol=1e-5)
        for a, b in zip(
            jax.tree.leaves(moved),
            jax.tree.leaves(jax.tree.map(lambda leaf: leaf[None], expected[1])),
        )
    )
    assert same == (left_out is None)


@pytest.mark.parametrize('kind', ['sync_batch', 'batch'])
def test_statistics_over_replicas(kind):
    x = np.random.default_rng(0).normal(size=(8, 2, 3, 5)).astype(np.float32) + np.arange(
        8
    ).reshape(8, 1, 1, 1)
    layer = Normalization(kind, axis_name=replicas.REPLICA_AXIS)
    variables = {'batch_stats': {'mean': jnp.zeros(5), 'var': jnp.ones(5)}}

    def apply(variables, x):
        return layer.apply(variables, x, train=True, mutable=['batch_stats'])

    y, moved = jax.pmap(
        apply,
        axis_name=replicas.REPLICA_AXIS,
        in_axes=(None, 0),
        out_axes=(0, None),
        devices=jax.devices()[:4],
    )(variables, x.reshape(4, 2, 2, 3, 5))
    y = np.asarray(y).reshape(x.shape)
    groups = x.reshape(1, -1, 5) if kind == 'sync_batch' else x.reshape(4, -1, 5)
    mean, var = groups.mean(1), groups.var(1)
    repeats = 8 // len(groups)
    expected = (x - np.repeat(mean, repeats, 0)[:, None, None]) / np.sqrt(
        np.repeat(var, repeats, 0)[:, None, None] + 1e-5
    )
    np.testing.assert_allclose(y, expected, atol=1e-5)
    pixels = groups.shape[1]
    np.testing.assert_allclose(moved['batch_stats']['mean'], 0.1 * mean.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        moved['batch_stats']['var'], 0.9 + 0.1 * var.mean(0) * pixels / (pixels - 1), rtol=1e-5
    )


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    with pytest.raises(UserError, match='batch_size=6 is not divisible by the 8 devices; use 8'):
        replicas.check_divisible(6, 8)
    with pytest.raises(UserError, match='use 8 or 16'):
        replicas.check_divisible(12, 8)


def test_parts_of_a_batch_are_dealt_out_one_by_one():
    batch = Batch(np.arange(8), np.arange(8))
    np.testing.assert_array_equal(
        replicas.shard_batch(batch, 2, num_parts=2).label, [[0, 1, 4, 5], [2, 3, 6, 7]]
    )
    indices = jax.pmap(
        lambda x: replicas.global_indices(4, 'replicas', 2),
        axis_name='replicas',
        devices=jax.devices()[:2],
    )(np.zeros(2))
    np.testing.assert_array_equal(indices, [[0, 1, 4, 5], [2, 3, 6, 7]])
    np.testing.assert_array_equal(replicas.global_indices(8, None, 4), np.arange(8))


def test_split_deals_out_in_order():
    batch = Batch(np.arange(6).reshape(6, 1), np.arange(6), None)
    parts = replicas.shard_batch(batch, 3)
    np.testing.assert_array_equal(parts.label, [[0, 1], [2, 3], [4, 5]])
    assert parts.instance is None


def test_an_exchange_compiles_once(caplog):
    """Processes ask each other at every record."""
    x = np.arange(2 * jax.local_device_count(), dtype=np.int32).reshape(-1, 2)
    with jax.log_compiles():
        for _ in range(3):
            np.testing.assert_array_equal(replicas.unreplicate(replicas._sum(x)), x.sum(0))
    assert sum('Finished XLA compilation' in record.message for record in caplog.records) == 1


def test_a_step_compiled_ahead_is_the_step_and_compiles_no_more(caplog):
    def step(state, batch, factor):
        total = replicas.mean(factor * jnp.sum(batch), replicas.REPLICA_AXIS)
        return {'whole': state['whole'] + total, 'own': state['own'] + 1}, {'total': total}

    def state():
        return {
            'whole': replicas.replicate(np.zeros(3, np.float32)),
            'own': replicas.shard(np.arange(jax.device_count(), dtype=np.float32)),
        }

    def two_steps(mapped):
        first, _ = mapped(state(), batch)
        return jax.device_get(mapped(first, batch + 1))

    batch, axes = (
        np.arange(2 * jax.device_count(), dtype=np.float32).reshape(-1, 2),
        {'whole': None, 'own': 0},
    )
    expected = two_steps(replicas.pmap_step(step, state_axes=axes, constants=np.float32(2)))
    ahead = replicas.pmap_step(step, state_axes=axes, constants=np.float32(2))
    ahead.compile_ahead(state(), np.zeros_like(batch))
    ahead._compiling.result()
    with jax.log_compiles():
        caplog.clear()
        jax.tree.map(np.testing.assert_array_equal, two_steps(ahead), expected)
    assert 'Finished XLA compilation' not in caplog.text


def test_what_goes_wrong_ahead_is_raised_by_the_step():
    ahead = replicas.pmap_step(lambda state, batch, constants: (state @ batch, state))
    ahead.compile_ahead(np.zeros((2, 3), np.float32), np.zeros((jax.device_count(), 2), np.float32))
    with pytest.raises(TypeError, match='contracting dimension'):
        ahead(None, None)
