"""Numba's form of the sums of `resampling`: over long rows of bytes, as vector instructions."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
from numba.core import config as numba_config

from spade_jax.data.files.resampling import HALF, WEIGHT_BITS

_CACHE = '~/.cache/spade_jax/numba'
_STRIP = 32  # Rows resized horizontally at a time: a multiple of 8 whose pixels fit the cache.


@contextlib.contextmanager
def _cache_outside_package() -> Iterator[None]:
    """Let Numba keep what the block compiles in the user's cache, not next to this file."""
    config: Any = numba_config
    given = config.CACHE_DIR
    config.CACHE_DIR = given or os.path.expanduser(_CACHE)
    try:
        yield
    finally:
        config.CACHE_DIR = given


def _compiled(*argument_types):
    """Compile a function when it is defined, to run without Python's lock."""

    def compile_function(function):
        try:
            with _cache_outside_package():
                return numba.njit(argument_types, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):  # No cache directory is writable, or the disk is full.
            return numba.njit(argument_types, nogil=True)(function)

    return compile_function


_RESIZED, _PIXELS = numba.uint8[:, ::1], numba.types.Array(numba.uint8, 2, 'C', readonly=True)
_VECTOR, _MATRIX = (numba.types.Array(numba.int32, rank, 'C', readonly=True) for rank in (1, 2))
_TAPS = _VECTOR, _VECTOR, _MATRIX


@_compiled(_RESIZED, _PIXELS, *_TAPS)
def resize_rows_into(resized, pixels, first, count, weights):
    """Row y of `resized` [h, N] is the weighted sum of `count[y]` rows of `pixels` [H, N]."""
    length = resized.shape[1]
    sums = np.empty(length, np.int32)
    for y in range(resized.shape[0]):
        for i in range(length):
            sums[i] = HALF
        row, end, tap = first[y], first[y] + count[y], 0
        while end - row >= 3:  # The sums are loaded and stored a third as often.
            weight0, weight1, weight2 = weights[y, tap], weights[y, tap + 1], weights[y, tap + 2]
            for i in range(length):
                sums[i] += (  # One expression: it compiles to faster code than two.
                    weight0 * pixels[row, i]
                    + weight1 * pixels[row + 1, i]
                    + weight2 * pixels[row + 2, i]
                )
            row += 3
            tap += 3
        while end > row:
            weight0 = weights[y, tap]
            for i in range(length):
                sums[i] += weight0 * pixels[row, i]
            row += 1
            tap += 1
        for i in range(length):
            resized[y, i] = min(max(sums[i] >> WEIGHT_BITS, 0), 255)


# The distance of two rows in 64-bit words of 8 bytes, and which bytes of a word they exchange.
_MASKS = map(np.uint64, (0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0xFFFFFFFF))
_BLOCKS = tuple(zip((1, 2, 4), _MASKS, strict=True))


@numba.njit
def _transpose_bytes(words):
    """Transpose the 8x8 bytes of each column in each 8 rows of words [8 n, K] uint64.

    First the bytes within blocks of 2x2, then such blocks within 4x4, then those within 8x8.
    """
    for begin in range(0, words.shape[0], 8):
        for distance, mask in _BLOCKS:
            shift = np.uint64(8 * distance)
            for row in range(begin, begin + 8):
                if not row & distance:
                    for i in range(words.shape[1]):
                        upper, lower = words[row, i], words[row + distance, i]
                        differing = ((upper >> shift) ^ lower) & mask
                        words[row, i] = upper ^ (differing << shift)
                        words[row + distance, i] = lower ^ differing


@_compiled(_RESIZED, _PIXELS, *_TAPS)
def resize_columns_into(resized, pixels, first, count, weights):
    """Resize `pixels` [H, 3 W] to `resized` [H, 3 w]: transposed in strips of rows, and back."""
    (rows, length), (_, new_length), groups = pixels.shape, resized.shape, _STRIP // 8
    words, new_words = (length + 7) // 8, (new_length + 7) // 8
    strip, turned = np.empty((_STRIP, words), np.uint64), np.empty((8 * words, groups), np.uint64)
    new_strip = np.empty((_STRIP, new_words), np.uint64)
    new_turned = np.empty((8 * new_words, groups), np.uint64)
    strip_bytes, new_strip_bytes = strip.view(np.uint8), new_strip.view(np.uint8)  # [32, 8 words]
    # A column is its red, then its green, then its blue bytes: [columns, 3 * 32].
    columns = turned.view(np.uint8)[:length].reshape(length // 3, 3 * _STRIP)
    new_columns = new_turned.view(np.uint8)[:new_length].reshape(new_length // 3, 3 * _STRIP)
    for begin in range(0, rows, _STRIP):
        height = min(_STRIP, rows - begin)
        for y in range(height):
            for i in range(length):  # Twice as fast as the assignment of a slice.
                strip_bytes[y, i] = pixels[begin + y, i]
        _transpose_bytes(strip)
        for group in range(groups):
            for i in range(words):
                for j in range(8):
                    turned[8 * i + j, group] = strip[8 * group + j, i]
        resize_rows_into(new_columns, columns, first, count, weights)
        for group in range(groups):
            for j in range(8):
                for i in range(new_words):
                    new_strip[8 * group + j, i] = new_turned[8 * i + j, group]
        _transpose_bytes(new_strip)
        for y in range(height):
            for i in range(new_length):
                resized[begin + y, i] = new_strip_bytes[y, i]
