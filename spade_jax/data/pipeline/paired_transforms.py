"""Bringing a photograph, its label map and its instance map to the training size, always together.

Every operation is a pure function of its arguments; where to crop and whether to mirror is decided by the caller. Resampling is Pillow's: bicubic
(antialiased when it shrinks) for photographs and conditions in colour, nearest for label and instance maps, bit for bit.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from PIL import Image

from spade_jax.config.data_config import CROPPING_MODES, DataConfig
from spade_jax.errors import UserError

POWER_OF_TWO_BASE = 32  # The grid of `preprocess_mode=none`.


class Example(NamedTuple):
    """One picture as it lies in the data set.

    image: [H', W', 3] uint8, red green blue; None where only the label map is known. It shows the same as the label map, and mostly at the same size;
      both are scaled to the size that follows from the label map's.
    label: [H, W] uint8, uint16 or int32 class ids; or [H, W, 3] uint8, a condition in colour, which is scaled like a photograph.
    instance: [H, W] uint8, uint16 or int32 instance ids; None where the run does not use them.
    """

    image: np.ndarray | None
    label: np.ndarray
    instance: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How pictures of any size become pictures of one size.

    Attributes:
      mode: one of `config.PREPROCESS_MODES`.
      load_size: width (or, for scale_shortside, shorter side) in pixels to which pictures are scaled before the crop.
      width, height: size of the result in pixels.
      reference_faults: do as the published implementation where it is wrong, for parity tests: scale_shortside leaves the shorter side as it is
        and stretches the longer one; resize_and_crop scales to a square whatever the aspect ratio; where the crop reaches beyond the picture
        there is black and id 0; and 16-bit maps are resampled by a rule of their own (see `resize_ids`).
      prescaled: pictures come at the size to which this geometry scales, so they are only cropped and mirrored.
    """

    mode: str
    load_size: int
    width: int
    height: int
    reference_faults: bool = False
    prescaled: bool = False

    @classmethod
    def from_config(cls, config: DataConfig) -> Geometry:
        return cls(
            config.preprocess_mode,
            config.load_size,
            config.image_width,
            config.image_height,
            config.reference_faults,
        )

    @property
    def crops(self) -> bool:
        return self.mode in CROPPING_MODES

    def already_scaled(self) -> Geometry:
        """This geometry for pictures that went through `scale`."""
        return dataclasses.replace(self, prescaled=True)


def scaled_size(geometry: Geometry, width: int, height: int) -> tuple[int, int]:
    """Width and height to which a picture of `width` x `height` is scaled before it is cropped."""
    if geometry.prescaled:
        return width, height
    load_size = geometry.load_size
    match geometry.mode:
        case 'resize_and_crop':
            return load_size, load_size if geometry.reference_faults else round(
                load_size * geometry.height / geometry.width
            )
        case 'scale_width' | 'scale_width_and_crop':
            return load_size, int(load_size * height / width)
        case 'scale_shortside' | 'scale_shortside_and_crop':
            return _scaled_shortside(geometry, width, height)
        case 'fixed':
            return geometry.width, geometry.height
        case 'none':
            return _to_grid(width), _to_grid(height)
        case 'crop':
            return width, height
    raise ValueError(f'unknown preprocess_mode {geometry.mode}')


def crop_room(geometry: Geometry, width: int, height: int) -> tuple[int, int]:
    """The largest crop position (x, y) that a picture of `width` x `height` allows; (0, 0) for the modes that do not crop.

    Raises:
      UserError: when the picture cannot be brought to the size of the result: it is smaller than the crop, or of another size without a crop.
    """
    scaled_width, scaled_height = scaled_size(geometry, width, height)
    room = scaled_width - geometry.width, scaled_height - geometry.height
    if geometry.reference_faults:
        return max(0, room[0]), max(0, room[1])
    if geometry.crops and min(room) < 0 or not geometry.crops and room != (0, 0):
        raise UserError(_misfit(geometry, (width, height), (scaled_width, scaled_height)))
    return room


def transform(
    example: Example,
    geometry: Geometry,
    crop_position: tuple[int, int] = (0, 0),
    flip: bool = False,
) -> Example:
    """Scales, crops at `crop_position` (x, y; left and top) and, with `flip`, mirrors left and right.

    Label and instance ids come out as they went in, with their dtype. Only the pixels of the crop are computed.

    Raises:
      UserError: when the picture cannot be brought to the size of the result.
      ValueError: when the crop does not lie inside the scaled picture.
    """
    height, width = example.label.shape[:2]
    size, room = scaled_size(geometry, width, height), crop_room(geometry, width, height)
    if not geometry.reference_faults and not (
        0 <= crop_position[0] <= room[0] and 0 <= crop_position[1] <= room[1]
    ):
        raise ValueError(f'crop position {crop_position} is outside (0, 0) to {room}')
    left, top = crop_position
    inside = left, top, min(geometry.width, size[0] - left), min(geometry.height, size[1] - top)

    def finish(pixels):
        if pixels is None:
            return None
        scaled = _scaled_window(pixels, size, inside, flip, geometry.reference_faults)
        return _padded(scaled, geometry, flip) if geometry.reference_faults else scaled

    return Example(*map(finish, example))


