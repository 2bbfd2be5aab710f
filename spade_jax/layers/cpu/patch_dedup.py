"""Two convolutions over a label map, computed once for every neighbourhood that occurs in it.

Label maps are made of regions: nine of ten pixels of a 256x256 photograph's map have the same 5x5 neighbourhood as others of that map, and to two 3x3 convolutions,
one after the other, equal neighbourhoods are equal pixels. So the neighbourhoods are numbered, the convolutions are computed at one pixel of each kind, as
matrix products, and every pixel looks up the result of its kind. This is exact. How much it saves depends on the map; where a map has too many kinds, or the layout is
not one of classes, the convolutions are computed everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Weights, add_bias, convolve
from spade_jax.layers.cpu.blocked_convolution import matrix_product

KERNEL_SIZE = 3
SMALLEST_GRID = 64 * 64  # pixels; on coarser grids nearly all neighbourhoods of a map differ
ROOMS = (
    16,
    8,
    4,
    2,
)  # Arrays have a fixed size: there is room for a kind in every 16th pixel, or in every 8th, ... The smallest that suffices is taken.
MAX_CODES = 1290  # the largest number whose cube is an int32


class Kinds(NamedTuple):
    """A numbering of pixels by what is around them.

    of: [N] int32, the kind of each pixel.
    examples: [N] int32, a pixel of each kind; the entries from `count` on mean nothing.
    count: scalar int32.
    """

    of: jax.Array
    examples: jax.Array
    count: jax.Array


@flax.struct.dataclass
class PatchIndex:
    """A layout whose neighbourhoods are numbered.

    layout: [B, H, W, S].
    inner: the 3x3 neighbourhoods of the pixels of the layout with a margin of 1, [B, H + 2, W + 2].
    outer: the 5x5 neighbourhoods of the pixels of the layout.
    form: scalar int32, which of the forms of the convolutions it fits into: that with the first of `ROOMS` that is large enough, or the last one, everywhere.
    """

    layout: jax.Array
    inner: Kinds
    outer: Kinds
    form: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.layout.shape


def numbered(layout: jax.Array) -> PatchIndex:
    """Numbers the neighbourhoods of a layout [B, H, W, S]: one-hot classes, which a channel of zeros and ones may follow."""
    batch, height, width, channels = layout.shape
    codes, of_classes = pixel_codes(layout)
    codes = jnp.pad(codes, ((0, 0), (2, 2), (2, 2)))  # 0: outside
    base = 2 * channels + 1
    in_a_row = (codes[:, :, :-2] * base + codes[:, :, 1:-1]) * base + codes[
        :, :, 2:
    ]  # [B, H + 4, W + 2], three neighbours each
    inner = number_equal(*(in_a_row[:, i : i + height + 2] for i in range(3)))
    grid = inner.of.reshape(batch, height + 2, width + 2)
    # The 3x3 neighbourhoods of the four diagonal neighbours are the whole 5x5 one. Outside has a code of its own: the second convolution sees zeros there, which no
    # pixel of the first one's result needs to be.
    outer = number_equal(*(grid[:, i : i + height, j : j + width] for i in (0, 2) for j in (0, 2)))
    pixels = batch * height * width
    fits = [
        of_classes & (outer.count <= pixels // room) & (inner.count <= pixels // (2 * room))
        for room in ROOMS
    ]
    return PatchIndex(
        layout,
        inner,
        outer,
        form=jnp.argmax(jnp.stack([*fits, jnp.asarray(True)])).astype(jnp.int32),
    )


def worth_numbering(layout: jax.Array, kernel_size: int) -> bool:
    """Whether numbering may be of use, as far as shapes tell."""
    _, height, width, channels = layout.shape
    return (
        kernel_size == KERNEL_SIZE
        and height * width >= SMALLEST_GRID
        and 2 * channels + 1 <= MAX_CODES
    )


def pixel_codes(layout: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A number in 1 ... 2 S for each pixel [B, H, W] of a layout, equal for equal pixels only; and whether it is a layout of classes, without which the numbers mean nothing."""
    channels = layout.shape[-1]
    of_class, one_each = (
        np.arange(1, channels + 1),
        np.arange(channels) < channels - 1,
    )  # the last channel may be one of classes or not: it is counted apart
    sums = jnp.einsum(
        'bhws,sk->bhwk',
        layout.astype(jnp.float32),
        jnp.asarray(np.stack([of_class, one_each], -1), jnp.float32),
        precision=lax.Precision.HIGHEST,
    )
    of_classes = jnp.all((layout == 0) | (layout == 1)) & jnp.all(sums[..., 1] <= 1)
    return sums[..., 0].astype(jnp.int32) + 1, of_classes


