"""Replicas: one step mapped over devices with pmap, and means over the global batch.

The only file that knows how a step reaches several devices. A per-replica function uses the axis
name `REPLICA_AXIS`; everything it calls takes `axis_name: str | None`, and None runs the same code
unmapped, in a test or a notebook.
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
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax.errors import UserError

REPLICA_AXIS = 'replicas'

# Inside of a mapped function.


def mean(tree: Any, axis_name: str | None) -> Any:
    """The mean over all replicas of each array of a tree."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def count(axis_name: str | None) -> int:
    """Number of replicas along the axis."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def reduce_scatter_mean(vector: jax.Array, axis_name: str) -> jax.Array:
    """This replica's shard [k] of the mean over all n replicas of a vector [n * k]."""
    return lax.psum_scatter(vector, axis_name, tiled=True) / count(axis_name)


def local_shard(vector: jax.Array, axis_name: str) -> jax.Array:
    """This replica's shard [k] of a vector [n * k] that all replicas have."""
    size = vector.size // count(axis_name)
    return lax.dynamic_slice(vector, (lax.axis_index(axis_name) * size,), (size,))


def all_gather_shards(shard: jax.Array, axis_name: str) -> jax.Array:
    """The vector [n * k] whose shards [k] the replicas have."""
    return lax.all_gather(shard, axis_name, tiled=True)


def all_gather(tree: Any, axis_name: str | None) -> Any:
    """The examples [n * B, ...] of all replicas, in their order in the global batch."""
    return tree if axis_name is None else lax.all_gather(tree, axis_name, tiled=True)


def local_examples(examples: jax.Array, axis_name: str | None) -> jax.Array:
    """This replica's share [B, ...] of the examples [n * B, ...] of all replicas."""
    if axis_name is None:
        return examples
    size = len(examples) // count(axis_name)
    return lax.dynamic_slice_in_dim(examples, lax.axis_index(axis_name) * size, size)


def squared_norm(shard: jax.Array, axis_name: str) -> jax.Array:
    """The squared norm of the vector whose shards the replicas have."""
    return lax.psum(jnp.sum(jnp.square(shard)), axis_name)


def global_indices(local_batch: int, axis_name: str | None, num_microbatches: int = 1) -> jax.Array:
    """Position [local_batch] of each example of this replica in the global batch.

    See `shard_batch` for the microbatches.
    """
    size = local_batch // num_microbatches
    replica = 0 if axis_name is None else lax.axis_index(axis_name)
    blocks = jnp.arange(num_microbatches)[:, None] * count(axis_name) + replica
    return (blocks * size + jnp.arange(size)).reshape(-1)


# Around a mapped function.


def pmap_step(
    step: Callable, *, state_axes: Any = None, constants: Any = None, devices: list | None = None
) -> PmappedStep:
    """Map `step(state, batch, constants) -> (state, metrics)` over all devices of all hosts.

    Replicated parts of the state have no device axis, and `step` must keep them equal. The batch
    has a leading axis of this host's devices, see `shard_batch`. The state is donated: its memory
    is reused for the new one.

    Args:
      step: Per-replica function that uses `REPLICA_AXIS`.
      state_axes: A tree prefix of the state: 0 where it is sharded, see `shard`; None where it is
        replicated. Default: all of it is replicated.
      constants: Arrays that every call gets; they are put on the devices once.
      devices: Default: all devices.
    """
    return PmappedStep(step, state_axes, replicate(constants, devices), devices)


class PmappedStep:
    """A function of state and batch, made by `pmap_step`."""

    def __init__(self, step: Callable, state_axes: Any, constants: Any, devices: list | None):
        self._step, self._state_axes = step, state_axes
        self._constants, self._devices = constants, devices
        self._mapped: Any = None
        self._compiling: concurrent.futures.Future | None = None

    def __call__(self, state: Any, batch: Any) -> tuple[Any, Any]:
        """One step; the first call waits for `compile_ahead`, or compiles."""
        leaves, tree = jax.tree.flatten(state)
        step = self._map_over(state) if self._compiling is None else self._compiling.result()
        leaves, metrics = step(leaves, batch, self._constants)
        return tree.unflatten(leaves), metrics

    def compile_ahead(self, state: Any, batch: Any) -> None:
        """Start compiling in a thread, for arguments of these shapes, while the host goes on.

        Does nothing with several processes, whose shares of a batch are joined in the call itself.
        """
        if jax.process_count() > 1:
            return
        mapped, arguments = self._map_over(state), (jax.tree.leaves(state), batch, self._constants)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
        executor = concurrent.futures.ThreadPoolExecutor(1, 'compilation')
        self._compiling = executor.submit(lambda: mapped.lower(*shapes).compile())
        executor.shutdown(wait=False)  # The thread ends when the compilation does.

    def _map_over(self, state: Any) -> Any:
        """The mapped function of the leaves of the state; with the axes of the leaves.

        The axes of a state with dicts could not be hashed, which pmap needs with several processes.
        """
        if self._mapped is not None:
            return self._mapped
        tree, axes = jax.tree.structure(state), []

        def add(axis, part):
            axes.extend([axis] * len(jax.tree.leaves(part)))

        jax.tree.map(add, self._state_axes, state, is_leaf=lambda axis: axis is None)

        def step_of_leaves(leaves, batch, constants):
            state, metrics = self._step(tree.unflatten(leaves), batch, constants)
            return tuple(jax.tree.leaves(state)), metrics

        in_axes, out_axes = (axes, 0, None), (tuple(axes), None)
        options: dict[str, Any] = dict(in_axes=in_axes, out_axes=out_axes, donate_argnums=0)
        self._mapped = jax.pmap(step_of_leaves, REPLICA_AXIS, devices=self._devices, **options)
        return self._mapped


