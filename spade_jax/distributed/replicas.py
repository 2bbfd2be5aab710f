"""Replicas: one step mapped over devices, and the means over the global batch.

The only file that knows how a step reaches several devices. A per-replica function uses the axis name `REPLICA_AXIS`; everything that it calls
takes `axis_name: str | None`, and None runs the same code unmapped, in a test or a notebook.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

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


def reduce_scatter_mean(vector: jax.Array, axis_name: str) -> jax.Array:
    """This replica's slice [k] of the mean over all n replicas of a vector [n * k]."""
    return lax.psum_scatter(vector, axis_name, tiled=True) / count(axis_name)


def local_shard(vector: jax.Array, axis_name: str) -> jax.Array:
    """This replica's slice [k] of a vector [n * k] that all of them have."""
    size = vector.size // count(axis_name)
    return lax.dynamic_slice(vector, (lax.axis_index(axis_name) * size,), (size,))


def all_gather_shards(own: jax.Array, axis_name: str) -> jax.Array:
    """The vector [n * k] whose slices [k] the replicas have."""
    return lax.all_gather(own, axis_name, tiled=True)


def squared_norm(own: jax.Array, axis_name: str) -> jax.Array:
    """|vector|^2 of the vector whose slices the replicas have."""
    return lax.psum(jnp.sum(jnp.square(own)), axis_name)


def global_indices(local_batch: int, axis_name: str | None, num_microbatches: int = 1) -> jax.Array:
    """Position of each example of the local batch within the global one. [local_batch] int32.

    Args:
      num_microbatches: into which the global batch was divided before each part was dealt out to the replicas, see `split`.
    """
    size = local_batch // num_microbatches
    replica = 0 if axis_name is None else lax.axis_index(axis_name)
    parts = jnp.arange(num_microbatches)[:, None] * count(axis_name) + replica
    return (parts * size + jnp.arange(size)).reshape(-1)


def pmap_step(
    step: Callable, *, state_axes: Any = None, constants: Any = None, devices: list | None = None
) -> PmappedStep:
    """Maps `step(state, batch, constants) -> (state, metrics)` over all devices, those of other hosts included, with `jax.pmap`.

    What of the state is equal on all replicas goes in and comes out whole, without a device axis: `step` must keep it equal. The batch has a leading
    axis of this host's devices, see `split`. The memory of the state that goes in is reused for the one that comes out.

    Args:
      step: per-replica function that uses `REPLICA_AXIS`.
      state_axes: a tree prefix of the state: 0 where it is dealt out, see `shard`; None where it is whole. Default: all of it is whole.
      constants: arrays that every call gets, put on the devices once.
      devices: default: all devices.
    """
    mapped = jax.pmap(
        step,
        axis_name=REPLICA_AXIS,
        in_axes=(state_axes, 0, None),
        out_axes=(state_axes, None),
        donate_argnums=(0,),
        devices=devices,
    )
    return PmappedStep(mapped, replicate(constants, devices))


class PmappedStep:
    """A function of state and batch, made by `replicate`."""

    def __init__(self, mapped: Callable, constants: Any):
        self._mapped, self._constants, self._compiling = mapped, constants, None

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """One step. Waits for `compile_ahead`, if that was called; else the first call compiles."""
        step = self._mapped if self._compiling is None else self._compiling.result()
        return step(state, batch, self._constants)

    def compile_ahead(self, state: Any, batch: Any) -> None:
        """Begins to compile in a thread of its own, for arguments of these shapes: the host may do something else until the first call.

        With several processes it does nothing: their shares of a batch become one in the call itself.
        """
        if jax.process_count() > 1:
            return
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
            (state, batch, self._constants),
        )
        thread = concurrent.futures.ThreadPoolExecutor(1, 'compilation')
        self._compiling = thread.submit(lambda: self._mapped.lower(*shapes).compile())
        thread.shutdown(wait=False)  # it ends by itself


def replicate(tree: Any, devices: list | None = None) -> Any:
    """Puts a tree of host arrays, or of arrays on one device, on all devices of this host, in the form in which a mapped step returns its state.

    Without it the second call of the step, whose state comes from the first, would compile again.
    """
    return jax.device_put(tree, _sharding(jax.sharding.PartitionSpec(), devices))


