"""Read images and maps of ids from files, strictly: a bad file is a UserError with its name."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from spade_jax.data.files.png_integrity import check_png
from spade_jax.errors import UserError, user_errors
from spade_jax.files.whole_file import read_file

PHOTO_EXTENSIONS = frozenset({'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff'})
ID_EXTENSIONS = frozenset({'.png', '.bmp', '.tif', '.tiff', '.gif'})
LOSSY_EXTENSIONS = frozenset({'.jpg', '.jpeg', '.webp'})
# Formats of photos and label maps that are not read, but named.
UNREAD_EXTENSIONS = ('.npy', '.npz', '.mat', '.nii', '.nii.gz', '.dcm', '.heic', '.heif', '.avif')


class NamedContent(io.BytesIO):
    """The content of a file that has no path here.

    Attributes:
      formats: Pillow's names of the formats that are read; None: all.
    """

    def __init__(self, content: bytes, name: str, formats: tuple[str, ...] | None = None):
        """Hold the content of a file; errors use `name`."""
        super().__init__(content)
        self._name, self.formats = name, formats

    def __str__(self) -> str:
        return self._name


# A file: its path, or its content, whose `str()` is then the name that errors use.
File = str | io.BytesIO
Size = tuple[int, int]  # Width, height.
Colors = Mapping[int, int]  # 0xrrggbb of each index that an indexed image uses.

SIDEWAYS = 5  # From this EXIF orientation on, width and height are exchanged.
# 16384x16384 pixels. Pillow's own limit refuses tiles of maps and of microscopes.
MOST_PIXELS = Image.MAX_IMAGE_PIXELS = 1 << 28

_LOSSY_FORMATS = frozenset({'JPEG', 'MPO', 'WEBP'})
_COLOR_MODES = frozenset({'RGB', 'RGBA', 'P', 'PA'})
_ALPHA_MODES = frozenset({'LA', 'RGBA'})
TRANSPARENT_CODE = 1 << 24  # Of `color_codes`: above all colors.
_ID_MODES = frozenset({'1', 'L', 'P', 'I', 'I;16', 'I;16B', 'F'})
_DEEP_MODES = frozenset({'I', 'F', 'I;16', 'I;16B'})
# Pillow scales 2-bit and 4-bit grays to 0..255; divided by the step they are the stored ids again.
_GRAY_STEPS = {'L;2': 85, 'L;4': 17}
_ALWAYS_INDEXED = frozenset({'BMP', 'GIF'})  # Pillow reads a palette of all grays as gray.
_EXIF_ORIENTATION, _TIFF_BITS, _TIFF_KIND, _TIFF_MASK = 0x0112, 258, 254, 4
_TIFF_SIGNATURES = b'II*\0', b'MM\0*'
_EXIF_FIELDS = frozenset({'exif', 'Raw profile type exif', 'xmp', 'XML:com.adobe.xmp'})


def named(file: File) -> File:
    """Return a file whose `str()` is a name for errors; content without a path has none itself."""
    return NamedContent(file.getvalue(), 'the file') if type(file) is io.BytesIO else file


def read_photo(path: File, expected_size: Size | None = None, role: str = 'photo') -> np.ndarray:
    """Read a photo (or other image) with 8 bits a channel, none transparent, as [H, W, 3] uint8.

    Args:
      path: The file.
      expected_size: (width, height) of the label map. The photo is turned as its EXIF orientation
        says, which is how viewers show it, unless only the stored pixels have this shape.
      role: What errors call the file.
    """
    path = named(path)
    with _checked(path, role) as image:
        _require_8_bits(image, path, role)
        if _is_turned(image, expected_size):
            image = ImageOps.exif_transpose(image)
        elif (pixels := _plain_jpeg(image)) is not None:
            return pixels
        return _opaque_rgb(image, path, role)


def photo_size(path: File, expected_size: Size | None = None) -> Size:
    """Return the width and height of `read_photo`'s result; reads the header only."""
    path = named(path)
    with _user_errors(path, 'photo'), _open(path) as image:
        _require_8_bits(image, path, 'photo')
        return _turned_size(image) if _is_turned(image, expected_size) else image.size


def is_copy(size: Size, other: Size) -> bool:
    """Return whether an image of one size can be a scaled image of the other, rounded."""
    return abs(size[0] * other[1] - size[1] * other[0]) < max(*size, *other)


def exif_orientation(path: File) -> int:
    """Return how `read_photo` turns a photo without an expected size: 1 (upright) to 8."""
    path = named(path)
    with _user_errors(path, 'photo'), _open(path) as image:
        if isinstance(image, TiffImageFile):
            return image.tag_v2.get(_EXIF_ORIENTATION, 1)
        return _orientation(image)


