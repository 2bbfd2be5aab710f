"""A TrainState on the host and on the devices.

On the host, and in checkpoints, the state of an optimiser has the tree of the parameters, whatever devices there are. On several devices it is dealt
out: its moments are vectors, of which every replica has a slice. All else is equal on all replicas.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from spade_jax.config.config import Config
from spade_jax.distributed import replicas
from spade_jax.models.optimizers import has_structure_of
from spade_jax.models.train_state import TrainState, trained_by_generator_update


def to_devices(state: TrainState, config: Config, devices: list | None = None) -> TrainState:
    """Puts a state from the host on the devices of this host."""
    if not shards_optimizer(config, devices):
        return replicas.replicate(state, devices)
    optimizers = {
        name: _deal_out(getattr(state, name), params, devices)
        for name, params in _trained(state).items()
    }
    rest = replicas.replicate(state.replace(**dict.fromkeys(optimizers)), devices)
    return rest.replace(**optimizers)


def to_host(state: TrainState, config: Config, devices: list | None = None) -> TrainState:
    """The inverse: everything as NumPy arrays. With several processes, all of them must call it."""
    if not shards_optimizer(config, devices):
        return jax.device_get(replicas.unreplicate(state))
    optimizers = {
        name: _collect(getattr(state, name), params) for name, params in _trained(state).items()
    }
    rest = jax.device_get(replicas.unreplicate(state.replace(**dict.fromkeys(optimizers))))
    return rest.replace(**optimizers)


def axes(state: TrainState, config: Config, devices: list | None = None) -> Any:
    """For `replicas.pmap_step`: which parts of this state (host or devices, concrete or abstract) are dealt out."""
    if not shards_optimizer(config, devices):
        return None
    whole = state.replace(
        **{field.name: None for field in dataclasses.fields(state)}
    )  # a prefix without dictionaries: pmap hashes it
    return whole.replace(
        **{
            name: jax.tree.map(
                lambda part: 0 if has_structure_of(params)(part) else None,
                getattr(state, name),
                is_leaf=has_structure_of(params),
            )
            for name, params in _trained(state).items()
        }
    )


def shards_optimizer(config: Config, devices: list | None = None) -> bool:
    """True where the state of the optimisers is dealt out: by default, wherever there is more than one replica."""
    return config.optimizer.shard_optimizer and replicas.replica_counts(devices)[0] > 1


def _trained(state: TrainState) -> dict[str, Any]:
    """The parameters that each optimiser moves."""
    return {
        'generator_optimizer': trained_by_generator_update(state.generator, state.encoder),
        'discriminator_optimizer': state.discriminator['params'],
    }


def _deal_out(optimizer_state: optax.OptState, params: Any, devices: list | None) -> optax.OptState:
    def place(part):
        if not has_structure_of(params)(part):
            return replicas.replicate(part, devices)
        return replicas.shard(
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(part)]), devices
        )

    return jax.tree.map(place, optimizer_state, is_leaf=has_structure_of(params))


def _collect(optimizer_state: optax.OptState, params: Any) -> optax.OptState:
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def take(part):
        if part.ndim == 0:
            return np.asarray(part.addressable_data(0))
        vectors = np.split(replicas.gather_to_host(part, int(ends[-1])), ends[:-1])
        return jax.tree.unflatten(
            structure, [vector.reshape(leaf.shape) for vector, leaf in zip(vectors, leaves)]
        )

    return jax.tree.map(take, optimizer_state)
