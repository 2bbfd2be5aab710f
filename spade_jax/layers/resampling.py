"""Changes of resolution, with the sampling points of the published models."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

Upsample = Callable[[jax.Array], jax.Array]  # [B, H, W, C] -> [B, 2H, 2W, C]


def resize_nearest(x: jax.Array, height: int, width: int) -> jax.Array:
    """Take the nearest neighbor with source index floor(i * size_in / size_out).

    [B, H, W, C] -> [B, height, width, C]. Halving takes the pixels 0, 2, 4, ... `jax.image.resize`
    takes pixel centers instead (1, 3, 5, ...), which shifts the layout relative to the image.
    """
    return _take_nearest(_take_nearest(x, axis=1, size=height), axis=2, size=width)


def _take_nearest(x: jax.Array, axis: int, size: int) -> jax.Array:
    source = x.shape[axis]
    if source == size:
        return x
    if source % size == 0:  # A strided slice is cheaper than a gather.
        return jax.lax.slice_in_dim(x, 0, source, stride=source // size, axis=axis)
    # Scale and product in float32, as the published models compute them: with exact integers a few
    # indices would differ.
    positions = np.arange(size, dtype=np.float32) * np.float32(source / size)
    indices = np.minimum(np.floor(positions).astype(np.int32), source - 1)
    return jnp.take(x, indices, axis=axis)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Double height and width by repeating pixels. [B, H, W, C] -> [B, 2H, 2W, C]."""
    batch, height, width, channels = x.shape
    repeated = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)


def upsample_bilinear(x: jax.Array) -> jax.Array:
    """Double height and width, interpolating between pixel centers. [B, H, W, C] -> [B, 2H, 2W, C].

    The same as `resize_bilinear`, but faster.
    """
    return _double_bilinear(_double_bilinear(x, axis=1), axis=2)


def _double_bilinear(x: jax.Array, axis: int) -> jax.Array:
    size = x.shape[axis]
    take = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
    # Half of the new centers lie a quarter before an old one, half a quarter after it.
    previous = jnp.concatenate([take(0, 1), take(0, size - 1)], axis)
    following = jnp.concatenate([take(1, size), take(size - 1, size)], axis)
    pairs = jnp.stack([0.75 * x + 0.25 * previous, 0.75 * x + 0.25 * following], axis + 1)
    return pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def resize_bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """Interpolate between pixel centers without antialiasing: [B, H, W, C] -> [B, h, w, C]."""
    shape = (x.shape[0], height, width, x.shape[3])
    return x if x.shape == shape else jax.image.resize(x, shape, 'bilinear', antialias=False)


def average_pool(x: jax.Array) -> jax.Array:
    """3x3 mean with stride 2; padding is not counted. [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C].

    The mean is computed in float32 and returned in x's type.
    """
    window, strides = (3, 3), (2, 2)
    padding: Any = [(1, 1), (1, 1)]
    mean = nn.avg_pool(x.astype(jnp.float32), window, strides, padding, count_include_pad=False)
    return mean.astype(x.dtype)
