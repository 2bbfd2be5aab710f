"""Adam with two time scales (Heusel et al. 2017) and the learning rate as a function of the step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from spade_jax.config.config import Config
from spade_jax.distributed import replicas


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Adam without its learning rate, which `apply_gradients` applies: the rate follows the step of the run, not the count of updates."""
    beta1, beta2 = config.optimizer.adam_betas
    return optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8)


def decay_factor(step: jax.Array | int, *, num_examples: int, config: Config) -> jax.Array:
    """Share of the full learning rate in a step: 1 for the constant epochs, then down to 0 in equal parts, one an epoch.

    The first epoch of the decay still has the full rate, since the published models were decayed after an epoch.

    Args:
      step: number of the step, from 0.
      num_examples: in the training set; an epoch is over when so many pictures were seen.
    """
    epoch = (jnp.asarray(step) * config.optimizer.batch_size) // num_examples  # from 0
    decays = jnp.maximum(0, epoch - config.optimizer.constant_epochs)
    return 1 - jnp.minimum(decays / max(config.optimizer.decay_epochs, 1), 1.0)


def learning_rates(
    step: jax.Array | int, *, num_examples: int, config: Config
) -> tuple[jax.Array, jax.Array]:
    """Learning rates of generator (with encoder) and discriminator in a step."""
    rate = config.optimizer.learning_rate * decay_factor(
        step, num_examples=num_examples, config=config
    )
    return (rate / 2, rate * 2) if config.optimizer.ttur else (rate, rate)


def apply_gradients(
    optimizer: optax.GradientTransformation,
    gradients: Any,
    optimizer_state: optax.OptState,
    params: Any,
    rate: jax.Array,
    axis_name: str | None = None,
) -> tuple[Any, optax.OptState, jax.Array]:
    """One step down the gradient of the global batch.

    Where the state of the optimiser is dealt out over the replicas (`placement.py`), each updates its slice of the parameters and they exchange the
    slices (Rajbhandari et al. 2020, ZeRO stage 1): the same update, and no more communication than the mean of the gradients needs anyway.

    Args:
      optimizer: element by element.
      gradients: those of this replica's share of the batch.
      optimizer_state: for `params`, or for this replica's slice of them.

    Returns:
      The new parameters, the new state of the optimiser, and the norm of the gradient.
    """
    if is_sharded(optimizer_state, params):
        return _descend_in_slices(optimizer, gradients, optimizer_state, params, rate, axis_name)
    gradients = replicas.mean(gradients, axis_name)
    directions, optimizer_state = optimizer.update(gradients, optimizer_state, params)
    params = optax.apply_updates(
        params, jax.tree.map(lambda direction: -rate * direction, directions)
    )
    return params, optimizer_state, optax.tree.norm(gradients)


def is_sharded(optimizer_state: optax.OptState, params: Any) -> bool:
    """True for the state over vectors of parameters instead of over their tree."""
    return not any(
        has_structure_of(params)(part)
        for part in jax.tree.leaves(optimizer_state, is_leaf=has_structure_of(params))
    )


def has_structure_of(params: Any) -> Callable[[Any], bool]:
    """Tells the parts of an optimiser's state that have one entry for each parameter."""
    structure = jax.tree.structure(params)
    return lambda part: jax.tree.structure(part) == structure


def _descend_in_slices(optimizer, gradients, optimizer_state, params, rate, axis_name):
    vector, to_tree = ravel_pytree(params)
    padding = (0, -vector.size % replicas.count(axis_name))
    gradient = replicas.reduce_scatter_mean(jnp.pad(ravel_pytree(gradients)[0], padding), axis_name)
    own = replicas.local_shard(jnp.pad(vector, padding), axis_name)
    direction, optimizer_state = optimizer.update(gradient, optimizer_state, own)
    moved = replicas.all_gather_shards(own - rate * direction, axis_name)
    return (
        to_tree(moved[: vector.size]),
        optimizer_state,
        jnp.sqrt(replicas.squared_norm(gradient, axis_name)),
    )
