"""Reading one picture or one map of ids from a file, strictly: whatever is wrong is a UserError that names the file and the remedy."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from spade_jax.data.files.png_integrity import check_png
from spade_jax.errors import UserError

PHOTO_EXTENSIONS = frozenset({'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff'})
ID_EXTENSIONS = frozenset({'.png', '.bmp', '.tif', '.tiff', '.gif'})
LOSSY_EXTENSIONS = frozenset({'.jpg', '.jpeg', '.webp'})

_LOSSY_FORMATS = frozenset({'JPEG', 'MPO', 'WEBP'})
_COLOR_MODES = frozenset({'RGB', 'RGBA', 'P', 'PA'})
_ID_MODES = frozenset({'1', 'L', 'P', 'I', 'I;16', 'I;16B'})
_DEEP_MODES = frozenset({'I', 'F', 'I;16', 'I;16B'})
# Pillow spreads 2-bit and 4-bit grays over 0..255; divided by the step, they are the ids of the file again.
_GRAY_STEPS = {'L;2': 85, 'L;4': 17}
_EXIF_ORIENTATION = 0x0112
_FIRST_TURNED_ORIENTATION = 5  # From here on, EXIF orientations exchange width and height.


def read_photo(
    path: str | io.BytesIO, expected_size: tuple[int, int] | None = None, role: str = 'photograph'
) -> np.ndarray:
    """A photograph, or any other picture, as [H, W, 3] uint8.

    Args:
      path: a picture of 8 bits a channel, of any colour mode.
      expected_size: (width, height) of its label map. A photograph that has this size only when it is turned as its EXIF data say, is turned;
        in every other case EXIF data are ignored, as by the tools that draw label maps on the stored pixels.
      role: what to call it in a message.

    Raises:
      UserError: when it cannot be read, has more than 8 bits a channel, or is transparent somewhere.
    """
    with _whole(path, role) as image:
        if image.mode in _DEEP_MODES:
            raise UserError(
                f'{path}: the {role} has more than 8 bits a channel (mode {image.mode})',
                'save it with 8 bits',
            )
        if _is_turned(image, expected_size):
            image = ImageOps.exif_transpose(image)
        elif (pixels := _ordinary_jpeg(image)) is not None:
            return pixels
        return _opaque_rgb(image, path, role)


def photo_size(
    path: str | io.BytesIO, expected_size: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Width and height of what `read_photo` would return, from the header alone. Raises UserError when there is no legible header."""
    with _opened(path, 'photograph') as image:
        return expected_size if _is_turned(image, expected_size) else image.size


def read_ids(
    path: str | io.BytesIO, role: str = 'label map', *, thorough: bool = True
) -> np.ndarray:
    """A map of class or instance ids as [H, W] uint8, uint16 (16-bit files) or int32 (32-bit files). The ids of a palette picture are its indices.

    Args:
      path: a picture of one channel that was stored without loss.
      role: what to call it in a message.
      thorough: False for a file whose pixels were counted before, see `png_integrity`.

    Raises:
      UserError: when it cannot be read, has colours instead of ids, or was stored with loss.
    """
    with _whole(path, role, thorough) as image:
        _refuse_lossy(image, path, role)
        return _ids(image, path, role)


def read_ids_or_colors(
    path: str | io.BytesIO, role: str = 'label map', *, thorough: bool = True
) -> np.ndarray:
    """A map as ids, as `read_ids` has them and with its arguments, or where it has colours (also by way of indices) as [H, W, 3] uint8.

    Raises:
      UserError: when it cannot be read, is transparent somewhere, or was stored with loss.
    """
    with _whole(path, role, thorough) as image:
        _refuse_lossy(image, path, role)
        if image.mode not in _COLOR_MODES:
            return _ids(image, path, role)
        return _opaque_rgb(image, path, role)


