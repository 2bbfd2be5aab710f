"""Scale, crop and mirror an image, its label map and its instance map together.

Every function is pure: the caller decides where to crop and whether to mirror. Resampling equals
Pillow's to the bit: bicubic (antialiased when it shrinks) for images, nearest for ids.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from spade_jax.config.data_config import CROPPING_MODES, DataConfig
from spade_jax.data.files import resampling
from spade_jax.errors import UserError

POWER_OF_TWO_BASE = 32  # The grid of `preprocess_mode=none`.


class Example(NamedTuple):
    """An image with its label map, as the data set has them.

    Attributes:
      image: [H', W', 3] uint8, scaled to the size that follows from the label map; or None.
      label: [H, W] uint8, uint16 or int32 class ids; or [H, W, 3] uint8, an RGB condition; or
        [H, W, 0] uint8 without a condition: it still has the size.
      instance: [H, W] uint8, uint16 or int32 instance ids; None if the run does not use them.
    """

    image: np.ndarray | None
    label: np.ndarray
    instance: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How images of any size become images of one size.

    Attributes:
      mode: One of `PREPROCESS_MODES`.
      load_size: Width (scale_shortside: shorter side) in pixels before the crop.
      width, height: Size of the result in pixels.
      prescaled: True if images went through `scale`; they are only cropped and mirrored.
    """

    mode: str
    load_size: int
    width: int
    height: int
    prescaled: bool = False

    @classmethod
    def from_config(cls, config: DataConfig, prescaled: bool = False) -> Self:
        """Return the geometry of a configuration."""
        size = config.image_width, config.image_height
        return cls(config.preprocess_mode, config.load_size, *size, prescaled)

    @property
    def crops(self) -> bool:
        return self.mode in CROPPING_MODES


def scaled_size(geometry: Geometry, width: int, height: int) -> tuple[int, int]:
    """Return the width and height to which a `width` x `height` image is scaled before the crop."""
    if geometry.prescaled:
        return width, height
    load_size = geometry.load_size
    match geometry.mode:
        case 'resize_and_crop':
            return load_size, round(load_size * geometry.height / geometry.width)
        case 'scale_width' | 'scale_width_and_crop':
            return load_size, int(load_size * height / width)
        case 'scale_shortside' | 'scale_shortside_and_crop':
            longer = int(load_size * max(width, height) / min(width, height))
            return (load_size, longer) if width <= height else (longer, load_size)
        case 'fixed':
            return geometry.width, geometry.height
        case 'none':
            base = POWER_OF_TWO_BASE
            return round(width / base) * base, round(height / base) * base
        case 'crop':
            return width, height
    raise ValueError(f'unknown preprocess_mode {geometry.mode}')


def max_crop_offset(geometry: Geometry, width: int, height: int) -> tuple[int, int]:
    """Return the largest crop offset (x, y) of a `width` x `height` image; (0, 0) without a crop.

    Raises:
      UserError: The scaled image is smaller than the crop or, without a crop, of another size.
    """
    scaled = scaled_size(geometry, width, height)
    offset = scaled[0] - geometry.width, scaled[1] - geometry.height
    if geometry.crops and min(offset) < 0 or not geometry.crops and offset != (0, 0):
        raise _misfit(geometry, (width, height), scaled)
    return offset


def transform(
    example: Example, geometry: Geometry, crop_offset: tuple[int, int] = (0, 0), flip: bool = False
) -> Example:
    """Scale, crop at `crop_offset` (x, y of the upper left corner) and, with `flip`, mirror.

    Ids and their dtypes are kept. Only the pixels of the crop are computed.

    Raises:
      UserError: The image cannot be brought to the size of the result.
      ValueError: The crop is not inside the scaled image.
    """
    width, height = example.label.shape[1::-1]
    (x, y), (max_x, max_y) = crop_offset, max_crop_offset(geometry, width, height)
    if not (0 <= x <= max_x and 0 <= y <= max_y):
        raise ValueError(f'crop offset {crop_offset} is outside (0, 0) to {max_x, max_y}')
    size = scaled_size(geometry, width, height)
    window = x, y, geometry.width, geometry.height
    return _map_parts(example, lambda pixels: _scaled_window(pixels, size, window, flip))


def scale(example: Example, geometry: Geometry) -> Example:
    """Scale without cropping; `transform` with a prescaled geometry does the rest."""
    size = scaled_size(geometry, *example.label.shape[1::-1])
    return _map_parts(example, lambda pixels: _scaled_window(pixels, size, (0, 0, *size)))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image [H, W, 3] uint8 to `size` (width, height), bicubic."""
    return _scaled_window(image, size, (0, 0, *size))


def resize_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale ids [H, W] to `size` (width, height): the nearest pixels, the same for all dtypes."""
    return _scaled_window(ids, size, (0, 0, *size))


def _map_parts(example: Example, function: Callable[[np.ndarray], np.ndarray]) -> Example:
    parts: list[Any] = [None if pixels is None else function(pixels) for pixels in example]
    return Example(*parts)


def _scaled_window(
    pixels: np.ndarray, size: tuple[int, int], window: tuple[int, int, int, int], flip: bool = False
) -> np.ndarray:
    """The window (left, top, width, height) of pixels scaled to `size`, mirrored with `flip`."""
    left, top, width, height = window
    if not pixels.size:  # The condition of a model that has none.
        return np.zeros((height, width, 0), pixels.dtype)
    if pixels.shape[1::-1] != size:
        resample = resampling.bicubic if pixels.ndim == 3 else resampling.nearest
        return resample(pixels, size, window, flip)
    pixels = pixels[top : top + height, left : left + width]
    if not flip:
        return np.ascontiguousarray(pixels)
    mirrored = np.empty_like(pixels, order='C')
    # NumPy is slow for rows that consist of short pieces.
    for channel in range(3) if pixels.ndim == 3 else [...]:
        mirrored[:, :, channel] = pixels[:, ::-1, channel]
    return mirrored


def _misfit(geometry: Geometry, size: tuple[int, int], scaled: tuple[int, int]) -> UserError:
    """The error of an image that cannot be brought to the size of the result."""
    sizes = size, scaled, (geometry.width, geometry.height)
    source, result, target = (f'{width}x{height}' for width, height in sizes)
    mode = f'preprocess_mode={geometry.mode}'
    if geometry.prescaled:
        problem = f'a prepared image of {source} does not fit {mode} with a result of {target}'
        return UserError(problem, 'prepare the images again with the flags of this run')
    if not geometry.crops:
        problem = f'{mode} scales this image of {source} to {result}, but the configuration '
        problem += f'(crop_size, aspect_ratio) is for {target}'
        return UserError(problem, f'use --preprocess_mode=fixed, which scales all to {target}')
    is_scaled, flag = f'is scaled to {result}, which ', 'larger --load_size'
    if geometry.mode == 'crop':
        is_scaled, flag = '', 'smaller --crop_size'
    problem = f'an image of {source} {is_scaled}is smaller than the crop of {target}'
    return UserError(problem, f'use a {flag} or --preprocess_mode=resize_and_crop')