def read_ids(
    path: File,
    role: str = 'label map',
    *,
    thorough: bool = True,
    on_indexed: Callable[[Colors], None] | None = None,
) -> np.ndarray:
    """Read a lossless map of ids as [H, W] uint8, uint16 (16-bit files) or int32 (32-bit files).

    Args:
      path: A file with one channel, or several of equal values, and no transparency; the ids of an
        indexed image are its indices.
      role: What errors call the map.
      thorough: False skips the pixel count of PNG files (`check_png`), if it passed before.
      on_indexed: Receives the colors of an indexed image.
    """
    path = named(path)
    with _checked(path, role, thorough=thorough, lossless=True) as image:
        ids = _ids(image, path, role)
        if on_indexed and (colors := _index_colors(image)):
            on_indexed(colors)
        return ids


def read_ids_or_colors(path: File, role: str = 'label map', *, thorough: bool = True) -> np.ndarray:
    """Read a map as ids like `read_ids`, or if it has (indexed) colors, as those [H, W, 3] uint8.

    Transparent pixels are black; then alpha is a fourth channel, 0 or 255.
    """
    path = named(path)
    with _checked(path, role, thorough=thorough, lossless=True) as image:
        has_colors = image.mode in _COLOR_MODES or image.mode == 'LA' and not _is_opaque(image)
        return (_colors if has_colors else _ids)(image, path, role)


