"""Wrong checksums and missing pixels of PNG files, which Pillow ignores."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.files.png_integrity import SIGNATURE, check_png


def png(width, height, pixels, interlaced=False):
    def chunk(kind, content):
        return (
            struct.pack('>I', len(content))
            + kind
            + content
            + struct.pack('>I', zlib.crc32(kind + content))
        )

    return (
        SIGNATURE
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, interlaced))
        + chunk(b'IDAT', zlib.compress(pixels))
        + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize(
    'mode, shape',
    [
        (np.uint8, (5, 7)),
        (np.uint8, (5, 7, 3)),
        (np.uint8, (5, 7, 4)),
        (np.uint16, (5, 7)),
        (bool, (5, 9)),
    ],
)
def test_check_png_accepts_intact_files(mode, shape):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 2, shape).astype(mode)).save(file, 'PNG')
    check_png(file.getvalue(), rows=True)
    check_png(file.getvalue() + b'content after the end is ignored', rows=True)


# Interlaced, 5x3 pixels are rows of 1, 1, 1, 3, 2, 2 and 5 pixels, each with one more byte.
@pytest.mark.parametrize('width, height, interlaced, size', [(5, 3, False, 18), (5, 3, True, 22)])
def test_check_png_counts_pixels(width, height, interlaced, size):
    check_png(png(width, height, bytes(size), interlaced), rows=True)
    short = png(width, height, bytes(size - 1), interlaced)
    with pytest.raises(ValueError, match='1 bytes of pixels are missing'):
        check_png(short, rows=True)
    check_png(short, rows=False)


@pytest.mark.parametrize('position', range(8, 60))
def test_check_png_detects_every_flipped_byte(position):
    content = png(5, 3, bytes(range(18)))
    with pytest.raises((ValueError, zlib.error)):
        check_png(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :],
            rows=False,
        )


def test_check_png_detects_truncation():
    content = png(5, 3, bytes(18))
    for length in range(8, len(content)):
        with pytest.raises(ValueError, match='truncated'):
            check_png(content[:length], rows=False)


@pytest.mark.parametrize('shape', [(64, 64), (1, 1)])
def test_check_png_decompresses_no_more_than_the_pixels(shape):
    content = png(*shape, bytes(1 << 25))
    tracemalloc.start()
    check_png(content, rows=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22
