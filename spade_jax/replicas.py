"""Replicas: one step mapped over devices, and the means over the global batch.

The only file that knows how a step reaches several devices. A per-replica function uses the axis name `REPLICA_AXIS`; everything that it calls
takes `axis_name: str | None`, and None runs the same code unmapped, in a test or a notebook.
"""

from __future__ import annotations

from typing import Any, Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from spade_jax.errors import UserError

REPLICA_AXIS = 'replicas'


def mean(tree: Any, axis_name: str | None) -> Any:
    """The mean over all replicas of every array of a tree."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def count(axis_name: str | None) -> int:
    """Number of replicas along the axis."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def global_indices(local_batch: int, axis_name: str | None) -> jax.Array:
    """Position of each example of the local batch within the global one. [local_batch] int32."""
    first = 0 if axis_name is None else lax.axis_index(axis_name) * local_batch
    return first + jnp.arange(local_batch)


def replicate(step: Callable, *, constants: Any = None, devices: list | None = None) -> Callable:
    """Maps `step(state, batch, constants) -> (state, metrics)` over the devices of this host with `jax.pmap`.

    The state goes in and comes out whole, without a device axis: `step` must make it equal on all replicas. The batch has a leading axis of
    devices, see `split`. The memory of the state that goes in is reused for the one that comes out.

    Args:
      step: per-replica function that uses `REPLICA_AXIS`.
      constants: arrays that every call gets, put on the devices once.
      devices: default: all local devices.

    Returns:
      A function of state and batch.
    """
    mapped = jax.pmap(step, axis_name=REPLICA_AXIS, in_axes=(None, 0, None), out_axes=(None, None), donate_argnums=(0,), devices=devices)
    constants = broadcast(constants, devices)
    return lambda state, batch: mapped(state, batch, constants)


def broadcast(tree: Any, devices: list | None = None) -> Any:
    """Puts a tree of host arrays, or of arrays on one device, on all devices, in the form in which a mapped step returns its state.

    Without it the second call of the step, whose state comes from the first, would compile again.
    """
    mesh = jax.sharding.Mesh(np.asarray(devices or jax.local_devices()), (REPLICA_AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def first(tree: Any) -> Any:
    """The copy of a replicated tree on the first device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def split(batch: Any, num_replicas: int) -> Any:
    """Gives every array of a batch a leading axis of replicas: [B, ...] -> [num_replicas, B / num_replicas, ...]."""
    return jax.tree.map(lambda x: np.reshape(x, (num_replicas, x.shape[0] // num_replicas) + x.shape[1:]), batch)


def check_divisible(batch_size: int, num_replicas: int) -> None:
    """Raises UserError when the batch cannot be dealt out evenly over the devices of this host."""
    if jax.process_count() > 1:
        raise UserError(f'{jax.process_count()} processes: a run takes the devices of one host so far; start a single process')
    if batch_size % num_replicas:
        lower = batch_size // num_replicas * num_replicas
        options = ' or '.join(str(size) for size in (lower, lower + num_replicas) if size)
        raise UserError(f'batch_size={batch_size} is not divisible by the {num_replicas} devices; use {options}, or fewer devices')
