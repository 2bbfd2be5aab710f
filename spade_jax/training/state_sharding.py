"""A TrainState on the host and on the devices.

On the host, and in checkpoints, an optimizer state has the tree of the parameters, whatever devices
there are. On several devices it is sharded: its moments are vectors, and each replica holds a shard
of them. Everything else is replicated.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from spade_jax.distributed import replicas
from spade_jax.models.optimizers import has_structure_of
from spade_jax.models.train_state import TrainState

Params = Mapping[str, Any]  # player -> the parameters that its optimizer moves


def to_devices(
    state: TrainState, params: Params, *, shard: bool, devices: list | None = None
) -> TrainState:
    """Put a state from the host on the devices of this host.

    Args:
      state: NumPy arrays.
      params: The parameters of each player's optimizer, see `train_state.trained_params`.
      shard: Shard the optimizer states if there are several devices.
      devices: Default: all devices.
    """
    if not shards_optimizer(shard, devices):
        return replicas.replicate(state, devices)
    optimizers = {
        player: _shard(optimizer_state, params[player], devices)
        for player, optimizer_state in state.optimizers.items()
    }
    rest = replicas.replicate(state.replace(optimizers={}), devices)
    return rest.replace(optimizers=optimizers)


def to_host(
    state: TrainState, params: Params, *, shard: bool, devices: list | None = None
) -> TrainState:
    """The inverse of `to_devices`, as NumPy arrays. All processes must call it together."""
    if not shards_optimizer(shard, devices):
        return jax.device_get(replicas.unreplicate(state))
    optimizers = {
        player: _gather(optimizer_state, params[player])
        for player, optimizer_state in state.optimizers.items()
    }
    rest = jax.device_get(replicas.unreplicate(state.replace(optimizers={})))
    return rest.replace(optimizers=optimizers)


def pmap_axes(
    state: TrainState, params: Params, *, shard: bool, devices: list | None = None
) -> Any:
    """Axes of the state for `replicas.pmap_step`: 0 where it is sharded, None elsewhere.

    Args:
      state: On the host or on devices, concrete or abstract.
      params: See `to_devices`.
      shard: See `to_devices`.
      devices: Default: all devices.
    """
    if not shards_optimizer(shard, devices):
        return None
    axes = {}
    for player, optimizer_state in state.optimizers.items():
        matches = has_structure_of(params[player])
        axes[player] = jax.tree.map(
            lambda part, matches=matches: 0 if matches(part) else None,
            optimizer_state,
            is_leaf=matches,
        )
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(state))
    return state.replace(**nothing).replace(optimizers=axes)


def shards_optimizer(shard: bool, devices: list | None = None) -> bool:
    """True if the optimizer state is sharded: only where there is more than one replica."""
    return shard and replicas.replica_counts(devices)[0] > 1


def _shard(optimizer_state: optax.OptState, params: Any, devices: list | None) -> optax.OptState:
    matches = has_structure_of(params)

    def place(part):
        if not matches(part):
            return replicas.replicate(part, devices)
        vector = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(part)])
        return replicas.shard(vector, devices)

    return jax.tree.map(place, optimizer_state, is_leaf=matches)


def _gather(optimizer_state: optax.OptState, params: Any) -> optax.OptState:
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def take(part):
        if part.ndim == 0:
            return np.asarray(part.addressable_data(0))
        vectors = np.split(replicas.gather_to_host(part, int(ends[-1])), ends[:-1])
        arrays = [vector.reshape(leaf.shape) for vector, leaf in zip(vectors, leaves, strict=True)]
        return jax.tree.unflatten(structure, arrays)

    return jax.tree.map(take, optimizer_state)
