"""Adam with a schedule of the learning rate; its state may be sharded over the replicas."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from spade_jax.config.config import LR_DECAYS, OptimizerConfig
from spade_jax.distributed import replicas


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Adam without its learning rate, which `apply_gradients` applies."""
    beta1, beta2 = config.adam_betas
    return optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8)


def decay_factor(step: jax.Array | int, *, num_examples: int, config: OptimizerConfig) -> jax.Array:
    """Factor of the learning rate: 1 in the constant epochs, then linear to 0, epoch by epoch.

    In the n epochs of the decay, the factors are
      late: n/n, ..., 1/n (the published models of SPADE decayed after an epoch);
      even: n/(n+1), ..., 1/(n+1);
      early: (n-1)/(n+1), ..., 0, and n/(n+1) in the last constant epoch.
    Steps count from 0; `num_examples` are those of the training set.
    """
    sooner = LR_DECAYS.index(config.lr_decay) if config.decay_epochs else 0
    num_decays = max(config.decay_epochs, 1) + (sooner > 0)
    epochs = config.constant_epochs + 1 - sooner + np.arange(num_decays)  # From 0.
    # Not on the device, whose int32 would overflow after 2**31 examples.
    first_steps = -(-np.maximum(epochs, 0) * num_examples // config.batch_size)
    first_steps = np.minimum(first_steps, 2**31 - 1).astype(np.int32)
    decays = jnp.searchsorted(first_steps, step, side='right')
    return 1 - decays / num_decays


def apply_gradients(
    optimizer: optax.GradientTransformation,
    gradients: Any,
    state: optax.OptState,
    params: Any,
    rate: jax.Array,
    axis_name: str | None = None,
) -> tuple[Any, optax.OptState, jax.Array]:
    """One optimizer step with the mean gradient of the global batch.

    If the optimizer state is sharded over the replicas (`state_sharding.py`), each replica updates
    its shard of the parameters and they all-gather the shards (ZeRO stage 1, Rajbhandari et al.
    2020). The update is the same, and the communication is no more than the all-reduce of the
    gradients needs.

    Args:
      optimizer: Elementwise.
      gradients: Of this replica's share of the batch.
      state: Of the optimizer, for `params` or for this replica's shard of them.
      params: Equal on all replicas.
      rate: Learning rate.
      axis_name: The axis of replicas, or None.

    Returns:
      The new parameters, the new optimizer state, and the norm of the gradient.
    """
    if is_sharded(state, params):
        assert axis_name is not None
        return _apply_to_shard(optimizer, gradients, state, params, rate, axis_name)
    gradients = replicas.mean(gradients, axis_name)
    updates, state = optimizer.update(gradients, state, params)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    return optax.apply_updates(params, updates), state, optax.tree.norm(gradients)


def is_sharded(state: optax.OptState, params: Any) -> bool:
    """True for the optimizer state over vectors of parameters instead of over their tree."""
    matches = has_structure_of(params)
    return not any(map(matches, jax.tree.leaves(state, is_leaf=matches)))


def has_structure_of(params: Any) -> Callable[[Any], bool]:
    """A test for the parts of an optimizer state that have one entry for each parameter."""
    structure = jax.tree.structure(params)
    return lambda part: jax.tree.structure(part) == structure


def _apply_to_shard(optimizer, gradients, state, params, rate, axis_name):
    vector, to_tree = ravel_pytree(params)
    padding = (0, -vector.size % replicas.count(axis_name))
    gradient = jnp.pad(ravel_pytree(gradients)[0], padding)
    gradient = replicas.reduce_scatter_mean(gradient, axis_name)  # [shard]
    shard = replicas.local_shard(jnp.pad(vector, padding), axis_name)
    direction, state = optimizer.update(gradient, state, shard)
    vector = replicas.all_gather_shards(shard - rate * direction, axis_name)[: vector.size]
    norm = jnp.sqrt(replicas.squared_norm(gradient, axis_name))
    return to_tree(vector), state, norm
