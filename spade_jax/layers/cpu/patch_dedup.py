"""Two 3x3 convolutions over a label map, computed once for each distinct patch.

Two stacked 3x3 convolutions see exactly a 5x5 patch, so identical patches give identical outputs.
In a 256x256 label map about 90 % of the patches are duplicates. So the distinct patches are
numbered, the convolutions are computed at one pixel of each distinct patch, as matrix products,
and every pixel looks up the result of its patch. A map with too many distinct patches, or a layout
that is not one-hot, is convolved densely.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax

from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Weights, add_bias, convolve
from spade_jax.layers.cpu.matrix_product import matrix_product

MIN_GRID = 64 * 64  # pixels; on coarser grids nearly all patches are distinct
CAPACITIES = (16, 8, 4, 2)  # pixels for each distinct patch: arrays have a fixed size
MAX_CODES = 1290  # the largest number whose cube is an int32
_BUCKETS = 3  # of the hash table, for each row


class UniqueRows(NamedTuple):
    """What `np.unique` returns, as int32 arrays of a fixed size; in any order."""

    inverse: jax.Array  # [N], the id of each row.
    index: jax.Array  # [N], a row of each id; the entries from `count` on are undefined.
    count: jax.Array  # Scalar, the number of ids.


@struct.dataclass
class PatchIndex:
    """A layout with ids for its patches.

    The branch is the smallest capacity that holds all distinct patches; if none does, the dense
    convolution.
    """

    layout: jax.Array  # [B, H, W, S]
    inner: UniqueRows  # 3x3 patches around the pixels and a margin of 1, [B, H + 2, W + 2].
    outer: UniqueRows  # 5x5 patches around the pixels.
    branch: jax.Array  # Scalar index into `_branches`.

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the layout."""
        return self.layout.shape


def should_dedup(layout: jax.Array, kernel_size: int) -> bool:
    """True if deduplication is possible and may be faster, as far as the shapes tell."""
    _, height, width, channels = layout.shape
    return kernel_size == 3 and 2 * channels + 1 <= MAX_CODES and height * width >= MIN_GRID


