"""Resize as Pillow does, bit for bit, but compute only the window that a crop keeps.

Pillow resizes pixels that the crop discards, and adds three channels at a time. Here the sums run
over long rows of bytes, which compile to vector instructions: several times faster. numba compiles
when this module is imported (seconds at first, half a second from its cache), so import it late.
"""

import functools
import math
from typing import NamedTuple

import numba
import numpy as np

# Weights are integers, 1.0 = 2**22: with 8 bits of a pixel and 2 for overshoot they fill 32 bits.
_WEIGHT_BITS = 22
_HALF = 1 << (_WEIGHT_BITS - 1)
_SUPPORT = 2.0  # Radius of the bicubic kernel, in pixels of the coarser image.
_STRIP = 32  # Rows resized horizontally at a time: a multiple of 8 whose pixels fit the cache.
_NUM_TABLES = 512  # Cached tables, 20 KB each: enough for a data set of many sizes.

_Size = tuple[int, int]  # Width, height.
_Window = tuple[int, int, int, int]  # Left, top, width, height.


class _Taps(NamedTuple):
    """The weighted source pixels of each of N target pixels of a row or column."""

    first: np.ndarray  # [N] int32, the first source pixel.
    count: np.ndarray  # [N] int32, the number of consecutive source pixels.
    weights: np.ndarray  # [N, at least max(count)] int32.


def bicubic(image: np.ndarray, size: _Size, window: _Window, flip: bool = False) -> np.ndarray:
    """Resize like Pillow's `resize(size, BICUBIC)` (antialiased when it shrinks), then crop.

    Args:
      image: [H, W, 3] uint8.
      size: Width and height of the resized image.
      window: Left, top, width and height of the crop of the resized image.
      flip: Whether to mirror the crop left to right.
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f'{image.dtype} {image.shape} must be [H, W, 3] uint8')
    _check_window(size, window)
    left, top, width, height = window
    source_height, source_width, _ = image.shape
    columns, used_columns = _taps(source_width, size[0], left, width)
    rows, used_rows = _taps(source_height, size[1], top, height)
    pixels = np.ascontiguousarray(image[used_rows, used_columns])
    pixels = pixels.reshape(len(pixels), -1)  # [H, 3 W]
    if flip:
        columns = _Taps(*(np.ascontiguousarray(part[::-1]) for part in columns))
    passes = []
    if source_width != size[0] or flip:
        passes.append((_resize_columns_into, columns))
    if source_height != size[1]:
        passes.append((_resize_rows_into, rows))
    # Pixels are rounded to 8 bits between the passes, so their order shows. This is the rule of
    # Pillow 13; older versions always begin with the columns.
    if source_height - size[1] > max(0, 2 * (source_width - size[0])):
        passes.reverse()
    for resize_into, taps in passes:
        is_rows = resize_into is _resize_rows_into
        shape = (height, pixels.shape[1]) if is_rows else (len(pixels), 3 * width)
        resized = np.empty(shape, np.uint8)
        resize_into(resized, pixels, *taps)
        pixels = resized
    return pixels.reshape(height, width, 3)


def nearest(ids: np.ndarray, size: _Size, window: _Window, flip: bool = False) -> np.ndarray:
    """Resize ids [H, W] of any type like Pillow's `resize(size, NEAREST)`, then crop."""
    _check_window(size, window)
    left, top, width, height = window
    columns = _nearest_pixels(ids.shape[1], size[0])[left : left + width]
    rows = _nearest_pixels(ids.shape[0], size[1])[top : top + height]
    return ids.take(rows, axis=0).take(columns[::-1] if flip else columns, axis=1)


def _check_window(size: _Size, window: _Window) -> None:
    left, top, width, height = window
    if not (0 <= left < left + width <= size[0] and 0 <= top < top + height <= size[1]):
        target = f'the resized image of {size[0]}x{size[1]}'
        raise ValueError(f'the window {window} (left, top, width, height) is not inside {target}')


