"""Convolutions of stride 1 as matrix products, for CPUs.

XLA's convolutions on a CPU do not use the chip's bfloat16 instructions, and their weight gradients
reach a quarter of the chip's rate or less. Two exact alternatives:

- im2col, for small grids with many channels: one product with the patches of all pixels.
- blocked, for large grids: blocks of rows whose intermediate results stay in the cache. In

    y[r, c] = sum over a, b of x[r + a, c + b] k[a, b]

  each kernel row a is one product, of rows of x with the kernels of all b, concatenated; the
  results of each b are shifted by b pixels and added.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from spade_jax.layers.cpu.matrix_product import dot_float32, matrix_product, transposed

BLOCK_PIXELS = 1024  # Enough for an efficient product whose results stay in the cache.
MIN_BLOCK_ROWS = 8


def im2col_convolution(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Cross-correlate as one matrix product; two to five times as fast for large kernels.

    x [B, H, W, I], kernel [K, K, I, O] -> [B, H', W', O] with H' = H + 2 padding - K + 1.
    """
    size, _, channels, features = kernel.shape
    height, width = _output_size(x, size, padding)
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    patches = [x[:, a : a + height, b : b + width] for a in range(size) for b in range(size)]
    rows = jnp.concatenate(patches, axis=-1).reshape(-1, size * size * channels)
    y = matrix_product(rows, kernel.reshape(-1, features))
    return y.reshape(-1, height, width, features)


def blocked_convolution(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Cross-correlate in blocks of rows; arguments and result as of `im2col_convolution`."""
    size, _, channels, features = kernel.shape
    height, width = _output_size(x, size, padding)
    blocks = _partition(x, size, padding)
    pixels = _padded_pixels(x, blocks, padding)  # [N, I]
    row_kernels = kernel.transpose(0, 2, 1, 3).reshape(size, channels, size * features)

    def block(first: jax.Array) -> jax.Array:
        rows = lax.dynamic_slice_in_dim(pixels, first, (blocks.rows + size - 1) * blocks.width)
        taps = sum(
            dot_float32(rows[a * blocks.width : (a + blocks.rows) * blocks.width], row_kernels[a])
            for a in range(size)
        )
        taps = jnp.reshape(taps, (blocks.rows, blocks.width, size, features))
        y = sum(taps[:, b : b + width, b] for b in range(size))
        return jnp.asarray(y).astype(x.dtype)  # [rows, W', O]

    y = lax.map(block, _first_pixels(len(x), blocks, blocks.height))
    return y.reshape(len(x), blocks.count * blocks.rows, width, features)[:, :height]


def blocked_weight_gradient(
    x: jax.Array, cotangent: jax.Array, size: int, padding: int
) -> jax.Array:
    """Gradient of the kernel, summed in float32.

    x [B, H, W, I], cotangent of the result [B, H', W', O], size K -> [K, K, I, O].
    """
    batch, height, width, features = cotangent.shape
    blocks = _partition(x, size, padding)
    pixels = jnp.pad(_padded_pixels(x, blocks, padding), ((0, size - 1), (0, 0)))
    rows, length = blocks.count * blocks.rows, blocks.rows * blocks.width
    margins = ((0, 0), (0, rows - height), (0, blocks.width - width), (0, 0))
    cotangents = jnp.pad(cotangent, margins).reshape(-1, features)  # Zero outside of the result.
    block_length = (blocks.rows + size - 1) * blocks.width + size - 1

    def add_block(total, firsts):
        first, first_cotangent = firsts
        block = lax.dynamic_slice_in_dim(pixels, first, block_length)
        dy = lax.dynamic_slice_in_dim(cotangents, first_cotangent, length)
        shifted = [jnp.pad(dy, ((b, size - 1 - b), (0, 0))) for b in range(size)]
        shifted = transposed(jnp.concatenate(shifted, axis=-1))  # [K * O, pixels of the block]
        for a in range(size):
            start = a * blocks.width
            total[a] += dot_float32(shifted, block[start : start + length + size - 1])
        return total, None

    zeros = [jnp.zeros((size * features, x.shape[-1]), jnp.float32)] * size
    firsts = _first_pixels(batch, blocks, blocks.height), _first_pixels(batch, blocks, rows)
    total, _ = lax.scan(add_block, zeros, firsts)
    gradient = jnp.stack(total).reshape(size, size, features, -1)
    return gradient.transpose(0, 1, 3, 2).astype(x.dtype)


class Blocks(NamedTuple):
    """The partition of a convolution's result."""

    count: int  # Blocks of an image.
    rows: int  # Of a block; the last rows of the last block may be below the image.
    width: int  # Of the padded input.
    height: int  # Of the padded input, with the rows that the last block needs.


def _partition(x: jax.Array, size: int, padding: int) -> Blocks:
    height, width = _output_size(x, size, padding)
    count = max(1, height // max(MIN_BLOCK_ROWS, BLOCK_PIXELS // width))
    rows = -(-height // count)
    return Blocks(count, rows, width + size - 1, count * rows + size - 1)


def _output_size(x: jax.Array, size: int, padding: int) -> tuple[int, int]:
    return x.shape[1] + 2 * padding - size + 1, x.shape[2] + 2 * padding - size + 1


def _padded_pixels(x: jax.Array, blocks: Blocks, padding: int) -> jax.Array:
    """The padded images as one list of pixels [N, I]."""
    below = blocks.height - x.shape[1] - padding
    x = jnp.pad(x, ((0, 0), (padding, below), (padding, padding), (0, 0)))
    return x.reshape(-1, x.shape[-1])


def _first_pixels(batch: int, blocks: Blocks, height: int) -> jax.Array:
    """Index of the first pixel of each block, in images of `height` rows."""
    rows = jnp.arange(batch)[:, None] * height + jnp.arange(blocks.count) * blocks.rows
    return (rows * blocks.width).reshape(-1)