def _ordinary_jpeg(image: Image.Image) -> np.ndarray | None:
    """The colours [H, W, 3] uint8 of a sound JPEG file with the usual colour space, in half of Pillow's time and to the same bits; None of any other file.

    What this decoder objects to is left to Pillow, which takes files with harmless faults and refuses those that are cut off.
    """
    if image.format != 'JPEG':
        return None
    import simplejpeg

    content = image.fp.getvalue()
    try:
        if simplejpeg.decode_jpeg_header(content)[2] in ('YCbCr', 'Gray'):
            return simplejpeg.decode_jpeg(content, 'RGB')
    except ValueError:
        pass
    return None


def _opaque_rgb(image: Image.Image, path: str | io.BytesIO, role: str) -> np.ndarray:
    """The colours [H, W, 3] uint8 of a picture. What lies under a transparent pixel nobody has seen, so it is no data to learn from."""
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == 'RGB' else image.convert('RGB'))
    colors = np.asarray(image.convert('RGBA'))
    if (colors[..., 3] != 255).any():
        y, x = np.argwhere(colors[..., 3] != 255)[0]
        raise UserError(
            f'{path}: pixel (x={x}, y={y}) of the {role} is transparent',
            'save it without transparency',
        )
    return np.ascontiguousarray(colors[..., :3])


def _refuse_lossy(image: Image.Image, path: str | io.BytesIO, role: str) -> None:
    if image.format in _LOSSY_FORMATS:
        raise UserError(
            f'{path}: {image.format} is a lossy format, so the ids of the {role} are not exact',
            'make the map anew as PNG',
        )


def _ids(image: Image.Image, path: str | io.BytesIO, role: str) -> np.ndarray:
    if image.mode not in _ID_MODES:
        raise UserError(
            f'{path}: the {role} is a {image.mode} picture, not one channel of ids',
            'a colour mask needs a palette, --palette=FILE, that tells the class of each colour; ids belong into an 8-bit or 16-bit gray PNG',
        )
    gray_step = _GRAY_STEPS.get(_raw_mode(image))
    ids = np.asarray(image)
    if ids.dtype == bool:
        return ids.astype(np.uint8)
    if gray_step:
        return ids // gray_step
    return ids.astype(ids.dtype.newbyteorder('='), copy=False)


@contextlib.contextmanager
def _opened(path: str | io.BytesIO, role: str) -> Iterator[Image.Image]:
    """The Pillow image of a file, whose pixels are not read yet."""
    with _as_user_errors(path, role), Image.open(path) as image:
        yield image


@contextlib.contextmanager
def _whole(path: str | io.BytesIO, role: str, thorough: bool = True) -> Iterator[Image.Image]:
    """The Pillow image of a file that was read as a whole and, where its format allows, found whole."""
    with _as_user_errors(path, role):
        if isinstance(path, str):
            with open(path, 'rb') as file:
                content = file.read()
        else:
            content = path.getvalue()
        with Image.open(io.BytesIO(content)) as image:
            if image.format == 'PNG':
                check_png(content, rows=thorough)
            yield image


@contextlib.contextmanager
def _as_user_errors(path: str | io.BytesIO, role: str) -> Iterator[None]:
    """Whatever is raised within becomes a UserError, for Pillow raises a dozen kinds on a damaged file."""
    if isinstance(path, str) and not os.path.isfile(path):  # also a pipe, which would never end
        raise UserError(
            f'{path}: the {role} is {"not a file" if os.path.lexists(path) else "gone"}',
            'put the file back or remove the example',
        )
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = (
            'not an image file'
            if isinstance(error, Image.UnidentifiedImageError)
            else ' '.join(str(error).split())
        )
        raise UserError(
            f'{path}: the {role} cannot be read ({reason or type(error).__name__})',
            'replace the file or remove the example',
        ) from error


def _is_turned(image: Image.Image, expected_size: tuple[int, int] | None) -> bool:
    if expected_size is None or image.size == expected_size or image.size[::-1] != expected_size:
        return False
    return image.getexif().get(_EXIF_ORIENTATION, 1) >= _FIRST_TURNED_ORIENTATION


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, for example 'L;4'; to be asked before they are loaded."""
    arguments = image.tile[0][3] if image.tile else ''
    return arguments[0] if isinstance(arguments, tuple) and arguments else arguments or ''
