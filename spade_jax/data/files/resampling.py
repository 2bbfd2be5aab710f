"""Scaling as Pillow scales, to the bit, but only of the window that a crop keeps; and several times faster.

Pillow spends most of its bicubic time on pixels that the crop throws away, and adds up the three channels of one pixel at a time. Here sums run over long
rows of bytes, which compilers turn into vector instructions. numba compiles the loops when this module is imported and keeps the result on disk: the first
import on a machine takes some seconds, later ones half a second. So import it where pictures are scaled, not before.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numba
import numpy as np

_WEIGHT_BITS = 22  # Weights are integers, 1.0 = 2**22: with 8 bits of a pixel and two for overshoot they fill 32 bits.
_HALF = 1 << (_WEIGHT_BITS - 1)
_SUPPORT = 2.0  # Radius of the bicubic kernel, in pixels of the coarser picture.
_STRIP = 32  # Rows that are scaled horizontally at a time: a multiple of 8, and so few that their pixels stay in the cache.
_TABLES = 512  # Tables kept, some 20 KB each: enough for a data set of many sizes.


class _Taps(NamedTuple):
    """How N target pixels of a row (or column) are made of source pixels: each of `count` neighbours from `first` on, with these weights.

    first, count: [N] int32.
    weights: [N, at least max(count)] int32.
    """

    first: np.ndarray
    count: np.ndarray
    weights: np.ndarray


def bicubic(
    image: np.ndarray, size: tuple[int, int], window: tuple[int, int, int, int], flip: bool = False
) -> np.ndarray:
    """The window of a photograph that was scaled bicubically (antialiased when it shrinks): Pillow's `resize(size, BICUBIC)`, then a crop.

    Args:
      image: [H, W, 3] uint8.
      size: width and height to which the whole picture would be scaled.
      window: left, top, width and height of the part of the scaled picture that is computed.
      flip: whether to mirror the window left and right.

    Returns:
      [window height, window width, 3] uint8.

    Raises:
      ValueError: when the image is no photograph, or the window does not lie inside the scaled picture.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f'an image of shape {image.shape} and type {image.dtype} cannot be scaled; it must be [H, W, 3] uint8'
        )
    _check_window(size, window)
    left, top, width, height = window
    source_size = image.shape[1::-1]
    columns, rows = (
        _bicubic_taps(source_size[0], size[0], left, width),
        _bicubic_taps(source_size[1], size[1], top, height),
    )
    if flip:
        columns = _Taps(*(np.ascontiguousarray(part[::-1]) for part in columns))
    scales_columns, scales_rows = source_size[0] != size[0] or flip, source_size[1] != size[1]
    if not scales_columns and not scales_rows:
        return np.ascontiguousarray(image[top : top + height, left : left + width])

    pixels = np.ascontiguousarray(image).reshape(source_size[1], source_size[0] * 3)
    if scales_columns and not (scales_rows and _rows_come_first(source_size, size)):
        rows, span = _from_zero(rows)
        pixels = _scaled_columns(pixels, span, columns)
        if scales_rows:
            pixels = _scaled_rows(pixels, rows)
    else:
        columns, span = _from_zero(columns)
        pixels = _scaled_rows(np.ascontiguousarray(pixels[:, 3 * span.start : 3 * span.stop]), rows)
        if scales_columns:
            pixels = _scaled_columns(pixels, slice(0, height), columns)
    return pixels.reshape(height, width, 3)


def nearest(
    ids: np.ndarray, size: tuple[int, int], window: tuple[int, int, int, int], flip: bool = False
) -> np.ndarray:
    """The window of a map of ids that was scaled by taking the nearest pixel: Pillow's `resize(size, NEAREST)` of 8-bit and 32-bit maps, then a crop.

    Args:
      ids: [H, W] of any type; every type takes the same pixels.
      size, window, flip: as of `bicubic`.

    Returns:
      [window height, window width], of the type of `ids`.

    Raises:
      ValueError: when the window does not lie inside the scaled map.
    """
    _check_window(size, window)
    left, top, width, height = window
    columns = _nearest_pixels(ids.shape[1], size[0])[left : left + width]
    rows = _nearest_pixels(ids.shape[0], size[1])[top : top + height]
    return ids.take(rows, axis=0).take(columns[::-1] if flip else columns, axis=1)


def _check_window(size: tuple[int, int], window: tuple[int, int, int, int]) -> None:
    left, top, width, height = window
    if not (0 <= left < left + width <= size[0] and 0 <= top < top + height <= size[1]):
        raise ValueError(
            f'the window {window} (left, top, width, height) does not lie inside the scaled picture of {size[0]}x{size[1]}'
        )