def read_instances(path: File, *, thorough: bool = True) -> np.ndarray:
    """Read an instance map as `read_ids` does; colors are ids as good as any, and become int32."""
    role = 'instance map'
    path = named(path)
    with _checked(path, role, thorough=thorough, lossless=True) as image:
        if image.mode in _ALPHA_MODES | _COLOR_MODES - _ID_MODES:
            codes = color_codes(_colors(image, path, role))
            if thorough and (count := len(np.unique(codes))) > max(255, codes.size // 16):
                problem = f'{path}: the {role} has {count} colors, as many as a photo'
                raise UserError(problem, 'give the directory of the instance maps')
            return codes
        return _ids(image, path, role)


def color_codes(colors: np.ndarray) -> np.ndarray:
    """Convert colors [H, W, 3 or 4] uint8 of `read_ids_or_colors` to 0xrrggbb [H, W] int32."""
    red, green, blue, *alpha = np.moveaxis(colors.astype(np.int32), -1, 0)
    codes = red << 16 | green << 8 | blue
    return np.where(alpha[0] == 0, TRANSPARENT_CODE, codes) if alpha else codes


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


def _colors(image: Image.Image, path: File, role: str) -> np.ndarray:
    """Return colors [H, W, 3] uint8, or with alpha [H, W, 4] if some are transparent, as black."""
    if _is_opaque(image):
        return np.asarray(image.convert('RGB'))
    colors = np.array(image.convert('RGBA'))
    alpha = colors[..., 3]
    if (smooth := (alpha != 0) & (alpha != 255)).any():
        y, x = np.argwhere(smooth)[0]
        problem = f'{path}: pixel (x={x}, y={y}) of the {role} is partly transparent'
        raise UserError(problem, 'save it without transparency or smoothing')
    colors[alpha == 0] = 0
    return colors


def _is_opaque(image: Image.Image) -> bool:
    has_alpha = image.has_transparency_data
    return not has_alpha or image.convert('RGBA').getchannel('A').getextrema() == (255, 255)


def _ids(image: ImageFile.ImageFile, path: File, role: str) -> np.ndarray:
    if image.mode in _ALPHA_MODES | {'RGB'} and _is_opaque(image):  # Gray, saved as colors?
        gray, *others = np.moveaxis(np.asarray(image.convert('RGB')), -1, 0)
        if all((gray == other).all() for other in others):
            return np.ascontiguousarray(gray)
    if image.mode not in _ID_MODES:
        problem = f'{path}: the {role} has the mode {image.mode}, not one channel of ids'
        remedy = 'save ids as gray PNG; a color mask needs --palette=FILE'
        remedy += '' if _is_opaque(image) else ', in which "transparent" is a color'
        raise UserError(problem, remedy)
    step = _GRAY_STEPS.get(_stored_mode(image))
    ids = np.asarray(image)
    if ids.dtype == bool:
        return ids.astype(np.uint8)
    if ids.dtype.kind == 'f':
        return _integers(ids, path, role)
    return ids // step if step else ids.astype(ids.dtype.newbyteorder('='), copy=False)


def _stored_mode(image: ImageFile.ImageFile) -> str:
    """Return how a pixel is stored, such as 'L;4' or 'RGB;16B'; unknown once it is decoded."""
    stored = image.tile[0][3] if image.tile else ''  # 'L;4' or ('L;4', ...).
    return str(stored[0] if isinstance(stored, tuple) and stored else stored)


def _integers(values: np.ndarray, path: File, role: str) -> np.ndarray:
    """Return integral floats [H, W] as int32."""
    is_id = (values == np.rint(values)) & (np.abs(values) < 1 << 31)
    if not is_id.all():
        y, x = np.argwhere(~is_id)[0]
        problem = f'{path}: the {role} holds floats ({values[y, x]} at pixel (x={x}, y={y}))'
        raise UserError(problem, 'store integers')
    return values.astype(np.int32)


def _index_colors(image: ImageFile.ImageFile) -> Colors:
    """Return the color of each index that an indexed image uses; none of other images."""
    used = [value for value, count in enumerate(image.histogram()) if count]
    if image.mode == 'P':
        palette = bytes(image.getpalette('RGB') or ()).ljust(3 * 256, b'\0')
        return {index: int.from_bytes(palette[3 * index : 3 * index + 3], 'big') for index in used}
    if image.mode in ('1', 'L') and image.format in _ALWAYS_INDEXED:
        return {value // (255 if image.mode == '1' else 1): value * 0x010101 for value in used}
    return {}


@contextlib.contextmanager
def _checked(
    path: File, role: str, *, thorough: bool = True, lossless: bool = False
) -> Iterator[ImageFile.ImageFile]:
    """Open a file that is read completely and, if it is PNG, checked for damage."""
    with _user_errors(path, role):
        source = io.BytesIO(read_file(path)) if isinstance(path, str) else path
        with _open(source) as image:
            if image.format == 'PNG':
                check_png(source.getvalue(), rows=thorough)
            if lossless and image.format in _LOSSY_FORMATS:
                lossy = f'{image.format} is a lossy format'
                problem = f'{path}: {lossy}, so the ids of the {role} are inexact'
                raise UserError(problem, 'recreate the map as PNG')
            if _has_more_frames(image):
                remedy = 'save the one that counts as a file of its own'
                raise UserError(f'{path}: the {role} has several frames', remedy)
            if len(image.getbands()) > 1:
                _require_8_bits(image, path, role)
            yield image


def _has_more_frames(image: ImageFile.ImageFile) -> bool:
    """Return whether there is a second frame; previews in MPO and TIFF files are none."""
    if image.format == 'MPO' or not getattr(image, 'is_animated', False):
        return False
    if not isinstance(image, TiffImageFile):
        return True
    size = image.size
    image.seek(1)
    is_frame = image.size == size and not image.tag_v2.get(_TIFF_KIND, 0) & _TIFF_MASK
    image.seek(0)
    return is_frame


def _user_errors(path: File, role: str) -> contextlib.AbstractContextManager:
    """Turn exceptions into UserErrors: Pillow raises a dozen kinds for damaged files."""
    if isinstance(path, str) and not os.path.isfile(path):  # A pipe would block forever.
        reason = 'not a file' if os.path.lexists(path) else 'missing'
        raise UserError(f'{path}: the {role} is {reason}', 'restore it or remove the example')
    remedy = 'replace the file or remove the example'
    return user_errors(f'{path}: the {role} cannot be read', remedy)


def _open(path: File) -> ImageFile.ImageFile:
    try:
        image = Image.open(path, formats=getattr(path, 'formats', None))
        if image.width * image.height <= MOST_PIXELS:
            return image
    except Image.UnidentifiedImageError:
        if isinstance(path, io.BytesIO) and path.getvalue().startswith(_TIFF_SIGNATURES):
            problem = 'a TIFF file of a kind that is not supported, such as 64-bit numbers'
            raise ValueError(problem) from None
        raise ValueError('not an image file') from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass
    raise ValueError(f'more than the limit of {MOST_PIXELS} pixels')


def _require_8_bits(image: ImageFile.ImageFile, path: File, role: str) -> None:
    """Raise a UserError for deeper images; of several channels Pillow keeps the upper bytes."""
    bits = image.tag_v2.get(_TIFF_BITS, ()) if isinstance(image, TiffImageFile) else ()
    if image.mode in _DEEP_MODES or ';16' in _stored_mode(image) or max(bits, default=8) > 8:
        problem = f'{path}: the {role} has more than 8 bits a channel (mode {image.mode})'
        remedy = 'save it with 8 bits, with ImageMagick: magick FILE -depth 8 NEW_FILE'
        raise UserError(problem, remedy)


def _orientation(image: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation that decoding leaves to us: 1 (upright) to 8."""
    # Pillow turns TIFF files itself, and would decode a PNG file to look for EXIF data at its end.
    if image.format == 'TIFF' or not _EXIF_FIELDS & image.info.keys():
        return 1
    with contextlib.suppress(Exception):  # Of many types, for malformed data.
        orientation = int(image.getexif().get(_EXIF_ORIENTATION, 1))
        return orientation if orientation in range(1, 9) else 1
    return 1


def _turned_size(image: ImageFile.ImageFile) -> Size:
    width, height = image.size
    return (height, width) if _orientation(image) >= SIDEWAYS else (width, height)


def _is_turned(image: ImageFile.ImageFile, expected_size: Size | None) -> bool:
    """Return whether EXIF turns the image: unless only the stored pixels fit the label map."""
    if _orientation(image) == 1:
        return False
    if expected_size is None:
        return True
    turned_fits = is_copy(_turned_size(image), expected_size)
    return turned_fits or not is_copy(image.size, expected_size)