def number_equal(*keys: jax.Array) -> Kinds:
    """Numbers the entries of some arrays of integers of one shape: two have the same number exactly if they are equal in all of the arrays."""
    keys = [key.reshape(-1) for key in keys]
    size = keys[0].size
    *keys, entries = lax.sort([*keys, jnp.arange(size, dtype=jnp.int32)], num_keys=len(keys))
    differs = functools.reduce(jnp.logical_or, (key[1:] != key[:-1] for key in keys))
    begins = jnp.concatenate([jnp.ones(1, bool), differs])
    kinds = jnp.cumsum(begins, dtype=jnp.int32) - 1
    of = jnp.zeros(size, jnp.int32).at[entries].set(kinds, unique_indices=True)
    examples = (
        jnp.zeros(size, jnp.int32).at[jnp.where(begins, kinds, size)].set(entries, mode='drop')
    )
    return Kinds(of, examples, kinds[-1] + 1)


def two_convolutions(layout: jax.Array | PatchIndex, first: Weights, second: Weights) -> jax.Array:
    """convolve(relu(convolve(layout, first)), second), with zeros around both inputs.

    Args:
      layout: [B, H, W, S]; numbered: computed once for every neighbourhood, where that is cheaper. No gradient flows to a numbered layout: it is data.
      first, second: kernels [K, K, S, hidden] and [K, K, hidden, O], and biases; K = 3 for a numbered layout.

    Returns:
      [B, H, W, O].
    """
    return (
        _once_for_each_kind(layout, first, second)
        if isinstance(layout, PatchIndex)
        else _everywhere(layout, first, second)
    )


def _everywhere(layout: jax.Array, first: Weights, second: Weights) -> jax.Array:
    hidden = relu(_convolved(layout, first))  # [B, H, W, hidden]
    return _convolved(hidden, second)


def _convolved(x: jax.Array, weights: Weights) -> jax.Array:
    return add_bias(
        convolve(x, weights.kernel, 1, (weights.kernel.shape[0] - 1) // 2), weights.bias
    )


@jax.custom_vjp
def _once_for_each_kind(layout: PatchIndex, first: Weights, second: Weights) -> jax.Array:
    return lax.switch(layout.form, _forms(), layout, first, second)


def _forward(layout, first, second):
    # The backward pass computes the first convolution again: of the kinds that is little, and everywhere, a fifth more than keeping it.
    return _once_for_each_kind(layout, first, second), (layout, first, second)


def _backward(residuals, cotangent):
    layout, *weights = residuals

    def gradients(form):
        return lambda layout, weights, cotangent: jax.vjp(
            functools.partial(form, layout), *weights
        )[1](cotangent)

    return None, *lax.switch(
        layout.form, list(map(gradients, _forms())), layout, weights, cotangent
    )


_once_for_each_kind.defvjp(_forward, _backward)


def _forms() -> list[Callable]:
    """One for each of `ROOMS`, and one for layouts of more kinds."""
    return [functools.partial(_of_kinds, room) for room in ROOMS] + [
        lambda layout, first, second: _everywhere(layout.layout, first, second)
    ]


def _of_kinds(room: int, numbered: PatchIndex, first: Weights, second: Weights) -> jax.Array:
    """`two_convolutions` of a layout with at most one kind for every `room` pixels."""
    layout, inner, outer = numbered.layout, numbered.inner, numbered.outer
    batch, height, width, channels = layout.shape
    pixels = batch * height * width

    examples = inner.examples[: pixels // (2 * room)]
    with_margins = jnp.pad(layout, ((0, 0), (2, 2), (2, 2), (0, 0))).reshape(-1, channels)
    hidden = relu(
        _products(with_margins[_around(examples, height + 2, width + 2)], first)
    )  # [inner kinds, hidden]
    row, column = examples // (width + 2) % (height + 2), examples % (width + 2)
    inside = (0 < row) & (row <= height) & (0 < column) & (column <= width)
    hidden = jnp.where(
        inside[:, None], hidden, 0
    )  # the second convolution has zeros around its input

    examples = outer.examples[: pixels // room]
    results = _products(
        _look_up(hidden, inner.of[_around(examples, height, width)]), second
    )  # [outer kinds, O]
    return _look_up(results, outer.of).reshape(batch, height, width, -1)


def _look_up(rows: jax.Array, indices: jax.Array) -> jax.Array:
    """rows[indices]. In float32, for the gradient sums over all pixels that look up the same row: in bfloat16 a sum of ones would end at 256."""
    return rows.astype(jnp.float32)[indices].astype(rows.dtype)


def _around(pixels: jax.Array, height: int, width: int) -> jax.Array:
    """The 3x3 pixels around some pixels [N] of a grid [B, height, width], numbered in the grid with a margin of 1. [N, 9]."""
    picture, row, column = pixels // (height * width), pixels // width % height, pixels % width
    corner = (picture * (height + 2) + row) * (width + 2) + column
    return corner[:, None] + np.asarray(
        [i * (width + 2) + j for i in range(3) for j in range(3)], np.int32
    )


def _products(patches: jax.Array, weights: Weights) -> jax.Array:
    """A convolution at single pixels, given the 3x3 pixels around each. [N, 9, I] -> [N, O]."""
    kernel = weights.kernel.reshape(-1, weights.kernel.shape[-1])
    return add_bias(matrix_product(patches.reshape(-1, kernel.shape[0]), kernel), weights.bias)