@functools.lru_cache(maxsize=_TABLES)
def _nearest_pixels(source: int, target: int) -> np.ndarray:
    """[target] the source pixel of each target pixel. Pillow adds up the step, and so do we: multiplied, it would round otherwise here and there."""
    step = source / target
    positions = np.full(target, step)
    positions[0] = step * 0.5
    pixels = np.cumsum(positions).astype(np.intp)
    pixels.setflags(write=False)
    return pixels


def _bicubic_taps(source: int, target: int, start: int, length: int) -> _Taps:
    """Those of the target pixels `start` to `start + length`."""
    return _Taps(*(part[start : start + length] for part in _all_bicubic_taps(source, target)))


@functools.lru_cache(maxsize=_TABLES)
def _all_bicubic_taps(source: int, target: int) -> _Taps:
    """For a row of `source` pixels scaled to `target`; every operation in the order of Pillow's, for the last bit."""
    if source == target:  # Pillow leaves out this pass; here it may have to mirror.
        return _readonly_taps(
            np.arange(target), np.ones(target), np.full((target, 1), 1 << _WEIGHT_BITS)
        )
    scale = source / target
    stretch = max(
        scale, 1.0
    )  # The kernel is widened when the picture shrinks: that is the antialiasing.
    radius = _SUPPORT * stretch
    centers = (np.arange(target) + 0.5) * scale
    first = np.maximum((centers - radius + 0.5).astype(np.int32), 0)
    count = np.minimum((centers + radius + 0.5).astype(np.int32), source) - first
    tap = np.arange(math.ceil(radius) * 2 + 1)
    weights = _bicubic_kernel(
        (tap + first[:, None] - centers[:, None] + 0.5) * (1.0 / stretch)
    )  # [target, taps]
    weights[tap >= count[:, None]] = 0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # Added up one by one; np.sum would add in pairs.
    weights *= 1 << _WEIGHT_BITS
    return _readonly_taps(first, count, np.trunc(weights + np.copysign(0.5, weights)))


def _readonly_taps(*parts: np.ndarray) -> _Taps:
    """As int32, and so that a kept table cannot be spoiled."""
    taps = _Taps(*(part.astype(np.int32) for part in parts))
    for part in taps:
        part.setflags(write=False)
    return taps


