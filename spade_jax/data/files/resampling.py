"""Resize as Pillow does, bit for bit, but compute only the window that a crop keeps.

Pillow resizes pixels that the crop discards. The plain form is here; with Numba, which the extra
`train` brings, `compiled_resampling` computes the same bits several times faster.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

# Weights are integers, 1.0 = 2**22: with 8 bits of a pixel and 2 for overshoot they fill 32 bits.
WEIGHT_BITS = 22
HALF = 1 << (WEIGHT_BITS - 1)
_SUPPORT = 2.0  # Radius of the bicubic kernel, in pixels of the coarser image.
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
    into_rows, into_columns = kernels()
    passes = []
    if source_width != size[0] or flip:
        passes.append((into_columns, columns))
    if source_height != size[1]:
        passes.append((into_rows, rows))
    # Pixels are rounded to 8 bits between the passes, so their order shows. This is the rule of
    # Pillow 13; older versions always begin with the columns.
    if source_height - size[1] > max(0, 2 * (source_width - size[0])):
        passes.reverse()
    for resize_into, taps in passes:
        is_rows = resize_into is into_rows
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
        weights = np.full((target, 1), 1 << WEIGHT_BITS)
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
        weights *= 1 << WEIGHT_BITS
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


def resize_rows_into(resized, pixels, first, count, weights):
    """Row y of `resized` [h, N] is the weighted sum of `count[y]` rows of `pixels` [H, N]."""
    sums = np.full(resized.shape, HALF, np.int32)
    for tap in range(count.max()):
        rows = np.minimum(first + tap, len(pixels) - 1)  # Beyond `count`, weights are 0.
        sums += weights[:, tap, None] * pixels[rows]
    resized[:] = np.clip(sums >> WEIGHT_BITS, 0, 255)


def resize_columns_into(resized, pixels, first, count, weights):
    """Resize `pixels` [H, 3 W] to `resized` [H, 3 w]: transposed, and back."""
    height = len(pixels)
    columns = pixels.reshape(height, -1, 3).swapaxes(0, 1).reshape(-1, 3 * height)  # [W, 3 H]
    new_columns = np.empty((len(first), 3 * height), np.uint8)
    resize_rows_into(new_columns, columns, first, count, weights)
    resized[:] = new_columns.reshape(-1, height, 3).swapaxes(0, 1).reshape(height, -1)


@functools.cache
def kernels():
    """The functions that resize rows and columns: compiled ones if Numba can be imported."""
    try:
        # Compiles: seconds at first, half a second from its cache.
        from spade_jax.data.files import compiled_resampling as compiled
    except ImportError:
        return resize_rows_into, resize_columns_into
    return compiled.resize_rows_into, compiled.resize_columns_into
