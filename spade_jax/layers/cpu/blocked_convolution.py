"""Convolutions as matrix products, for CPUs.

XLA's matrix products on a CPU come from a library that uses what the chip has for bfloat16. Its convolutions do not, and their weight gradients reach a quarter of
the chip's rate, or less. So there are two more forms of a convolution of stride 1, both exact:

- Small grids with many channels: one product with the patches of all pixels.
- Large grids: bands of some rows, each a few products whose results stay in the cache. Of

    y[r, c] = sum over a, b of x[r + a, c + b] k[a, b]

  each a is one product, of rows of x with the kernels of all b side by side; what each b gives is shifted by b pixels and added.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint

BAND = 1024  # pixels, about: enough for the products, and their results stay in the cache
SMALLEST_BAND = 8  # rows
WORTH_TRANSPOSING = 256  # rows


@jax.custom_vjp
def matrix_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """A [M, K] times b [K, N], in their type, summed in float32; on a CPU in the forms, also of the gradients, that are fast there."""
    return lax.platform_dependent(
        a, b, cpu=lambda a, b: product(a, b).astype(a.dtype), default=jnp.matmul
    )


def _matrix_product_forward(a, b):
    return matrix_product(a, b), (a, b)


def _matrix_product_backward(residuals, cotangent):
    def plain(a, b, cotangent):
        return jax.vjp(jnp.matmul, a, b)[1](cotangent)

    def on_cpu(a, b, cotangent):
        of_a = lax.dot_general(
            cotangent, b, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
        ).astype(a.dtype)
        if a.dtype == jnp.float32 or a.shape[0] < WORTH_TRANSPOSING:
            return of_a, (a.astype(jnp.float32).T @ cotangent.astype(jnp.float32)).astype(b.dtype)
        return of_a, product(transposed(a), cotangent).astype(b.dtype)

    return lax.platform_dependent(*residuals, cotangent, cpu=on_cpu, default=plain)


matrix_product.defvjp(_matrix_product_forward, _matrix_product_backward)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """A [M, K] times b [K, N], summed and given in float32: asked for that, XLA leaves bfloat16 to the library instead of converting it."""
    return lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def transposed(a: jax.Array) -> jax.Array:
    """a.T, laid out as such: in bfloat16, products with an array that is only read the other way are two to three times slower."""
    return with_layout_constraint(a.T, Layout(major_to_minor=(0, 1)))


def product_of_patches(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Cross-correlation of stride 1 as one matrix product: with large kernels on small grids two to five times as fast, with both of its gradients.

    x: [B, H, W, I]; kernel: [K, K, I, O]. Returns [B, H', W', O], with H' = H + 2 padding - K + 1.
    """
    size, _, channels, features = kernel.shape
    height, width = _size_of_result(x, size, padding)
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    patches = jnp.concatenate(
        [x[:, a : a + height, b : b + width] for a in range(size) for b in range(size)], axis=-1
    )
    return matrix_product(
        patches.reshape(-1, size * size * channels), kernel.reshape(-1, features)
    ).reshape(-1, height, width, features)


class Bands(NamedTuple):
    """How the result of a convolution is divided.

    count: bands of a picture.
    rows: of each; the last ones may lie below the picture.
    width: of the padded input.
    height: of the padded input, with the rows that the last band needs.
    """

    count: int
    rows: int
    width: int
    height: int


def convolution_in_bands(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """Cross-correlation of stride 1, see `product_of_patches`."""
    size, _, channels, features = kernel.shape
    batch, (height, width) = x.shape[0], _size_of_result(x, size, padding)
    bands = _divided(x, size, padding)
    pixels = _pixels(x, bands, padding)  # [N, I]
    concat_kernels = kernel.transpose(0, 2, 1, 3).reshape(size, channels, size * features)

    def one(first: jax.Array) -> jax.Array:
        band = lax.dynamic_slice_in_dim(pixels, first, (bands.rows + size - 1) * bands.width)
        taps = sum(
            product(band[a * bands.width : (a + bands.rows) * bands.width], concat_kernels[a])
            for a in range(size)
        )
        taps = taps.reshape(bands.rows, bands.width, size, features)
        return sum(taps[:, b : b + width, b] for b in range(size)).astype(x.dtype)  # [rows, W', O]

    y = lax.map(one, _firsts(batch, bands, bands.height))
    return y.reshape(batch, bands.count * bands.rows, width, features)[:, :height]


def weight_gradient_in_bands(
    x: jax.Array, cotangent: jax.Array, size: int, padding: int
) -> jax.Array:
    """Weight gradient of a convolution of stride 1, summed in float32. x: [B, H, W, I]; cotangent: [B, H', W', O]. Returns [K, K, I, O]."""
    batch, height, width, features = cotangent.shape
    channels = x.shape[-1]
    bands = _divided(x, size, padding)
    pixels = jnp.pad(_pixels(x, bands, padding), ((0, size - 1), (0, 0)))
    rows = bands.count * bands.rows
    cotangents = jnp.pad(
        cotangent, ((0, 0), (0, rows - height), (0, bands.width - width), (0, 0))
    ).reshape(-1, features)  # no cotangent in the margins
    length = bands.rows * bands.width

    def add(total, firsts):
        first, first_cotangent = firsts
        band = lax.dynamic_slice_in_dim(
            pixels, first, (bands.rows + size - 1) * bands.width + size - 1
        )
        own = lax.dynamic_slice_in_dim(cotangents, first_cotangent, length)
        shifted = transposed(
            jnp.concatenate(
                [jnp.pad(own, ((b, size - 1 - b), (0, 0))) for b in range(size)], axis=-1
            )
        )  # [K * O, pixels of the band]
        return [
            sum_ + product(shifted, band[a * bands.width : a * bands.width + length + size - 1])
            for a, sum_ in enumerate(total)
        ], None

    zeros = [jnp.zeros((size * features, channels), jnp.float32)] * size
    total, _ = lax.scan(
        add, zeros, (_firsts(batch, bands, bands.height), _firsts(batch, bands, rows))
    )
    return (
        jnp.stack(total)
        .reshape(size, size, features, channels)
        .transpose(0, 1, 3, 2)
        .astype(x.dtype)
    )


def _size_of_result(x: jax.Array, size: int, padding: int) -> tuple[int, int]:
    return x.shape[1] + 2 * padding - size + 1, x.shape[2] + 2 * padding - size + 1


def _divided(x: jax.Array, size: int, padding: int) -> Bands:
    height, width = _size_of_result(x, size, padding)
    count = max(1, height // max(SMALLEST_BAND, BAND // width))
    rows = -(-height // count)
    return Bands(count, rows, width + size - 1, count * rows + size - 1)


def _pixels(x: jax.Array, bands: Bands, padding: int) -> jax.Array:
    """The padded pictures as one list of pixels [N, I]."""
    below = bands.height - x.shape[1] - padding
    return jnp.pad(x, ((0, 0), (padding, below), (padding, padding), (0, 0))).reshape(
        -1, x.shape[-1]
    )


def _firsts(batch: int, bands: Bands, height: int) -> jax.Array:
    """Index of the first pixel of each band, in pictures of so many rows."""
    rows = jnp.arange(batch)[:, None] * height + jnp.arange(bands.count) * bands.rows
    return (rows * bands.width).reshape(-1)
