"""Read images and maps of ids from files, strictly: a bad file is a UserError with its name."""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import cast

import numpy as np
from PIL import Image, ImageFile, ImageOps

from spade_jax.data.files.png_integrity import check_png
from spade_jax.errors import UserError, user_errors

PHOTO_EXTENSIONS = frozenset({'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff'})
ID_EXTENSIONS = frozenset({'.png', '.bmp', '.tif', '.tiff', '.gif'})
LOSSY_EXTENSIONS = frozenset({'.jpg', '.jpeg', '.webp'})

# A file: its path, or its content, whose `str()` is then the name that errors use.
File = str | io.BytesIO
Size = tuple[int, int]  # Width, height.

_LOSSY_FORMATS = frozenset({'JPEG', 'MPO', 'WEBP'})
_COLOR_MODES = frozenset({'RGB', 'RGBA', 'P', 'PA'})
_ID_MODES = frozenset({'1', 'L', 'P', 'I', 'I;16', 'I;16B'})
_DEEP_MODES = frozenset({'I', 'F', 'I;16', 'I;16B'})
# Pillow scales 2-bit and 4-bit grays to 0..255; divided by the step they are the stored ids again.
_GRAY_STEPS = {'L;2': 85, 'L;4': 17}
_EXIF_ORIENTATION = 0x0112


def read_photo(path: File, expected_size: Size | None = None, role: str = 'photo') -> np.ndarray:
    """Read a photo (or other image) with 8 bits a channel, none transparent, as [H, W, 3] uint8.

    Args:
      path: The file.
      expected_size: (width, height) of the label map. As annotation tools ignore the EXIF rotation,
        it is applied only if it gives the image this size.
      role: What errors call the file.
    """
    with _checked(path, role) as image:
        if image.mode in _DEEP_MODES:
            problem = f'{path}: the {role} has more than 8 bits a channel (mode {image.mode})'
            raise UserError(problem, 'save it with 8 bits')
        if _is_rotated(image, expected_size):
            image = ImageOps.exif_transpose(image)
        elif (pixels := _plain_jpeg(image)) is not None:
            return pixels
        return _opaque_rgb(image, path, role)


def photo_size(path: File, expected_size: Size | None = None) -> Size:
    """Return the width and height of `read_photo`'s result; reads the header only."""
    with _user_errors(path, 'photo'), _open(path) as image:
        width, height = image.size
        return (height, width) if _is_rotated(image, expected_size) else (width, height)


def read_ids(path: File, role: str = 'label map', *, thorough: bool = True) -> np.ndarray:
    """Read a lossless map of ids as [H, W] uint8, uint16 (16-bit files) or int32 (32-bit files).

    Args:
      path: A file with one channel; the ids of an indexed image are its indices.
      role: What errors call the map.
      thorough: False skips the pixel count of PNG files (`check_png`), if it passed before.
    """
    with _checked(path, role, thorough=thorough, lossless=True) as image:
        return _ids(image, path, role)


def read_ids_or_colors(path: File, role: str = 'label map', *, thorough: bool = True) -> np.ndarray:
    """Read a map as ids like `read_ids`, or if it has (indexed) colors, as [H, W, 3] uint8."""
    with _checked(path, role, thorough=thorough, lossless=True) as image:
        return (_opaque_rgb if image.mode in _COLOR_MODES else _ids)(image, path, role)


def _plain_jpeg(image: ImageFile.ImageFile) -> np.ndarray | None:
    """Decode a JPEG file of the usual color space to Pillow's bits, twice as fast; else None."""
    if image.format == 'JPEG':
        content = cast(io.BytesIO, image.fp).getvalue()
        # Pillow reads files with harmless faults, and those of an installation without `train`.
        with contextlib.suppress(ValueError, ImportError):
            import simplejpeg

            if simplejpeg.decode_jpeg_header(content)[2] in ('YCbCr', 'Gray'):
                return simplejpeg.decode_jpeg(content, 'RGB')
    return None


def _opaque_rgb(image: Image.Image, path: File, role: str) -> np.ndarray:
    """Return the colors [H, W, 3] uint8; reject transparency, whose colors are arbitrary."""
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == 'RGB' else image.convert('RGB'))
    colors = np.asarray(image.convert('RGBA'))
    if (colors[..., 3] != 255).any():
        y, x = np.argwhere(colors[..., 3] != 255)[0]
        problem = f'{path}: pixel (x={x}, y={y}) of the {role} is transparent'
        raise UserError(problem, 'save it without transparency')
    return np.ascontiguousarray(colors[..., :3])


def _ids(image: ImageFile.ImageFile, path: File, role: str) -> np.ndarray:
    if image.mode not in _ID_MODES:
        problem = f'{path}: the {role} has the mode {image.mode}, not one channel of ids'
        raise UserError(problem, 'save ids as gray PNG; a color mask needs --palette=FILE')
    stored = image.tile[0][3] if image.tile else None  # How: 'L;4' or ('L;4', ...). Gone when read.
    step = _GRAY_STEPS.get(str(stored[0] if isinstance(stored, tuple) and stored else stored))
    ids = np.asarray(image)
    if ids.dtype == bool:
        return ids.astype(np.uint8)
    return ids // step if step else ids.astype(ids.dtype.newbyteorder('='), copy=False)


@contextlib.contextmanager
def _checked(
    path: File, role: str, *, thorough: bool = True, lossless: bool = False
) -> Iterator[ImageFile.ImageFile]:
    """Open a file that is read completely and, if it is PNG, checked for damage."""
    with _user_errors(path, role):
        content = pathlib.Path(path).read_bytes() if isinstance(path, str) else path.getvalue()
        with _open(io.BytesIO(content)) as image:
            if image.format == 'PNG':
                check_png(content, rows=thorough)
            if lossless and image.format in _LOSSY_FORMATS:
                lossy = f'{image.format} is a lossy format'
                problem = f'{path}: {lossy}, so the ids of the {role} are inexact'
                raise UserError(problem, 'recreate the map as PNG')
            yield image


def _user_errors(path: File, role: str) -> contextlib.AbstractContextManager:
    """Turn exceptions into UserErrors: Pillow raises a dozen kinds for damaged files."""
    if isinstance(path, str) and not os.path.isfile(path):  # A pipe would block forever.
        reason = 'not a file' if os.path.lexists(path) else 'missing'
        raise UserError(f'{path}: the {role} is {reason}', 'restore it or remove the example')
    remedy = 'replace the file or remove the example'
    return user_errors(f'{path}: the {role} cannot be read', remedy)


def _open(path: File) -> ImageFile.ImageFile:
    try:
        return Image.open(path)
    except Image.UnidentifiedImageError:
        raise ValueError('not an image file') from None


def _is_rotated(image: Image.Image, expected_size: Size | None) -> bool:
    if image.size == expected_size or image.size[::-1] != expected_size:
        return False
    return image.getexif().get(_EXIF_ORIENTATION, 1) >= 5  # These exchange width and height.