def shard(vector: np.ndarray, devices: list | None = None) -> jax.Array:
    """Gives every replica a slice of a vector [size]; what is missing to slices of one size is filled up with zeros.

    Returns:
      [devices of this host, slice], for a mapped step that takes it along axis 0.
    """
    num_replicas, num_local = replica_counts(devices)
    slices = np.pad(vector, (0, -len(vector) % num_replicas)).reshape(num_replicas, -1)
    first = jax.process_index() * num_local
    return jax.device_put(
        slices[first : first + num_local],
        _sharding(jax.sharding.PartitionSpec(REPLICA_AXIS), devices),
    )


def gather_to_host(slices: jax.Array, size: int) -> np.ndarray:
    """The inverse of `shard`: the vector [size] on the host. With several processes, all of them must call it."""
    if jax.process_count() > 1:
        return np.asarray(unreplicate(_mapped(all_gather_shards)(slices)))[:size]
    return np.asarray(slices).reshape(-1)[:size]


def broadcast_one_to_all(tree: Any) -> Any:
    """The first process's arrays, bit for bit, in all of them: a tree of NumPy arrays, of the same shapes everywhere, of 4 bytes an entry."""
    if jax.process_count() == 1:
        return tree

    def send(leaf):
        bits = np.zeros((jax.local_device_count(), *np.shape(leaf)), np.uint32)
        if jax.process_index() == 0:
            bits[0] = np.asarray(leaf).view(np.uint32)
        return np.asarray(unreplicate(_sum(bits))).view(leaf.dtype)

    return jax.tree.map(send, tree)


def any_across_processes(flag: bool) -> bool:
    """True in all processes where it is in one. All of them must call it."""
    return (
        flag
        if jax.process_count() == 1
        else bool(unreplicate(_sum(np.full((jax.local_device_count(), 1), flag, np.int32))) > 0)
    )


def _sum(x: np.ndarray) -> jax.Array:
    return _mapped(lax.psum)(x)


@functools.cache  # a function made anew would compile again at every call
def _mapped(exchange: Callable) -> Callable:
    return jax.pmap(lambda x: exchange(x, REPLICA_AXIS), axis_name=REPLICA_AXIS, out_axes=None)


def replica_counts(devices: list | None = None) -> tuple[int, int]:
    """Number of replicas, and how many of them are on this host."""
    return (
        (len(devices), len(devices)) if devices else (jax.device_count(), jax.local_device_count())
    )


def unreplicate(tree: Any) -> Any:
    """The copy of a replicated tree on the first device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def shard_batch(batch: Any, num_replicas: int, num_microbatches: int = 1) -> Any:
    """Gives every array of a batch a leading axis of replicas: [B, ...] -> [num_replicas, B / num_replicas, ...].

    Args:
      num_replicas: devices of this host.
      num_microbatches: the batch is divided into so many first, and each part is dealt out; a replica gets its shares of all parts, one after the other. So
        a part holds the same examples whatever the number of replicas.
    """

    def deal(x):
        parts = x.reshape(num_microbatches, num_replicas, -1, *x.shape[1:])
        return np.moveaxis(parts, 1, 0).reshape(num_replicas, -1, *x.shape[1:])

    return jax.tree.map(deal, batch)


def put_batch(batch: Any, devices: list | None = None) -> Any:
    """Put a batch [devices of this host, ...] on these devices, as a mapped step takes it."""
    return jax.device_put(batch, _sharding(jax.sharding.PartitionSpec(REPLICA_AXIS), devices))


def check_divisible(batch_size: int, num_replicas: int, num_microbatches: int = 1) -> None:
    """Raises UserError when a batch, or each of the parts it is divided into, cannot be dealt out evenly over the replicas."""
    unit = num_replicas * num_microbatches
    if batch_size % unit:
        lower = batch_size // unit * unit
        options = ' or '.join(str(size) for size in (lower, lower + unit) if size)
        devices = (
            f'the {num_replicas} devices'
            if num_microbatches == 1
            else f'{num_replicas} devices x accumulation_steps={num_microbatches}'
        )
        raise UserError(
            f'batch_size={batch_size} is not divisible by {devices}',
            f'use {options}, or fewer devices',
        )


def _sharding(spec: jax.sharding.PartitionSpec, devices: list | None) -> jax.sharding.NamedSharding:
    return jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.asarray(devices or jax.local_devices()), (REPLICA_AXIS,)), spec
    )
