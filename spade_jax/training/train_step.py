"""One train step of any model: its updates in their order, on the state of the run.

On a first reading, go straight to `train_step`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.batch import Batch
from spade_jax.config.config import OptimizerConfig
from spade_jax.data.pipeline.example_order import steps_in_epochs
from spade_jax.distributed import replicas
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.model import LossOutput, Model, Update, Variables
from spade_jax.models.optimizers import apply_gradients, decay_factor, make_optimizer
from spade_jax.models.train_state import TrainState, trained_params, update_ema
from spade_jax.random_streams import Stream, style_noise

Metrics = dict[str, jax.Array]
# (stream, step, [B] indices of the examples in the global batch, dim) -> [B, dim]
NoiseSource = Callable[[Stream, jax.Array, jax.Array, int], jax.Array]


class Microbatch(NamedTuple):
    """Examples that are processed together, [b, ...]; or all microbatches, [n, b, ...]."""

    batch: Batch
    indices: jax.Array  # Position of each example in the global batch.


def train_step(
    state: TrainState,
    batch: Batch,
    constants: dict[str, Variables] | None = None,
    *,
    model: Model,
    config: OptimizerConfig,
    num_examples: int,
    noise: NoiseSource,
    updates: tuple[Update, ...] | None = None,
) -> tuple[TrainState, Metrics]:
    """Apply the updates of a model to the state, a pure function of its positional arguments.

    All networks that an update runs are in training mode, so their running statistics and spectral
    vectors change, whether or not their parameters do. `replicas.pmap_step` donates the state.

    Args:
      state: Equal on all replicas, except for sharded optimizer states.
      batch: This replica's share of the global batch, see `replicas.shard_batch`.
      constants: Variables that do not train, such as those of a perceptual network.
      model: Built for the axis of the mapped step, or without one.
      config: Of the optimizers.
      num_examples: In the training set, for the learning rate.
      noise: Source of the noise of latents, see `seeded_noise`.
      updates: Of this step; default: all of the model.

    Returns:
      The new state, and scalars over the global batch: loss terms with their weights, gradient
      norms and other metrics, with the prefix of their update; and the learning rates.
    """
    updates, constants = updates or model.updates, constants or {}
    metrics, reusable, before = {}, None, state.networks
    microbatches = split_microbatches(batch, config.accumulation_steps, model.axis_name)
    decay = decay_factor(state.step, num_examples=num_examples, config=config)
    for update in updates:
        rate = config.learning_rate * decay * update.time_scale
        with jax.named_scope(f'{update.player}_update'):
            iterated = {name: power_iterate(state.networks[name]) for name in update.runs}
            state = state.replace(networks=state.networks | iterated)
            networks = before | iterated if update.simultaneous else state.networks
            seen = state.replace(networks=networks)
            gradients, output = _gradients(update, seen, microbatches, constants, noise, reusable)
            state = _restarted(update, state, num_examples, config)
            state, norm = _descend(update, state, gradients, rate, config, model.axis_name)
        updated = {name: state.networks[name] | new for name, new in output.updated.items()}
        state, reusable = state.replace(networks=state.networks | updated), output.reusable
        scalars = output.terms | output.metrics | {'gradient_norm': norm}
        metrics |= {update.prefix + name: value for name, value in scalars.items()}
        metrics |= {f'{update.player}_learning_rate': rate}
    if state.ema is not None and any(set(update.networks) & set(state.ema) for update in updates):
        ema = update_ema(state.ema, state.networks, step=state.step, decay=config.ema_decay)
        state = state.replace(ema=ema)
    return state.replace(step=state.step + 1), replicas.mean(metrics, model.axis_name)


def _gradients(
    update: Update,
    state: TrainState,
    microbatches: Microbatch,
    constants: dict[str, Variables],
    noise: NoiseSource,
    reusable: Any,
) -> tuple[dict[str, Any], LossOutput]:
    """The gradients of the parameters of an update, zero where they are frozen; and its losses."""

    def loss(params: dict[str, Any], microbatch: Microbatch) -> tuple[jax.Array, LossOutput]:
        def microbatch_noise(stream: Stream, dim: int) -> jax.Array:
            return noise(stream, state.step, microbatch.indices, dim)

        networks = _with_params(state.networks, params)
        output = update.loss(networks | constants, microbatch.batch, microbatch_noise, reusable)
        return sum(output.terms.values(), jnp.zeros(())), output

    def gradients(microbatch: Microbatch) -> tuple[dict[str, Any], LossOutput]:
        params = trained_params(state.networks, update)
        of_all, output = jax.grad(loss, has_aux=True)(params, microbatch)
        return _where_frozen(update, jax.tree.map(jnp.zeros_like, params), of_all), output

    return mean_over_microbatches(gradients, microbatches)


def _where_frozen(update: Update, frozen: dict[str, Any], free: dict[str, Any]) -> dict[str, Any]:
    """The entries of `frozen` where the parameters of an update are frozen, else of `free`."""

    def choose(path: Any, kept: jax.Array, new: jax.Array) -> jax.Array:
        return kept if update.is_frozen(tuple(entry.key for entry in path)) else new

    return jax.tree_util.tree_map_with_path(choose, frozen, free)


def _restarted(
    update: Update, state: TrainState, num_examples: int, config: OptimizerConfig
) -> TrainState:
    """The state with a fresh optimizer at the first step of the epoch that asks for one."""
    if not update.restart_epoch:
        return state
    first_step = steps_in_epochs(update.restart_epoch, config.batch_size, num_examples)
    is_first = state.step == min(first_step, 2**31 - 1)
    moments = state.optimizers[update.player]
    fresh = jax.tree.map(lambda x: jnp.where(is_first, jnp.zeros_like(x), x), moments)
    return state.replace(optimizers=state.optimizers | {update.player: fresh})


def _descend(
    update: Update,
    state: TrainState,
    gradients: dict[str, Any],
    rate: jax.Array,
    config: OptimizerConfig,
    axis_name: str | None,
) -> tuple[TrainState, jax.Array]:
    """The state after the optimizer step of an update, and the norm of the gradient."""
    optimizer, moments = make_optimizer(config), state.optimizers[update.player]
    old = trained_params(state.networks, update)
    new, moments, norm = apply_gradients(optimizer, gradients, moments, old, rate, axis_name)
    networks = _with_params(state.networks, _where_frozen(update, old, new))
    optimizers = state.optimizers | {update.player: moments}
    return state.replace(networks=networks, optimizers=optimizers), norm


def _with_params(networks: dict[str, Variables], params: dict[str, Any]) -> dict[str, Variables]:
    """Networks with other parameters, by network."""
    return networks | {name: networks[name] | {'params': params[name]} for name in params}


def split_microbatches(batch: Batch, number: int, axis_name: str | None = None) -> Microbatch:
    """The microbatches [number, b, ...] of this replica's share of a batch."""
    local_batch = batch.image.shape[0]
    indices = replicas.global_indices(local_batch, axis_name, number)
    return jax.tree.map(
        lambda x: jnp.reshape(x, (number, local_batch // number, *x.shape[1:])),
        Microbatch(batch, indices),
    )


def mean_over_microbatches(compute: Callable[[Microbatch], Any], microbatches: Microbatch) -> Any:
    """Mean of a tree of arrays over the microbatches, which are computed one after the other.

    All microbatches see the same spectral vectors, so with normalization of single images the mean
    is that of the whole batch. Batch normalization uses the statistics of a microbatch, and the
    running ones move towards their mean.
    """
    number = microbatches.indices.shape[0]
    first = jax.tree.map(lambda x: x[0], microbatches)
    if number == 1:
        return compute(first)
    shapes = jax.eval_shape(compute, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def add(total, microbatch):
        return jax.tree.map(jnp.add, total, compute(microbatch)), None

    total, _ = jax.lax.scan(add, zeros, microbatches)
    return jax.tree.map(lambda x: x / number, total)


def seeded_noise(seed: int) -> NoiseSource:
    """The noise of a run: a function of (seed, stream, step, index of the example)."""
    return functools.partial(style_noise, seed)
