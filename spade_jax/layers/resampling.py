"""Changes of resolution, with the sampling points of the published models."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def resize_nearest(x: jax.Array, height: int, width: int) -> jax.Array:
    """Nearest neighbour with source index floor(i * size_in / size_out), so that halving takes the pixels 0, 2, 4, ...

    `jax.image.resize` takes pixel centres (1, 3, 5, ...) instead, which shifts the layout against the picture.

    Args:
      x: [B, H, W, C].

    Returns:
      [B, height, width, C].
    """
    return _take_nearest(_take_nearest(x, axis=1, size=height), axis=2, size=width)


def _take_nearest(x: jax.Array, axis: int, size: int) -> jax.Array:
    source = x.shape[axis]
    if source == size:
        return x
    if source % size == 0:  # a strided slice is cheaper than a gather
        return jax.lax.slice_in_dim(x, 0, source, stride=source // size, axis=axis)
    # Scale and product in float32, as the published models computed them: with exact integers a few indices would differ.
    indices = np.floor(np.arange(size, dtype=np.float32) * np.float32(source / size)).astype(
        np.int32
    )
    return jnp.take(x, np.minimum(indices, source - 1), axis=axis)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Doubles height and width by repeating pixels. [B, H, W, C] -> [B, 2H, 2W, C]."""
    batch, height, width, channels = x.shape
    repeated = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)


def resize_bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear interpolation between pixel centres, without antialiasing. [B, H, W, C] -> [B, height, width, C]."""
    if x.shape[1:3] == (height, width):
        return x
    return jax.image.resize(
        x, (x.shape[0], height, width, x.shape[3]), method='bilinear', antialias=False
    )


def average_pool(x: jax.Array) -> jax.Array:
    """3x3 mean with stride 2 over the pixels inside the picture: padding is not counted. [B, H, W, C] -> [B, ceil(H/2), ceil(W/2), C]."""
    mean = nn.avg_pool(
        x.astype(jnp.float32),
        (3, 3),
        strides=(2, 2),
        padding=((1, 1), (1, 1)),
        count_include_pad=False,
    )
    return mean.astype(x.dtype)
