"""The result does not depend on the number of devices."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.config import model_options
from spade_jax.config.config import Config
from spade_jax.distributed import replicas
from spade_jax.errors import UserError
from spade_jax.layers.normalization import Normalization
from spade_jax.models.model import build_model
from spade_jax.models.optimizers import apply_gradients, make_optimizer
from spade_jax.models.train_state import init_train_state
from spade_jax.training.state_sharding import StateSharding
from tests.fixtures.small import SMALL, random_batch, step_of

pytestmark = pytest.mark.usefixtures('eight_devices')
STYLED = Config.create(**SMALL, style_encoder=True)


def run(config, num_devices, num_steps=1):
    """Metrics of each step, and the state after the last: on the host, and on the devices."""
    devices = jax.devices()[:num_devices]
    model, state = build_model(config, replicas.REPLICA_AXIS), init_train_state(config)
    sharding = StateSharding(model, state, shard=config.optimizer.shard_optimizer, devices=devices)
    axes = sharding.pmap_axes(state)
    pmapped = replicas.pmap_step(step_of(config, model), state_axes=axes, devices=devices)
    state = sharding.to_devices(state)
    metrics = []
    for i in range(num_steps):
        number = config.optimizer.accumulation_steps
        batch = replicas.shard_batch(random_batch(config, i), num_devices, number)
        state, values = pmapped(state, batch)
        metrics.append({name: float(value) for name, value in values.items()})
    return metrics, sharding.to_host(state), state


@functools.cache
def run_unmapped():
    """Two steps of the program that has no replicas."""
    step, state, metrics = jax.jit(step_of(STYLED)), init_train_state(STYLED), []
    for i in range(2):
        state, values = step(state, random_batch(STYLED, i))
        metrics.append({name: float(value) for name, value in values.items()})
    return metrics, jax.device_get(state), state


@functools.cache
def run_on_eight():
    """The same on eight devices, whose optimizer state is sharded."""
    return run(STYLED, 8, num_steps=2)


def largest_difference(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in leaves)


def metrics_difference(one, other):
    """Largest difference between the metrics of two runs, relative where they are above 1."""
    return max(
        abs(a[name] - b[name]) / max(1, abs(a[name]))
        for a, b in zip(one[0], other[0], strict=True)
        for name in a
    )


def assert_same_update(one, other):
    assert metrics_difference(one, other) < 2e-5
    for player in one[1].optimizers:
        # With beta1 = 0 the first moment is the last gradient.
        moments = [run[1].optimizers[player].mu for run in (one, other)]
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(moments[0]))
        assert largest_difference(*moments) < 1e-4 * largest, player
    statistics = [run[1].networks['generator'].get('batch_stats', {}) for run in (one, other)]
    for a, b in zip(*map(jax.tree.leaves, statistics), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, float(np.abs(a).max())))


def test_eight_replicas_give_update_of_unmapped_step():
    eight = run_on_eight()
    assert_same_update(run_unmapped(), eight)
    # `out_axes=None` declares a value replicated without comparing its shards.
    _, _, state = eight
    for leaf in jax.tree.leaves((state.step, state.networks)):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 8
        for shard in shards[1:]:
            np.testing.assert_array_equal(shard, shards[0])


def test_each_replica_keeps_an_eighth_of_optimizer_state():
    config, devices = Config.create(**SMALL), jax.devices()[:8]
    state = init_train_state(config)
    optimizers = jax.tree.map(
        lambda x: np.arange(x.size, dtype=x.dtype).reshape(x.shape), state.optimizers
    )
    state = state.replace(optimizers=optimizers)
    sharding = StateSharding(build_model(config), state, shard=True, devices=devices)
    placed = sharding.to_devices(state)

    def bytes_on(device, tree):
        shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
        return sum(shard.data.nbytes for shard in shards if shard.device == device)

    for player, optimizer_state in state.optimizers.items():
        whole = sum(leaf.nbytes for leaf in jax.tree.leaves(optimizer_state))
        for device in devices:
            # Padding of two moments; the count.
            difference = bytes_on(device, placed.optimizers[player]) - whole / 8
            assert abs(difference) <= 2 * 4 * 1 + 4
    jax.tree.map(np.testing.assert_array_equal, sharding.to_host(placed), state)


def test_sharded_optimizer_gives_parameters_of_unsharded_one():
    (_, replicated, _), (_, sharded, _) = run_unmapped(), run_on_eight()
    gradients = replicated.optimizers['generator'].mu['generator']
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))

    def compare(a, b, gradient):  # Where the gradient is more than rounding noise.
        clear = np.abs(gradient) > 1e-4 * largest
        np.testing.assert_allclose(np.where(clear, a, b), b, atol=2e-6)  # Of steps of 1e-4.
        return clear.sum()

    params = [state.networks['generator']['params'] for state in (sharded, replicated)]
    compared = jax.tree.map(compare, *params, gradients)
    assert sum(jax.tree.leaves(compared)) > 1000


def test_sharded_optimizer_communicates_no_more_than_all_reduce():
    """A reduce-scatter and an all-gather are what an all-reduce sends; and a number, the norm."""
    optimizer = make_optimizer(Config.create().optimizer)
    params = {'w': np.zeros((16, 4), np.float32), 'b': np.zeros(8, np.float32)}
    shard = jax.eval_shape(optimizer.init, jax.ShapeDtypeStruct((72 // 8,), np.float32))

    def step(gradients, state, params):
        return apply_gradients(optimizer, gradients, state, params, 0.1, 'replicas')

    jaxpr = jax.make_jaxpr(step, axis_env=[('replicas', 8)])(params, shard, params)
    sent = []
    for equation in jaxpr.eqns:
        axes = np.atleast_1d(equation.params.get('axes', ()))
        if 'axis_name' in equation.params or 'replicas' in axes:
            size = sum(variable.aval.size for variable in equation.invars)
            sent.append((equation.primitive.name.removesuffix('_invariant'), size))
    assert [one for one in sent if one[1] > 1] == [('reduce_scatter', 72), ('all_gather', 9)]


def test_microbatches_give_update_of_whole_batch_with_instance_norm():
    config = Config.create(**SMALL, generator_norm='instance')
    assert_same_update(run(config, 1), run(config.replace(accumulation_steps=4), 1))


def test_microbatches_use_their_own_batch_statistics_on_any_number_of_replicas():
    config = STYLED.replace(accumulation_steps=2)
    one, two = run(config, 1), run(config, 2)
    assert_same_update(one, two)
    # The statistics of four dark or four bright images are not those of all.
    first_metrics = run_unmapped()[0][:1]
    assert metrics_difference((first_metrics,), one) > 1e-3


@pytest.mark.parametrize('player', ['generator', 'discriminator'])
def test_logged_gradient_norm_is_that_of_global_batch(player):
    (_, metrics), state, _ = run_unmapped()
    moments = jax.tree.leaves(state.optimizers[player].mu)  # With beta1 = 0, the gradient.
    squares = sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in map(np.asarray, moments))
    np.testing.assert_allclose(metrics[f'{player[0]}_gradient_norm'], np.sqrt(squares), rtol=1e-5)


def leave_mean_out(caller, call, monkeypatch):
    """Make one call of `replicas.mean` return its input; returns the list of all its callers."""
    callers, true_mean = [], replicas.mean

    def lossy_mean(tree, axis_name):
        if axis_name is not None:
            callers.append(inspect.stack()[1].function)
            if callers[-1] == caller and callers.count(caller) == call:
                return tree
        return true_mean(tree, axis_name)

    monkeypatch.setattr(replicas, 'mean', lossy_mean)
    return callers


@pytest.mark.parametrize('caller', ['apply_gradients', 'train_step'])
def test_missing_mean_over_replicas_is_noticed(caller, monkeypatch):
    """The step of any model takes two means; `moments`, a third, has a test of its own."""
    toy = 'tests.models.toy_model'
    row = model_options.RegisteredModel(options=f'{toy}:ToyOptions', model=f'{toy}:Toy')
    monkeypatch.setitem(model_options.MODELS, 'toy', row)
    config = Config.create(model='toy', crop_size=16, load_size=16, num_classes=3, batch_size=8)
    config = config.replace(shard_optimizer=False)
    right = run(config, 2)
    assert metrics_difference(run(config, 1), right) < 1e-5
    callers = leave_mean_out(caller, 1, monkeypatch)
    wrong = run(config, 2)
    assert callers == ['apply_gradients', 'train_step']
    moments = [state.optimizers['painter'].mu for _, state, _ in (right, wrong)]
    differences = largest_difference(*moments), metrics_difference(right, wrong)
    assert max(differences) > 1e-3


def images_of_different_brightness(*shape):
    brightness = np.arange(shape[0]).reshape(-1, 1, 1, 1)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) + brightness


@pytest.mark.parametrize('left_out', [None, 0, 1])
def test_gradient_of_synchronized_statistics_needs_both_means(left_out, monkeypatch):
    x = images_of_different_brightness(4, 2, 2, 3)
    cotangent = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    variables = {'batch_stats': {'mean': jnp.zeros(3), 'var': jnp.ones(3)}}

    def loss(axis_name, x, cotangent):
        layer = Normalization('sync_batch', axis_name=axis_name)
        y, updated = layer.apply(variables, x, train=True, mutable=['batch_stats'])
        return jnp.sum(y * cotangent), updated

    expected, _ = jax.grad(functools.partial(loss, None), has_aux=True)(x, cotangent)
    means, true_mean = [], replicas.mean

    def lossy_mean(tree, axis_name):
        means.append(axis_name)
        return tree if len(means) - 1 == left_out else true_mean(tree, axis_name)

    monkeypatch.setattr(replicas, 'mean', lossy_mean)
    number = len(jax.devices()[:4])
    gradient = jax.grad(functools.partial(loss, replicas.REPLICA_AXIS), has_aux=True)
    mapped = jax.pmap(gradient, axis_name=replicas.REPLICA_AXIS, devices=jax.devices()[:number])
    shape = (number, 4 // number, *x.shape[1:])
    actual, _ = mapped(x.reshape(shape), cotangent.reshape(shape))
    assert means[:2] == [replicas.REPLICA_AXIS] * 2
    same = np.allclose(np.reshape(actual, x.shape), expected, atol=1e-5)
    assert same == (left_out is None)


@pytest.mark.parametrize('kind', ['sync_batch', 'batch'])
def test_batch_statistics_over_replicas_by_hand(kind):
    x = images_of_different_brightness(8, 2, 3, 5)
    number = len(jax.devices()[:4])
    layer = Normalization(kind, axis_name=replicas.REPLICA_AXIS)
    variables = {'batch_stats': {'mean': jnp.zeros(5), 'var': jnp.ones(5)}}

    def apply(variables, x):
        return layer.apply(variables, x, train=True, mutable=['batch_stats'])

    mapped = jax.pmap(
        apply,
        axis_name=replicas.REPLICA_AXIS,
        in_axes=(None, 0),
        out_axes=(0, None),
        devices=jax.devices()[:number],
    )
    y, updated = mapped(variables, x.reshape(number, 8 // number, 2, 3, 5))
    groups = x.reshape(1 if kind == 'sync_batch' else number, -1, 5)
    mean, var, pixels = groups.mean(1), groups.var(1), groups.shape[1]
    mean_of_image, var_of_image = (np.repeat(s, 8 // len(groups), 0) for s in (mean, var))
    expected = (x - mean_of_image[:, None, None]) / np.sqrt(var_of_image[:, None, None] + 1e-5)
    np.testing.assert_allclose(np.reshape(y, x.shape), expected, atol=1e-5)
    statistics = updated['batch_stats']
    np.testing.assert_allclose(statistics['mean'], 0.1 * mean.mean(0), rtol=1e-5)
    unbiased = var.mean(0) * pixels / (pixels - 1)
    np.testing.assert_allclose(statistics['var'], 0.9 + 0.1 * unbiased, rtol=1e-5)


def test_indivisible_batch_is_refused_with_sizes_that_fit():
    with pytest.raises(UserError, match='batch_size=6 is not divisible by the 8 devices; use 8'):
        replicas.check_divisible(6, 8)
    with pytest.raises(UserError, match='use 8 or 16'):
        replicas.check_divisible(12, 8)


def test_microbatches_are_sharded_one_by_one():
    batch = Batch(np.arange(8), np.arange(8))
    expected = [[0, 1, 4, 5], [2, 3, 6, 7]]
    np.testing.assert_array_equal(replicas.shard_batch(batch, 2, 2).label, expected)
    indices = jax.pmap(
        lambda x: replicas.global_indices(4, 'replicas', 2),
        axis_name='replicas',
        devices=jax.devices()[:2],
    )
    np.testing.assert_array_equal(indices(np.zeros(2)), expected)
    np.testing.assert_array_equal(replicas.global_indices(8, None, 4), np.arange(8))


def test_shard_batch_keeps_order_and_missing_instances():
    batch = replicas.shard_batch(Batch(np.arange(6).reshape(6, 1), np.arange(6), None), 3)
    np.testing.assert_array_equal(batch.label, [[0, 1], [2, 3], [4, 5]])
    assert batch.instance is None


def test_collective_compiles_once(caplog):
    x = np.arange(2 * jax.local_device_count(), dtype=np.int32).reshape(-1, 2)
    with jax.log_compiles():
        for _ in range(3):
            np.testing.assert_array_equal(replicas.unreplicate(replicas._sum(x)), x.sum(0))
    assert sum('Finished XLA compilation' in record.message for record in caplog.records) == 1


def test_step_compiled_ahead_is_the_step_and_does_not_compile_again(caplog):
    def step(state, batch, factor):
        total = replicas.mean(factor * jnp.sum(batch), replicas.REPLICA_AXIS)
        new = {'replicated': state['replicated'] + total, 'sharded': state['sharded'] + 1}
        return new, {'total': total}

    def state():
        return {
            'replicated': replicas.replicate(np.zeros(3, np.float32)),
            'sharded': replicas.shard(np.arange(jax.device_count(), dtype=np.float32)),
        }

    def two_steps(mapped):
        first, _ = mapped(state(), replicas.put_batch(batch))
        return jax.device_get(mapped(first, replicas.put_batch(batch + 1)))

    axes = {'replicated': None, 'sharded': 0}
    batch = np.arange(2 * jax.device_count(), dtype=np.float32).reshape(-1, 2)
    expected = two_steps(replicas.pmap_step(step, state_axes=axes, constants=np.float32(2)))
    ahead = replicas.pmap_step(step, state_axes=axes, constants=np.float32(2))
    ahead.compile_ahead(state(), np.zeros_like(batch))
    ahead._compiling.result()
    with jax.log_compiles():
        caplog.clear()
        jax.tree.map(np.testing.assert_array_equal, two_steps(ahead), expected)
    assert 'Finished XLA compilation' not in caplog.text


def test_mapped_step_does_no_implicit_transfers():
    def step(state, batch, constants):
        return replicas.mean(state + jnp.sum(batch), replicas.REPLICA_AXIS), {}

    mapped = replicas.pmap_step(step)
    state = replicas.replicate(np.zeros((), np.float32))
    batch = replicas.put_batch(np.ones((jax.device_count(), 4), np.float32))
    with jax.transfer_guard('disallow'):
        state, _ = mapped(state, batch)
    assert float(replicas.unreplicate(state)) == 4


def test_error_of_compilation_ahead_is_raised_by_step():
    ahead = replicas.pmap_step(lambda state, batch, constants: (state @ batch, state))
    ahead.compile_ahead(np.zeros((2, 3), np.float32), np.zeros((jax.device_count(), 2), np.float32))
    with pytest.raises(TypeError, match='contracting dimension'):
        ahead(None, None)