def replicate(tree: Any, devices: list | None = None) -> Any:
    """Put a copy of each array on all devices of this host, as a mapped step returns its state.

    Otherwise the second call of the step, whose state comes from the first, would compile again.
    """
    return jax.device_put(tree, _sharding(PartitionSpec(), devices))


def shard(vector: np.ndarray, devices: list | None = None) -> jax.Array:
    """Shard a zero-padded vector over the replicas -> [devices of this host, shard size]."""
    num_replicas, num_local = replica_counts(devices)
    shards = np.pad(vector, (0, -len(vector) % num_replicas)).reshape(num_replicas, -1)
    start = jax.process_index() * num_local
    local = shards[start : start + num_local]
    return jax.device_put(local, _sharding(PartitionSpec(REPLICA_AXIS), devices))


def gather_to_host(shards: jax.Array, size: int) -> np.ndarray:
    """The inverse of `shard`: the vector [size]. All processes must call it together."""
    if jax.process_count() > 1:
        return np.asarray(unreplicate(_pmapped(all_gather_shards)(shards)))[:size]
    return np.asarray(shards).reshape(-1)[:size]


def unreplicate(tree: Any) -> Any:
    """The copy of a replicated tree on the first device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def shard_batch(batch: Any, num_replicas: int, num_microbatches: int = 1) -> Any:
    """Split a tree of arrays over replicas: [B, ...] -> [num_replicas, B / num_replicas, ...].

    It is first split into microbatches, then each is split over the replicas of this host; so a
    microbatch has the same examples whatever the number of replicas.
    """

    def split(x):
        share = len(x) // num_replicas  # Not -1: the condition of some models has no elements.
        blocks = x.reshape(num_microbatches, num_replicas, share // num_microbatches, *x.shape[1:])
        return np.moveaxis(blocks, 1, 0).reshape(num_replicas, share, *x.shape[1:])

    return jax.tree.map(split, batch)


def put_batch(batch: Any, devices: list | None = None) -> Any:
    """Put a batch [devices of this host, ...] on these devices, as a mapped step takes it."""
    return jax.device_put(batch, _sharding(PartitionSpec(REPLICA_AXIS), devices))


def check_divisible(batch_size: int, num_replicas: int, num_microbatches: int = 1) -> None:
    """Raises UserError when a batch, or each of its microbatches, does not split evenly."""
    if excess := batch_size % (unit := num_replicas * num_microbatches):
        sizes = (batch_size - excess, batch_size - excess + unit)
        options = ' or '.join(str(size) for size in sizes if size)
        devices = f'the {num_replicas} devices'
        if num_microbatches > 1:
            devices = f'{num_replicas} devices x accumulation_steps={num_microbatches}'
        problem = f'batch_size={batch_size} is not divisible by {devices}'
        raise UserError(problem, f'use {options}, or fewer devices')


def replica_counts(devices: list | None = None) -> tuple[int, int]:
    """Number of replicas, and how many of them are on this host."""
    if devices:
        return len(devices), len(devices)
    return jax.device_count(), jax.local_device_count()


# Between processes; all of them must call these together.


def broadcast_one_to_all(tree: Any) -> Any:
    """The arrays of the first process in all processes, bit for bit; of 4 bytes an entry."""
    if jax.process_count() == 1:
        return tree

    def send(leaf):
        bits = np.zeros((jax.local_device_count(), *np.shape(leaf)), np.uint32)
        if jax.process_index() == 0:
            bits[0] = np.asarray(leaf).view(np.uint32)
        return np.asarray(unreplicate(_sum(bits))).view(leaf.dtype)

    return jax.tree.map(send, tree)


def broadcast_text(text: str) -> str:
    """The text of the first process in all processes."""
    if jax.process_count() == 1:
        return text
    codes = np.frombuffer(f'{text}\n'.encode('utf-32-le'), np.uint32)  # Never empty.
    size = int(broadcast_one_to_all(np.array(len(codes), np.int32)))
    return broadcast_one_to_all(np.resize(codes, size)).tobytes().decode('utf-32-le')[:-1]


def any_across_processes(flag: bool) -> bool:
    """True in all processes if it is true in one."""
    if jax.process_count() == 1:
        return flag
    flags = np.full((jax.local_device_count(), 1), flag, np.int32)
    return bool(unreplicate(_sum(flags)) > 0)


def _sum(x: np.ndarray) -> jax.Array:
    return _pmapped(lax.psum)(x)


@functools.cache  # A new function would compile again at each call.
def _pmapped(collective: Callable) -> Callable:
    step = functools.partial(collective, axis_name=REPLICA_AXIS)
    return jax.pmap(step, axis_name=REPLICA_AXIS, out_axes=None)  # pyright: ignore


def _sharding(spec: PartitionSpec, devices: list | None) -> NamedSharding:
    mesh = Mesh(np.asarray(devices or jax.local_devices()), (REPLICA_AXIS,))
    return NamedSharding(mesh, spec)
