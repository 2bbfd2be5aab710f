"""A TrainState on the host and on the devices.

On the host, and in checkpoints, an optimizer state has the tree of the parameters, whatever devices
there are. On several devices it is sharded (ZeRO stage 1): its moments are vectors, and each
replica holds a shard of them. Everything else is replicated.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from spade_jax.distributed import replicas
from spade_jax.models.model import Model
from spade_jax.models.optimizers import has_structure_of
from spade_jax.models.train_state import TrainState, trained_params


class StateSharding:
    """Moves the states of a run between host and devices.

    Args:
      model: Its updates tell which parameters an optimizer changes.
      state: Of the run, concrete or abstract.
      shard: Shard the optimizer state if there is more than one replica.
      devices: Default: all devices.
    """

    def __init__(self, model: Model, state: TrainState, *, shard: bool, devices: Any = None):
        self._enabled = shard and replicas.replica_counts(devices)[0] > 1
        self._replicate = functools.partial(replicas.replicate, devices=devices)
        self._shard = functools.partial(replicas.shard, devices=devices)
        self._params = {
            update.player: jax.eval_shape(
                functools.partial(trained_params, update=update), state.networks
            )
            for update in model.updates
        }

    def to_devices(self, state: TrainState) -> TrainState:
        """Put a state of NumPy arrays on the devices of this host."""
        if not self._enabled:
            return self._replicate(state)

        def shard(moments):
            return self._shard(np.concatenate([np.ravel(x) for x in jax.tree.leaves(moments)]))

        optimizers = self._map_moments(state, shard, self._replicate)
        return self._replicate(state.replace(optimizers={})).replace(optimizers=optimizers)

    def to_host(self, state: TrainState) -> TrainState:
        """The inverse of `to_devices`. All processes must call it together."""
        if not self._enabled:
            return jax.device_get(replicas.unreplicate(state))
        optimizers = {
            player: jax.tree.map(functools.partial(self._gather, self._params[player]), optimizer)
            for player, optimizer in state.optimizers.items()
        }
        rest = jax.device_get(replicas.unreplicate(state.replace(optimizers={})))
        return rest.replace(optimizers=optimizers)

    def pmap_axes(self, state: TrainState) -> Any:
        """Axes of a host state for `replicas.pmap_step`: 0 where it is sharded, None elsewhere."""
        if not self._enabled:
            return None
        optimizers = self._map_moments(state, lambda part: 0, lambda part: None)
        return state.replace(step=None, networks=None, optimizers=optimizers, ema=None)

    def _map_moments(self, state: TrainState, on_moments: Callable, on_others: Callable) -> Any:
        """Map the parts of each optimizer state that have one entry for each parameter."""

        def mapped(is_moments, optimizer_state):
            def choose(part):
                return on_moments(part) if is_moments(part) else on_others(part)

            return jax.tree.map(choose, optimizer_state, is_leaf=is_moments)

        return {
            player: mapped(has_structure_of(self._params[player]), optimizer_state)
            for player, optimizer_state in state.optimizers.items()
        }

    @staticmethod
    def _gather(params: Any, part: jax.Array) -> Any:
        """A part of an optimizer state over vectors, as a tree like the parameters."""
        if part.ndim == 0:
            return np.asarray(part.addressable_data(0))
        leaves, structure = jax.tree.flatten(params)
        ends = np.cumsum([leaf.size for leaf in leaves])
        vectors = np.split(replicas.gather_to_host(part, int(ends[-1])), ends[:-1])
        return structure.unflatten(v.reshape(x.shape) for v, x in zip(vectors, leaves, strict=True))
