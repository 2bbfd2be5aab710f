"""A TrainState on the host and on the devices.

On the host, and in checkpoints, an optimizer state has the tree of the parameters, whatever devices
there are. On several devices it is sharded (ZeRO stage 1): its moments are vectors, and each
replica holds a shard of them. Everything else is replicated.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from spade_jax.distributed import replicas
from spade_jax.models.model import Model
from spade_jax.models.optimizers import has_structure_of
from spade_jax.models.train_state import TrainState, trained_params


class StateSharding:
    """Moves the states of a run between host and devices.

    Attributes:
      enabled: True if the optimizer state is sharded.
    """

    def __init__(self, model: Model, state: TrainState, *, shard: bool, devices: Any = None):
        """Note the shapes of the parameters.

        Args:
          model: Its updates tell which parameters an optimizer moves.
          state: Of the run, concrete or abstract.
          shard: Shard the optimizer state if there is more than one replica.
          devices: Default: all devices.
        """
        self.enabled = shard and replicas.replica_counts(devices)[0] > 1
        self._devices = devices
        self._params = {
            update.player: jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
                trained_params(state.networks, update),
            )
            for update in model.updates
        }

    def to_devices(self, state: TrainState) -> TrainState:
        """Put a state of NumPy arrays on the devices of this host."""
        if not self.enabled:
            return replicas.replicate(state, self._devices)
        optimizers = self._map_moments(state, self._shard, self._replicate)
        rest = replicas.replicate(state.replace(optimizers={}), self._devices)
        return rest.replace(optimizers=optimizers)

    def to_host(self, state: TrainState) -> TrainState:
        """The inverse of `to_devices`. All processes must call it together."""
        if not self.enabled:
            return jax.device_get(replicas.unreplicate(state))
        optimizers = {
            player: jax.tree.map(lambda part, player=player: self._gather(part, player), optimizer)
            for player, optimizer in state.optimizers.items()
        }
        rest = jax.device_get(replicas.unreplicate(state.replace(optimizers={})))
        return rest.replace(optimizers=optimizers)

    def pmap_axes(self, state: TrainState) -> Any:
        """Axes of a host state for `replicas.pmap_step`: 0 where it is sharded, None elsewhere."""
        if not self.enabled:
            return None
        replicated = dict.fromkeys(field.name for field in dataclasses.fields(state))
        optimizers = self._map_moments(state, lambda part: 0, lambda part: None)
        return state.replace(**replicated).replace(optimizers=optimizers)

    def _map_moments(self, state: TrainState, on_moments, on_others) -> dict[str, Any]:
        """Map the parts of each optimizer state that have one entry for each parameter."""
        mapped = {}
        for player, optimizer_state in state.optimizers.items():
            is_moments = has_structure_of(self._params[player])
            mapped[player] = jax.tree.map(
                lambda part, is_moments=is_moments: (on_moments if is_moments(part) else on_others)(
                    part
                ),
                optimizer_state,
                is_leaf=is_moments,
            )
        return mapped

    def _shard(self, moments: Any) -> jax.Array:
        vector = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(moments)])
        return replicas.shard(vector, self._devices)

    def _replicate(self, part: Any) -> jax.Array:
        return replicas.replicate(part, self._devices)

    def _gather(self, part: jax.Array, player: str) -> Any:
        if part.ndim == 0:
            return np.asarray(part.addressable_data(0))
        leaves, structure = jax.tree.flatten(self._params[player])
        ends = np.cumsum([leaf.size for leaf in leaves])
        vectors = np.split(replicas.gather_to_host(part, int(ends[-1])), ends[:-1])
        shaped = [v.reshape(leaf.shape) for v, leaf in zip(vectors, leaves, strict=True)]
        return jax.tree.unflatten(structure, shaped)