def index_patches(layout: jax.Array) -> PatchIndex:
    """Index the patches of a layout [B, H, W, S]: one-hot classes, then maybe a binary channel."""
    batch, height, width, channels = layout.shape
    codes, is_one_hot = pixel_codes(layout)
    codes = jnp.pad(codes, ((0, 0), (2, 2), (2, 2)))  # 0: outside
    base = 2 * channels + 1
    triples = (codes[:, :, :-2] * base + codes[:, :, 1:-1]) * base + codes[:, :, 2:]
    # [B, H + 4, W + 2], three neighbors in a row each
    inner = unique_ids(*(triples[:, i : i + height + 2] for i in range(3)))
    grid = inner.inverse.reshape(batch, height + 2, width + 2)
    # The 3x3 patches of the four diagonal neighbors make up the 5x5 patch. The outside has a code
    # of its own: there, the second convolution sees zeros, not a result of the first one.
    corners = [(i, j) for i in (0, 2) for j in (0, 2)]
    outer = unique_ids(*(grid[:, i : i + height, j : j + width] for i, j in corners))
    pixels = batch * height * width
    fits = [
        is_one_hot & (outer.count <= pixels // capacity) & (inner.count <= pixels // (2 * capacity))
        for capacity in CAPACITIES
    ]
    branch = jnp.argmax(jnp.stack([*fits, jnp.asarray(True)])).astype(jnp.int32)
    return PatchIndex(layout, inner, outer, branch)


def pixel_codes(layout: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Codes [B, H, W] in 1 ... 2S, equal exactly for equal pixels of a layout [B, H, W, S].

    And a scalar: whether the layout is one-hot but for its last channel, as the codes assume.
    """
    channels = layout.shape[-1]
    numbers = np.arange(1, channels + 1)
    is_class = np.arange(channels) < channels - 1  # the last channel may be edges
    columns = jnp.asarray(np.stack([numbers, is_class], axis=-1), jnp.float32)
    sums = jnp.matmul(layout.astype(jnp.float32), columns, precision=lax.Precision.HIGHEST)
    is_one_hot = jnp.all((layout == 0) | (layout == 1)) & jnp.all(sums[..., 1] <= 1)
    return sums[..., 0].astype(jnp.int32) + 1, is_one_hot


def unique_ids(*keys: jax.Array) -> UniqueRows:
    """Ids of rows of integers, equal only for equal rows; each key is a column, flattened.

    Equal rows have equal ids, but for a few whose hashes collide with those of other rows: each of
    these has an id of its own. Sorting would be exact, but takes several times as long.
    """
    columns = [key.reshape(-1) for key in keys]
    rows = jnp.arange(columns[0].size, dtype=jnp.int32)
    same = rows  # [N], a row that is equal.
    for buckets in reversed(_buckets(columns)):
        one_of_bucket = jnp.zeros(_BUCKETS * rows.size, jnp.int32).at[buckets].set(rows)
        other = one_of_bucket[buckets]
        is_equal = functools.reduce(jnp.logical_and, (key[other] == key for key in columns))
        same = jnp.where(is_equal, other, same)
    has_id = same == rows
    numbers = jnp.cumsum(has_id, dtype=jnp.int32) - 1
    targets = jnp.where(has_id, numbers, rows.size)
    index = jnp.zeros_like(rows).at[targets].set(rows, mode='drop')
    return UniqueRows(numbers[same], index, numbers[-1] + 1)


def _buckets(columns: list[jax.Array]) -> list[jax.Array]:
    """Two hashes [N] of the rows, below `_BUCKETS` * N."""
    state = jnp.zeros(columns[0].shape, jnp.uint32)
    for column in columns:  # Odd constants and shifts, as common hash functions have.
        state = (state ^ column.astype(jnp.uint32)) * np.uint32(0x9E3779B1)
        state = state ^ (state >> 15)
    number = jnp.asarray(_BUCKETS * columns[0].size, jnp.uint32)
    return [((state * np.uint32(odd)) ^ (state >> 13)) % number for odd in (0x85EBCA77, 0xC2B2AE3D)]


def conv_relu_conv(layout: jax.Array | PatchIndex, first: Weights, second: Weights) -> jax.Array:
    """Convolve, apply ReLU, convolve; with zeros around both inputs.

    Layout [B, H, W, S], kernels [K, K, S, hidden] and [K, K, hidden, O] -> [B, H, W, O]. No
    gradient flows to a PatchIndex, which needs K = 3.
    """
    if isinstance(layout, PatchIndex):
        return _on_unique_patches(layout, first, second)
    hidden = relu(_convolve(layout, first))  # [B, H, W, hidden]
    return _convolve(hidden, second)


def _convolve(x: jax.Array, weights: Weights) -> jax.Array:
    kernel, bias = weights
    return add_bias(convolve(x.astype(kernel.dtype), kernel, 1, len(kernel) // 2), bias)


@jax.custom_vjp
def _on_unique_patches(patches: PatchIndex, first: Weights, second: Weights) -> jax.Array:
    return lax.switch(patches.branch, _branches(), patches, first, second)


def _forward(patches, first, second):
    # The backward pass recomputes the first convolution: little work for the distinct patches, and
    # for the dense branch a fifth more than keeping it.
    return _on_unique_patches(patches, first, second), (patches, first, second)


def _backward(residuals, cotangent):
    patches, *weights = residuals

    def gradients(branch):
        def of_branch(patches, weights, cotangent):
            return jax.vjp(functools.partial(branch, patches), *weights)[1](cotangent)

        return of_branch

    branches = list(map(gradients, _branches()))
    return None, *lax.switch(patches.branch, branches, patches, weights, cotangent)


_on_unique_patches.defvjp(_forward, _backward)


def _branches() -> list[Callable[..., jax.Array]]:
    """One for each of `CAPACITIES`, then the dense convolution."""
    compact = [functools.partial(_compact, capacity) for capacity in CAPACITIES]
    return [*compact, lambda patches, *weights: conv_relu_conv(patches.layout, *weights)]


def _compact(capacity: int, patches: PatchIndex, first: Weights, second: Weights) -> jax.Array:
    """`conv_relu_conv` with at most one distinct patch for every `capacity` pixels."""
    layout, inner, outer = patches.layout, patches.inner, patches.outer
    batch, height, width, channels = layout.shape
    pixels = batch * height * width

    index = inner.index[: pixels // (2 * capacity)]
    padded = jnp.pad(layout, ((0, 0), (2, 2), (2, 2), (0, 0))).reshape(-1, channels)
    hidden = relu(_at_pixels(padded[_around(index, height + 2, width + 2)], first))
    row, column = index // (width + 2) % (height + 2), index % (width + 2)
    inside = (0 < row) & (row <= height) & (0 < column) & (column <= width)
    hidden = jnp.where(inside[:, None], hidden, 0)  # the second convolution pads with zeros
    # [inner ids, hidden]

    index = outer.index[: pixels // capacity]
    hidden = _look_up(hidden, inner.inverse[_around(index, height, width)])
    results = _at_pixels(hidden, second)  # [outer ids, O]
    return _look_up(results, outer.inverse).reshape(batch, height, width, -1)


def _look_up(rows: jax.Array, ids: jax.Array) -> jax.Array:
    """rows[ids], in float32: its gradient is a sum, which in bfloat16 would stop growing at 256."""
    return rows.astype(jnp.float32)[ids].astype(rows.dtype)


def _around(pixels: jax.Array, height: int, width: int) -> jax.Array:
    """The 3x3 pixels around pixels [N] of a grid [B, height, width]: [N, 9].

    They are numbered in the grid with a margin of 1.
    """
    image, row, column = pixels // (height * width), pixels // width % height, pixels % width
    corner = (image * (height + 2) + row) * (width + 2) + column
    offsets = [i * (width + 2) + j for i in range(3) for j in range(3)]
    return corner[:, None] + np.asarray(offsets, np.int32)


def _at_pixels(patches: jax.Array, weights: Weights) -> jax.Array:
    """A convolution at single pixels, given the 3x3 pixels around each. [N, 9, I] -> [N, O]."""
    kernel = weights.kernel.reshape(-1, weights.kernel.shape[-1])
    rows = patches.reshape(-1, kernel.shape[0])
    return add_bias(matrix_product(rows, kernel), weights.bias)
