"""Uploaded files: format and size are read from their first bytes, before they are decoded.

A small file can hold gigabytes of pixels or texts. So only known formats are read, of PNG files
only the parts that an image needs, and an image that is too large, or larger than it says, is
refused.
"""

import struct
from collections.abc import Iterator

import numpy as np

from spade_jax.data.files.image_files import NamedContent, read_photo
from spade_jax.data.files.png_integrity import SIGNATURE, excess_of_pixels, png_chunks
from spade_jax.errors import UserError, user_errors
from spade_jax.studio.description import MOST_PIXELS, MOST_SIDE

_MOST_PARTS = 10_000  # Of a file: programs write some hundreds.
_MOST_SCANS = 100  # Of a JPEG file: progressive ones have about ten.
# The parts of a PNG file that decide its pixels, their orientation, and whether it is one image.
_NEEDED = (b'IHDR', b'PLTE', b'tRNS', b'eXIf', b'acTL', b'IDAT', b'IEND')
_SIGNATURES = {
    'PNG': SIGNATURE,
    'JPEG': b'\xff\xd8\xff',
    'WEBP': b'RIFF',
    'GIF': b'GIF8',
    'BMP': b'BM',
    'TIFF': b'II*\0',
    'PDF': b'%PDF',
    'SVG': b'<',
}
_REMEDY = 'save it again with an image editor'


def map_of(content: bytes, name: str) -> bytes:
    """Return the PNG file of an uploaded label map, with the parts that decide its pixels.

    Raises:
      UserError: It is no PNG file, it is damaged, or too large.
    """
    found = _format_of(content)
    if found != 'PNG':
        reason = (
            'its colors are inexact' if found in ('JPEG', 'WEBP') else 'label maps are PNG files'
        )
        raise UserError(
            f'{name} is {_a(found)}: {reason}', 'export it as PNG from where it was made'
        )
    return _plain_png(content, name)


def photo_of(content: bytes, name: str) -> np.ndarray:
    """Return an uploaded photo as [H, W, 3] uint8; raises as `map_of`, but reads JPEG and WebP."""
    found = _format_of(content)
    if found == 'PNG':
        content = _plain_png(content, name)
    elif found == 'JPEG':
        _check_size(*_size_of_jpeg(content, name), name)
    elif found == 'WEBP':
        _check_size(*_size_of_webp(content, name), name)
    else:
        raise UserError(f'{name} is {_a(found)}', 'give a photo in PNG, JPEG or WebP')
    return read_photo(NamedContent(content, name, (found,)))


def _format_of(content: bytes) -> str:
    """Return the format that the signature of a file tells; '' if it is unknown."""
    found = [name for name, start in _SIGNATURES.items() if content.startswith(start)]
    if found == ['WEBP'] and content[8:12] != b'WEBP':
        return ''
    return found[0] if found else ''


def _a(found: str) -> str:
    return f'a {found} file' if found else 'no image'


def _check_size(width: int, height: int, name: str) -> None:
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        remedy = f'scale it to at most {MOST_SIDE} pixels a side, {MOST_PIXELS} in all'
        raise UserError(f'{name} has {width}x{height} pixels', remedy)


def _plain_png(content: bytes, name: str) -> bytes:
    """Return a PNG file without texts, profiles and the like; check that it is what it says."""
    kept, parts, position, seen = [SIGNATURE], [], len(SIGNATURE), set()
    with user_errors(f'{name} cannot be read', _REMEDY):
        header = content[position + 8 : position + 21]
        if content[position + 4 : position + 8] != b'IHDR' or len(header) < 13:
            raise ValueError('the file is truncated')
        _check_size(*struct.unpack_from('>II', header), name)
        for count, (kind, data) in enumerate(png_chunks(content)):
            end = position + 12 + len(data)
            if kind == b'IDAT':
                parts.append(data)
            elif kind in seen:
                raise ValueError(f'it has two parts {kind.decode()}')
            if kind in _NEEDED:
                seen.add(kind)
                kept.append(content[position:end])
            position = end
            if count == _MOST_PARTS:
                raise ValueError(f'more than {_MOST_PARTS} parts')
        if position < len(content):
            raise ValueError(f'{len(content) - position} bytes follow the end of the image')
        if (excess := excess_of_pixels(header, parts)) > 0:
            raise ValueError('it holds more pixels than its header says')
        if excess < 0:
            raise ValueError(f'{-excess} bytes of pixels are missing')
    return b''.join(kept)


def _size_of_jpeg(content: bytes, name: str) -> tuple[int, int]:
    """Return the width and height of a JPEG file; check how much work it is."""
    with user_errors(f'{name} cannot be read', _REMEDY):
        if content.count(b'\xff\xda') > _MOST_SCANS:
            raise ValueError(f'more than {_MOST_SCANS} scans')
        sizes = []
        for count, (marker, data) in enumerate(_jpeg_segments(content)):
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                sizes.append(struct.unpack_from('>HH', data, 1))
            if count == _MOST_PARTS or len(sizes) > 1:
                raise ValueError('it has too many parts')
        height, width = sizes[0] if sizes else (0, 0)
        return width, height


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and data of the segments up to the start of the pixels."""
    position, marker = 2, 0
    while marker != 0xDA:
        fill, marker, length = struct.unpack_from('>BBH', content, position)
        if fill != 0xFF or marker < 0xC0 or 0xD0 <= marker <= 0xD9 or marker == 0xFF or length < 2:
            raise ValueError(f'the file is damaged at byte {position}')
        yield marker, content[position + 4 : position + 2 + length]
        position += 2 + length


def _size_of_webp(content: bytes, name: str) -> tuple[int, int]:
    """Return the width and height of a WebP file."""
    with user_errors(f'{name} cannot be read', _REMEDY):
        kind, data = content[12:16], content[20:30]
        if kind == b'VP8X':
            if data[0] & 2:
                raise ValueError('it has several frames')
            width, height = data[4:7], data[7:10]
            return 1 + int.from_bytes(width, 'little'), 1 + int.from_bytes(height, 'little')
        if kind == b'VP8L':
            bits = int.from_bytes(data[1:5], 'little')
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b'VP8 ':
            width, height = struct.unpack_from('<HH', data, 6)
            return width & 0x3FFF, height & 0x3FFF
        raise ValueError('it is of an unknown kind')