def scale(example: Example, geometry: Geometry) -> Example:
    """The first half of `transform`: only scales, to what `transform` with `geometry.already_scaled()` then crops and mirrors."""
    height, width = example.label.shape[:2]
    size = scaled_size(geometry, width, height)

    def scaled(pixels):
        return (
            None
            if pixels is None
            else _scaled_window(pixels, size, (0, 0, *size), False, geometry.reference_faults)
        )

    return Example(*map(scaled, example))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photograph [H, W, 3] uint8 scaled to `size` (width, height), bicubic."""
    return _scaled_window(image, size, (0, 0, *size))


def resize_ids(
    ids: np.ndarray, size: tuple[int, int], reference_faults: bool = False
) -> np.ndarray:
    """A map of ids [H, W] (uint8, uint16 or int32) scaled to `size` (width, height), nearest: no id appears that was not there.

    Pillow rounds the source coordinate in its 16-bit mode otherwise than in its 8-bit and 32-bit modes, so that at some sizes a 16-bit instance
    map would shift by a pixel against an 8-bit label map. Here every map takes the same pixels, unless `reference_faults` asks for that shift.
    """
    return _scaled_window(ids, size, (0, 0, *size), reference_faults=reference_faults)


def _scaled_window(
    pixels: np.ndarray,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    flip: bool = False,
    reference_faults: bool = False,
) -> np.ndarray:
    """The window (left, top, width, height) of a picture or map of ids that was scaled to `size`, mirrored with `flip`."""
    if pixels.shape[1::-1] != size:
        if pixels.dtype != np.uint16 or not reference_faults:
            from spade_jax.data.files import resampling

            return (resampling.bicubic if pixels.ndim == 3 else resampling.nearest)(
                pixels, size, window, flip
            )
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))
    left, top, width, height = window
    pixels = pixels[top : top + height, left : left + width]
    return _mirrored(pixels) if flip else np.ascontiguousarray(pixels)


def _mirrored(pixels: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, 3], left and right exchanged. Channel by channel, since NumPy is slow where a row is made of short pieces."""
    mirrored = np.empty_like(pixels, order='C')
    for channel in range(3) if pixels.ndim == 3 else [...]:
        mirrored[:, :, channel] = pixels[:, ::-1, channel]
    return mirrored


def _padded(pixels: np.ndarray, geometry: Geometry, flip: bool) -> np.ndarray:
    """Black and id 0 at the bottom and, before mirroring, on the right, up to the size of the result."""
    missing_rows, missing_columns = (
        geometry.height - pixels.shape[0],
        geometry.width - pixels.shape[1],
    )
    columns = (missing_columns, 0) if flip else (0, missing_columns)
    return np.pad(pixels, [(0, missing_rows), columns] + [(0, 0)] * (pixels.ndim - 2))


def _scaled_shortside(geometry: Geometry, width: int, height: int) -> tuple[int, int]:
    shorter, longer = min(width, height), max(width, height)
    if shorter == geometry.load_size:
        return width, height
    scaled_longer = int(geometry.load_size * longer / shorter)
    scaled_shorter = shorter if geometry.reference_faults else geometry.load_size
    return (scaled_shorter, scaled_longer) if width == shorter else (scaled_longer, scaled_shorter)


def _to_grid(side: int) -> int:
    return round(side / POWER_OF_TWO_BASE) * POWER_OF_TWO_BASE


def _misfit(geometry: Geometry, size: tuple[int, int], scaled: tuple[int, int]) -> str:
    source, result, target = (
        f'{width}x{height}' for width, height in (size, scaled, (geometry.width, geometry.height))
    )
    if geometry.prescaled:
        return (
            f'a prepared picture of {source} does not fit preprocess_mode={geometry.mode} with a result of {target}; '
            f'prepare the pictures anew with the flags of this run'
        )
    if not geometry.crops:
        return (
            f'preprocess_mode={geometry.mode} turns this picture of {source} into {result}, but the configuration (crop_size, '
            f'aspect_ratio) is for {target}; use --preprocess_mode=fixed, which scales every picture to {target}'
        )
    if geometry.mode == 'crop':
        return f'a picture of {source} is smaller than the crop of {target}; use a smaller --crop_size or --preprocess_mode=resize_and_crop'
    return (
        f'a picture of {source} is scaled to {result}, which is smaller than the crop of {target}; use a larger --load_size or '
        f'--preprocess_mode=resize_and_crop'
    )
