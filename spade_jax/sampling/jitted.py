"""The jitted functions of sampling, compiled once for each configuration."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from spade_jax.errors import UserError
from spade_jax.layers.normalization import MOMENTUM
from spade_jax.models.model import build_model, to_signed, to_uint8

BATCH_SIZE = 4  # Larger batches are hardly faster and need more memory.


def in_batches(
    function: Callable[..., jax.Array],
    arrays: tuple[np.ndarray | None, ...],
    size: int,
    multiple: int = 1,
) -> np.ndarray:
    """Apply a function to arrays [N, ...] in batches; entries from the start pad the last one.

    A batch larger than N shrinks to the next power of two, but not below `BATCH_SIZE`: few programs
    for any number N. Sizes are rounded up to a multiple of `multiple`.
    """
    count = len(arrays[0])  # pyright: ignore[reportArgumentType]
    size = 1 if count == 1 else min(size, max(BATCH_SIZE, 1 << (count - 1).bit_length()))
    size = -(-size // multiple) * multiple
    results = []
    for first in range(0, count, size):
        indices = np.arange(first, first + size) % count
        batch = [None if array is None else array[indices] for array in arrays]
        try:
            results.append(np.asarray(function(*batch))[: count - first])
        except jax.errors.JaxRuntimeError as error:
            if 'RESOURCE_EXHAUSTED' not in str(error):
                raise
            problem = f'batch_size={size} needs more memory than the device has'
            raise UserError(problem, 'use a smaller one, or smaller maps') from error
    return np.concatenate(results)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def sample(config, use_batch_statistics, portable, variables, labels, instances, style):
    """Images [B, H, W, 3] uint8."""
    model = build_model(config, portable=portable)
    condition = model.condition(labels, instances)
    image, _ = model.sample(variables, condition, style, train=use_batch_statistics)
    return to_uint8(image)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def sample_on_devices(config, use_batch_statistics, mesh, variables, labels, instances, style):
    """`sample`, where each device of a mesh gets an equal part of the maps.

    It does with them what one device does with a batch of so many.
    """
    maps = PartitionSpec(*mesh.axis_names)
    return jax.shard_map(
        functools.partial(sample, config, use_batch_statistics, False),
        mesh=mesh,
        in_specs=(PartitionSpec(), maps, maps, maps),
        out_specs=maps,
        check_vma=False,
    )(variables, labels, instances, style)


@functools.partial(jax.jit, static_argnums=0)
def prepare(config, variables, labels, instances):
    """What of a sample does not depend on the style, see `Model.prepare`."""
    model = build_model(config)
    return model.prepare(variables, model.condition(labels, instances))


@functools.partial(jax.jit, static_argnums=0)
def batch_statistics(config, variables, labels, instances, style) -> Any:
    """Means and variances [C] of the activations of a batch, in the tree of the running ones."""
    model = build_model(config)
    name = model.sampling_networks[0]
    zeros = jax.tree.map(jnp.zeros_like, variables[name]['batch_stats'])
    variables = variables | {name: variables[name] | {'batch_stats': zeros}}
    condition = model.condition(labels, instances)
    _, updated = model.sample(variables, condition, style, train=True, mutable=('batch_stats',))
    # A running statistic is momentum * old + (1 - momentum) * batch, with old = 0.
    return jax.tree.map(lambda x: x / (1 - MOMENTUM), updated['batch_stats'])


@functools.partial(jax.jit, static_argnums=0)
def encode(config, variables, images, labels, instances):
    """Styles [B, latent_dim] of images [B, H, W, 3] uint8; None for maps that are not needed."""
    return build_model(config).encode(variables, to_signed(images), labels, instances)


@functools.partial(jax.jit, static_argnums=0)
def region_features(config, variables, images, labels, instances):
    """Features [B, H, W, F] of images and ids [B, H, W] of their regions."""
    model: Any = build_model(config)  # With a feature table.
    return model.features(variables, to_signed(images), labels, instances)