def _bicubic_kernel(distance: np.ndarray) -> np.ndarray:
    """Keys 1981, with a = -0.5."""
    x = np.abs(distance)
    near = ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _rows_come_first(source_size: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether the vertical pass comes before the horizontal one, which shows: pixels are rounded to 8 bits between the two.

    This is the rule of Pillow 13. Older versions begin with the horizontal pass; so their bicubic is another one for many upright pictures.
    """
    fewer_columns, fewer_rows = source_size[0] - size[0], source_size[1] - size[1]
    return fewer_rows > 0 and fewer_rows > 2 * fewer_columns


def _from_zero(taps: _Taps) -> tuple[_Taps, slice]:
    """The range of source pixels that the taps use, and the taps with positions in that range."""
    used = slice(int(taps.first.min()), int((taps.first + taps.count).max()))
    return taps._replace(first=taps.first - np.int32(used.start)), used


def _scaled_columns(pixels: np.ndarray, rows: slice, columns: _Taps) -> np.ndarray:
    """These rows of pixels [H, 3 W], each scaled to a row of 3 len(columns.first)."""
    columns, span = _from_zero(columns)
    scaled = np.empty((rows.stop - rows.start, 3 * len(columns.first)), np.uint8)
    _scale_columns(pixels, rows.start, span.start, span.stop, *columns, scaled)
    return scaled


def _scaled_rows(pixels: np.ndarray, rows: _Taps) -> np.ndarray:
    """[H, 3 W] to [len(rows.first), 3 W]."""
    scaled = np.empty((len(rows.first), pixels.shape[1]), np.uint8)
    _scale_rows(pixels, *rows, scaled)
    return scaled


def _compiled(*argument_types):
    """Compiles a function when it is defined, to run without Python's lock."""

    def compile_function(function):
        try:
            return numba.njit(argument_types, nogil=True, cache=True)(function)
        except (
            RuntimeError,
            OSError,
        ):  # Neither beside this file nor in the user's cache directory can numba write; or the disk is full.
            return numba.njit(argument_types, nogil=True)(function)

    return compile_function


def _readonly(dtype, dimensions: int):
    """A contiguous array that the function does not write to."""
    return numba.types.Array(dtype, dimensions, 'C', readonly=True)


_PIXELS, _SCALED_PIXELS = _readonly(numba.uint8, 2), numba.uint8[:, ::1]
_TAPS = _readonly(numba.int32, 1), _readonly(numba.int32, 1), _readonly(numba.int32, 2)


@_compiled(_PIXELS, *_TAPS, _SCALED_PIXELS)
def _scale_rows(pixels, first, count, weights, scaled):
    """Row y of `scaled` [h, N] is the weighted sum of `count[y]` rows of `pixels` [H, N] from `first[y]` on.

    Three rows at a time: so the sums are fetched and stored a third as often, and most taps come out even.
    """
    length = scaled.shape[1]
    sums = np.empty(length, np.int32)
    for y in range(scaled.shape[0]):
        for i in range(length):
            sums[i] = _HALF
        row, end, tap = first[y], first[y] + count[y], 0
        while end - row >= 3:
            weight0, weight1, weight2 = weights[y, tap], weights[y, tap + 1], weights[y, tap + 2]
            for i in range(length):
                sums[i] += (
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
            scaled[y, i] = min(max(sums[i] >> _WEIGHT_BITS, 0), 255)


@numba.njit
def _transpose_bytes(words):
    """Transposes, in each 8 rows of words [8 n, K] uint64, the 8 x 8 bytes of each column: byte i of word j changes places with byte j of word i.

    Like the transposition of a matrix of 2 x 2 blocks: first inside blocks of 2 x 2 bytes, then of such blocks in 4 x 4, then of those in 8 x 8.
    """
    for begin in range(0, words.shape[0], 8):
        for distance, mask in (
            (1, np.uint64(0x00FF00FF00FF00FF)),
            (2, np.uint64(0x0000FFFF0000FFFF)),
            (4, np.uint64(0x00000000FFFFFFFF)),
        ):
            shift = np.uint64(8 * distance)
            for row in range(begin, begin + 8):
                if not row & distance:
                    for i in range(words.shape[1]):
                        upper, lower = words[row, i], words[row + distance, i]
                        differing = ((upper >> shift) ^ lower) & mask
                        words[row, i] = upper ^ (differing << shift)
                        words[row + distance, i] = lower ^ differing


@_compiled(_PIXELS, numba.intp, numba.intp, numba.intp, *_TAPS, _SCALED_PIXELS)
def _scale_columns(pixels, top, left, right, first, count, weights, scaled):
    """Scales rows `top` and following of `pixels` [H, 3 W] horizontally, to the rows of `scaled` [h, 3 w].

    A strip of rows is turned so that its columns are rows, scaled like rows, and turned back: three channels of 32 rows are a long row of bytes, where
    the three channels of one pixel are a short one. `first` counts from pixel `left`; no pixel from `right` on is used.
    """
    length, scaled_length = 3 * (right - left), scaled.shape[1]
    words, scaled_words = (length + 7) // 8, (scaled_length + 7) // 8
    strip, scaled_strip = (
        np.empty((_STRIP, words), np.uint64),
        np.empty((_STRIP, scaled_words), np.uint64),
    )
    turned, scaled_turned = (
        np.empty((8 * words, _STRIP // 8), np.uint64),
        np.empty((8 * scaled_words, _STRIP // 8), np.uint64),
    )
    strip_bytes, scaled_strip_bytes = (
        strip.view(np.uint8),
        scaled_strip.view(np.uint8),
    )  # [32, 8 words]
    columns = turned.view(np.uint8)[:length].reshape(
        right - left, 3 * _STRIP
    )  # Of a column its red, then its green, then its blue bytes.
    scaled_columns = scaled_turned.view(np.uint8)[:scaled_length].reshape(
        scaled_length // 3, 3 * _STRIP
    )
    for begin in range(0, scaled.shape[0], _STRIP):
        height = min(_STRIP, scaled.shape[0] - begin)
        for y in range(height):
            source = pixels[top + begin + y][3 * left : 3 * right]
            for i in range(length):
                strip_bytes[y, i] = source[i]
        _transpose_bytes(strip)
        for group in range(_STRIP // 8):
            for i in range(words):
                for j in range(8):
                    turned[8 * i + j, group] = strip[8 * group + j, i]
        _scale_rows(columns, first, count, weights, scaled_columns)
        for group in range(_STRIP // 8):
            for j in range(8):
                for i in range(scaled_words):
                    scaled_strip[8 * group + j, i] = scaled_turned[8 * i + j, group]
        _transpose_bytes(scaled_strip)
        for y in range(height):
            for i in range(scaled_length):
                scaled[begin + y, i] = scaled_strip_bytes[y, i]
