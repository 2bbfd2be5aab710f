"""Detect damaged PNG files, of which Pillow decodes missing rows as black and wrong bits as ids.

Format: W3C, Portable Network Graphics, sections 5 (chunks, checksums) and 8.2 (interlacing).
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

SIGNATURE = b'\x89PNG\r\n\x1a\n'
_PIECE = 1 << 20  # Bytes decompressed at a time: a small file may hold gigabytes of zeros.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # By color type.
# Interlacing passes: left, top, and the columns and rows between two pixels.
_ADAM7 = (
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)


def check_png(content: bytes, *, rows: bool) -> None:
    """Raise a ValueError if a file (from its signature on) is truncated or has a wrong checksum.

    With `rows`, missing pixels are an error too, which takes a second decompression.
    """
    header, pixels = b'', []
    for kind, data in png_chunks(content):
        header = data if kind == b'IHDR' else header
        if rows and kind == b'IDAT':
            pixels.append(data)
    if rows and len(header) == 13 and (excess := excess_of_pixels(header, pixels)) < 0:
        raise ValueError(f'{-excess} bytes of pixels are missing')


def excess_of_pixels(header: bytes, parts: Iterable[bytes]) -> int:
    """Return how many bytes IDAT chunks hold more than the pixels of a header; negative: fewer.

    No more than a piece above the pixels is decompressed.
    """
    excess = -_pixel_bytes(header)
    for size in _decompressed_sizes(parts):
        if (excess := excess + size) > 0:
            break
    return excess


def _decompressed_sizes(parts: Iterable[bytes]) -> Iterator[int]:
    """Yield the sizes of the pieces to which a zlib stream is decompressed, one at a time."""
    stream = zlib.decompressobj()
    for part in parts:
        while part:
            yield len(stream.decompress(part, _PIECE))
            part = stream.unconsumed_tail


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, data) of every chunk up to the end of the image; check that it is intact."""
    position, kind = len(SIGNATURE), b''
    while kind != b'IEND':
        length, kind = struct.unpack('>I4s', content[position : position + 8].ljust(8, b'\0'))
        end = position + 8 + length
        data, checksum = content[position + 8 : end], content[end : end + 4]
        if len(checksum) < 4:
            raise ValueError('the file is truncated')
        if zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(checksum, 'big'):
            name = kind.decode('latin-1')
            raise ValueError(f'the checksum of its part {name} at byte {position} is wrong')
        yield kind, data
        position = end + 4


def _pixel_bytes(header: bytes) -> int:
    """Return the number of bytes of the decompressed pixels: each row has a byte for its filter."""
    width, height, depth, color_type, _, _, interlacing = struct.unpack('>IIBBBBB', header)
    bits, total = depth * _SAMPLES.get(color_type, 1), 0
    for left, top, column_step, row_step in _ADAM7 if interlacing else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // column_step), -(-(height - top) // row_step)
        if columns > 0 and rows > 0:
            total += (-(-columns * bits // 8) + 1) * rows
    return total