@functools.lru_cache(maxsize=_NUM_TABLES)
def _nearest_pixels(source: int, target: int) -> np.ndarray:
    """Return the source pixel of each target pixel; Pillow adds up the steps, so do we."""
    positions = np.full(target, source / target)
    positions[0] *= 0.5
    pixels = np.cumsum(positions).astype(np.intp)
    pixels.setflags(write=False)
    return pixels


def _taps(source: int, target: int, begin: int, length: int) -> tuple[_Taps, slice]:
    """Return the taps of a window, relative to the source pixels that they use, and those."""
    window = slice(begin, begin + length)
    first, count, weights = (part[window] for part in _all_taps(source, target))
    used = slice(int(first.min()), int((first + count).max()))
    return _Taps(first - np.int32(used.start), count, weights), used


@functools.lru_cache(maxsize=_NUM_TABLES)
def _all_taps(source: int, target: int) -> _Taps:
    """Return the bicubic taps of a row; every operation in Pillow's order, for the last bit."""
    if source == target:  # Pillow skips this pass; here it may have to mirror.
        first, count = np.arange(target), np.ones(target)
        weights = np.full((target, 1), 1 << _WEIGHT_BITS)
    else:
        scale = source / target
        stretch = max(scale, 1.0)  # Antialiasing: the kernel is widened when the image shrinks.
        radius = _SUPPORT * stretch
        centers = (np.arange(target) + 0.5) * scale
        first = np.maximum((centers - radius + 0.5).astype(np.int32), 0)
        count = np.minimum((centers + radius + 0.5).astype(np.int32), source) - first
        tap = np.arange(math.ceil(radius) * 2 + 1)
        distances = (tap + first[:, None] - centers[:, None] + 0.5) * (1.0 / stretch)
        weights = _bicubic_kernel(distances)  # [target, taps]
        weights[tap >= count[:, None]] = 0
        weights /= np.cumsum(weights, axis=1)[:, -1:]  # np.sum would add in pairs.
        weights *= 1 << _WEIGHT_BITS
        weights = np.trunc(weights + np.copysign(0.5, weights))
    taps = _Taps(*(part.astype(np.int32) for part in (first, count, weights)))
    for part in taps:
        part.setflags(write=False)  # The cache shares them.
    return taps


def _bicubic_kernel(distance: np.ndarray) -> np.ndarray:
    """Keys 1981, with a = -0.5."""
    x = np.abs(distance)
    near = ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _compiled(*argument_types):
    """Compile a function when it is defined, to run without Python's lock."""

    def compile_function(function):
        try:
            return numba.njit(argument_types, nogil=True, cache=True)(function)
        except (RuntimeError, OSError):  # No cache directory is writable, or the disk is full.
            return numba.njit(argument_types, nogil=True)(function)

    return compile_function


_RESIZED, _PIXELS = numba.uint8[:, ::1], numba.types.Array(numba.uint8, 2, 'C', readonly=True)
_VECTOR, _MATRIX = (numba.types.Array(numba.int32, rank, 'C', readonly=True) for rank in (1, 2))
_TAPS = _VECTOR, _VECTOR, _MATRIX


@_compiled(_RESIZED, _PIXELS, *_TAPS)
def _resize_rows_into(resized, pixels, first, count, weights):
    """Row y of `resized` [h, N] is the weighted sum of `count[y]` rows of `pixels` [H, N]."""
    length = resized.shape[1]
    sums = np.empty(length, np.int32)
    for y in range(resized.shape[0]):
        for i in range(length):
            sums[i] = _HALF
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
            resized[y, i] = min(max(sums[i] >> _WEIGHT_BITS, 0), 255)


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
def _resize_columns_into(resized, pixels, first, count, weights):
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
        _resize_rows_into(new_columns, columns, first, count, weights)
        for group in range(groups):
            for j in range(8):
                for i in range(new_words):
                    new_strip[8 * group + j, i] = new_turned[8 * i + j, group]
        _transpose_bytes(new_strip)
        for y in range(height):
            for i in range(new_length):
                resized[begin + y, i] = new_strip_bytes[y, i]
