"""One train step of any model: its updates in their order, on the state of the run.

On a first reading, go straight to `train_step`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.batch import Batch
from spade_jax.config.config import OptimizerConfig
from spade_jax.distributed import replicas
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.model import LossOutput, Model, Update, Variables
from spade_jax.models.optimizers import apply_gradients, decay_factor, make_optimizer
from spade_jax.models.train_state import TrainState, trained_params, update_ema
from spade_jax.random_streams import Stream, style_noise

Metrics = dict[str, jax.Array]
# (stream, step, [B] indices of the examples in the global batch, dim) -> [B, dim]
NoiseSource = Callable[[Stream, jax.Array, jax.Array, int], jax.Array]


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
    """Apply the updates of a model to the state.

    A pure function of its positional arguments; `replicas.pmap_step` maps it over replicas and
    donates the state. All networks that an update runs are in training mode, so their running
    statistics and spectral vectors change, whether or not their parameters do.

    With `accumulation_steps` the batch is processed in microbatches. Losses and gradients are means
    over the microbatches, which all see the same spectral vectors; so with normalization of single
    images the update is that of the whole batch. Batch normalization uses the statistics of a
    microbatch, and the running ones move towards their mean.

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
    updates = updates or model.updates
    microbatches = split_microbatches(batch, config.accumulation_steps, model.axis_name)
    factor = decay_factor(state.step, num_examples=num_examples, config=config)
    step = _Step(model, config, constants or {}, noise)
    metrics, reusable = {}, None
    for update in updates:
        rate = config.learning_rate * factor * update.time_scale
        with jax.named_scope(f'{update.player}_update'):
            state, update_metrics, reusable = step.run(update, state, microbatches, rate, reusable)
        metrics |= update_metrics | {f'{update.player}_learning_rate': rate}
    if state.ema is not None and any(set(update.networks) & set(state.ema) for update in updates):
        ema = update_ema(state.ema, state.networks, step=state.step, decay=config.ema_decay)
        state = state.replace(ema=ema)
    return state.replace(step=state.step + 1), replicas.mean(metrics, model.axis_name)


class _Step(NamedTuple):
    """What does not change between the updates of a step."""

    model: Model
    config: OptimizerConfig
    constants: dict[str, Variables]
    noise: NoiseSource

    def run(
        self,
        update: Update,
        state: TrainState,
        microbatches: Microbatch,
        rate: jax.Array,
        reusable: Any,
    ) -> tuple[TrainState, Metrics, Any]:
        """One optimizer step of one player."""
        networks = dict(state.networks)
        for name in update.runs:
            networks[name] = power_iterate(networks[name])

        def loss(params: dict[str, Any], microbatch: Microbatch) -> tuple[jax.Array, LossOutput]:
            replaced = {name: networks[name] | {'params': params[name]} for name in params}

            def noise(stream: Stream, dim: int) -> jax.Array:
                return self.noise(stream, state.step, microbatch.indices, dim)

            variables = networks | replaced | self.constants
            output = update.loss(variables, microbatch.batch, noise, reusable)
            return sum(output.terms.values(), jnp.zeros(())), output

        params = trained_params(networks, update)
        free = {name: tree for name, tree in params.items() if name not in update.frozen}
        gradient = functools.partial(jax.grad(loss, has_aux=True), free)
        gradients, output = mean_over_microbatches(gradient, microbatches)
        frozen = {name: jax.tree.map(jnp.zeros_like, params[name]) for name in update.frozen}
        new_params, optimizer_state, norm = apply_gradients(
            make_optimizer(self.config),
            gradients | frozen,
            state.optimizers[update.player],
            params,
            rate,
            self.model.axis_name,
        )
        for name, collections in output.updated.items():
            networks[name] = networks[name] | collections
        for name in free:
            networks[name] = networks[name] | {'params': new_params[name]}
        metrics = output.terms | output.metrics | {'gradient_norm': norm}
        metrics = {update.prefix + name: value for name, value in metrics.items()}
        optimizers = state.optimizers | {update.player: optimizer_state}
        return state.replace(networks=networks, optimizers=optimizers), metrics, output.reusable


class Microbatch(NamedTuple):
    """Examples that are processed together, [b, ...]; or all microbatches, [n, b, ...].

    Attributes:
      batch: Images, label maps and instances.
      indices: Position of each example in the global batch.
    """

    batch: Batch
    indices: jax.Array


def split_microbatches(batch: Batch, number: int, axis_name: str | None = None) -> Microbatch:
    """The microbatches [number, b, ...] of this replica's share of a batch."""
    local_batch = batch.image.shape[0]
    indices = replicas.global_indices(local_batch, axis_name, number)
    return jax.tree.map(
        lambda x: jnp.reshape(x, (number, local_batch // number, *x.shape[1:])),
        Microbatch(batch, indices),
    )


def mean_over_microbatches(compute: Callable[[Microbatch], Any], microbatches: Microbatch) -> Any:
    """Mean over the microbatches of a tree of arrays; they are computed one after the other."""
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
