"""Whether a PNG file is whole. Pillow compares no checksum of pixel data and leaves rows that are missing black, so a damaged map would be read as another one.

Format: W3C, Portable Network Graphics, sections 5 (chunks, checksums) and 8.2 (interlacing).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b'\x89PNG\r\n\x1a\n'
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # left, top, columns and rows from one pixel to the next


def check_png(content: bytes, *, rows: bool) -> None:
    """Checks a file that begins with the signature.

    Args:
      rows: also that there are as many pixels as the header says, which takes a second decompression.

    Raises:
      ValueError: what is wrong.
    """
    header, pixels = b'', []
    for kind, data in _chunks(content):
        if kind == b'IHDR':
            header = data
        elif kind == b'IDAT' and rows:
            pixels.append(data)
    if rows and len(header) == 13:
        missing = _pixel_bytes(*struct.unpack('>IIBBBBB', header)) - len(
            zlib.decompress(b''.join(pixels))
        )
        if missing > 0:
            raise ValueError(f'{missing} bytes of pixels are missing')


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, data) of every chunk up to the end of the picture."""
    position = len(SIGNATURE)
    while position < len(content):
        length, kind = struct.unpack('>I4s', content[position : position + 8].ljust(8, b'\0'))
        data, checksum = (
            content[position + 8 : position + 8 + length],
            content[position + 8 + length : position + 12 + length],
        )
        if len(checksum) < 4:
            raise ValueError('the file is cut off')
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum, 'big'):
            raise ValueError(
                f'the checksum of its part {kind.decode("latin-1")} at byte {position} is wrong'
            )
        yield kind, data
        if kind == b'IEND':
            return
        position += 12 + length
    raise ValueError('the file is cut off')


def _pixel_bytes(
    width: int,
    height: int,
    depth: int,
    color_type: int,
    compression: int,
    filtering: int,
    interlacing: int,
) -> int:
    """Bytes of the decompressed pixels: each row has one more, for its filter."""
    passes = _ADAM7 if interlacing else ((0, 0, 1, 1),)
    sizes = (
        (-(-(width - left) // columns), -(-(height - top) // rows))
        for left, top, columns, rows in passes
    )
    return sum(
        (-(-across * depth * _SAMPLES.get(color_type, 1) // 8) + 1) * down
        for across, down in sizes
        if across > 0 and down > 0
    )
