"""Files that hold more than they show: refused in little time and memory, in one sentence."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.files.image_files import NamedContent, read_ids
from spade_jax.data.files.png_integrity import SIGNATURE
from spade_jax.errors import UserError
from spade_jax.studio.uploads import map_of, photo_of

RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(0, 13, (16, 24)).astype(np.uint8)
PHOTO = RANDOM.integers(0, 255, (16, 24, 3)).astype(np.uint8)


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)


def png(width, height, *parts, pixels=b'', depth=8, color=0):
    header = struct.pack('>IIBBBBB', width, height, depth, color, 0, 0, 0)
    pieces = [chunk(b'IHDR', header), *parts, chunk(b'IDAT', zlib.compress(pixels))]
    return b''.join([SIGNATURE, *pieces, chunk(b'IEND', b'')])


def saved(pixels, format, **options):
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, format, **options)
    return file.getvalue()


def gif_of_many_frames():
    frame = saved(IDS, 'GIF')
    start, block = frame.index(b'!') if b'!' in frame else 13, b','
    return frame[:-1] + frame[frame.index(block, start) : -1] * 10_000 + b';'


def jpeg_of(width, height):
    content = bytearray(saved(PHOTO, 'JPEG'))
    position = content.index(b'\xff\xc0')
    content[position + 5 : position + 9] = struct.pack('>HH', height, width)
    return bytes(content)


def jpeg_of_two_sizes():
    content, other = saved(PHOTO, 'JPEG'), jpeg_of(9000, 9000)
    position = content.index(b'\xff\xc0')
    (length,) = struct.unpack_from('>H', content, position + 2)
    return content[:position] + other[position:][: 2 + length] + content[position:]


ZEROS = bytes(30 << 20)
TEXT = b'Comment\0\0' + zlib.compress(ZEROS, 9)
GOOD = png(24, 16, pixels=b''.join(b'\0' + row.tobytes() for row in IDS))
MAPS = {
    'a bomb of pixels': (lambda: png(16, 16, pixels=bytes(100 << 20)), 'more pixels than'),
    'a pixel too many': (lambda: png(16, 16, pixels=bytes(17 * 16 + 1)), 'more pixels than'),
    'a pixel too few': (lambda: png(16, 16, pixels=bytes(17 * 16 - 1)), '1 bytes of pixels are'),
    'a large side': (lambda: png(8193, 1, pixels=b''), '8193x1 pixels'),
    'a large area': (lambda: png(4097, 4096, pixels=b''), '4097x4096 pixels'),
    '40000x40000': (lambda: png(40000, 40000, pixels=b''), '40000x40000 pixels'),
    'no area': (lambda: png(0, 0, pixels=b''), 'cannot be read'),
    'two headers': (
        lambda: png(16, 16, chunk(b'IHDR', b'\0\0\x40\0' * 2 + b'\x08\0\0\0\0'), pixels=bytes(272)),
        'two parts IHDR',
    ),
    'many parts': (lambda: png(16, 16, *[chunk(b'tEXt', b'')] * 200_000), 'more than 10000 parts'),
    'several frames': (
        lambda: saved(
            Image.fromarray(IDS), 'PNG', save_all=True, append_images=[Image.new('L', (24, 16))]
        ),
        'several frames',
    ),
    'an archive at the end': (lambda: GOOD + b'PK\3\4', '4 bytes follow the end'),
    'a page at the end': (lambda: GOOD + b'<script>', '8 bytes follow the end'),
    'no end': (lambda: GOOD[:-12], 'the file is truncated'),
    'a wrong checksum': (lambda: GOOD[:-20] + b'\0' + GOOD[-19:], 'cannot be read'),
    'only a signature': (lambda: SIGNATURE, 'the file is truncated'),
    'nothing': (lambda: b'', 'is no image'),
    'a GIF of 10,000 frames': (gif_of_many_frames, 'is a GIF file: label maps are PNG files'),
    'a JPEG': (lambda: saved(PHOTO, 'JPEG'), 'is a JPEG file: its colors are inexact'),
    'a WebP': (lambda: saved(PHOTO, 'WEBP'), 'is a WEBP file: its colors are inexact'),
    'a BMP': (lambda: saved(IDS, 'BMP'), 'is a BMP file'),
    'a page': (lambda: b'<html>', 'is a SVG file'),
    'a GIF that ends as PNG': (lambda: b'GIF89a' + GOOD, 'is a GIF file'),
    'an archive before': (lambda: b'PK\3\4' + GOOD, 'is no image'),
}


@pytest.mark.parametrize('case', MAPS)
def test_bad_maps_are_refused_cheaply(case):
    make, problem = MAPS[case]
    content = make()
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UserError, match=problem) as error:
        read_ids(NamedContent(map_of(content, 'my map.png'), 'my map.png', ('PNG',)))
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.value.problem.startswith('my map.png') and error.value.remedy
    assert peak < 64 << 20
    assert seconds < 0.5


def test_parts_without_pixels_are_dropped():
    parts = [chunk(b'zTXt', TEXT), chunk(b'iCCP', TEXT)]
    rows = b''.join(b'\0' + row.tobytes() for row in IDS)
    content = png(24, 16, *parts, pixels=rows)
    tracemalloc.start()
    plain = map_of(content, 'map')
    assert b'zTXt' not in plain and b'iCCP' not in plain
    np.testing.assert_array_equal(read_ids(NamedContent(plain, 'map')), IDS)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize('bits', ['1', 'P', 'L', 'RGB', 'RGBA', 'I;16'])
def test_good_maps_keep_their_pixels(bits):
    image = (
        Image.fromarray(IDS).convert(bits) if bits != 'I;16' else Image.fromarray(IDS.astype('u2'))
    )
    content = saved(image, 'PNG')
    again = Image.open(io.BytesIO(map_of(content, 'map')))
    assert again.mode == Image.open(io.BytesIO(content)).mode
    np.testing.assert_array_equal(np.asarray(again), np.asarray(Image.open(io.BytesIO(content))))


PHOTOS = {
    'a large JPEG': (lambda: jpeg_of(9000, 100), '9000x100 pixels'),
    'a JPEG of a large area': (lambda: jpeg_of(8000, 8000), '8000x8000 pixels'),
    'a JPEG of many parts': (lambda: b'\xff\xd8' + b'\xff\xfe\0\2' * 500_000, 'too many parts'),
    'a JPEG of many scans': (
        lambda: saved(PHOTO, 'JPEG') + b'\xff\xda\0\2' * 200,
        'more than 100 scans',
    ),
    'a JPEG of two sizes': (jpeg_of_two_sizes, 'too many parts'),
    'a JPEG cut short': (lambda: saved(PHOTO, 'JPEG')[:100], 'cannot be read'),
    'a JPEG with dirt': (lambda: b'\xff\xd8\xff\xfe\0\2dirt' + saved(PHOTO, 'JPEG')[2:], 'damaged'),
    'a large WebP': (
        lambda: b'RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0' + b'\xff\xff\0' * 2,
        '65536x65536 pixels',
    ),
    'a large lossless WebP': (
        lambda: b'RIFF\0\0\0\0WEBPVP8L\x0a\0\0\0\x2f' + b'\xff' * 9,
        '16384x16384 pixels',
    ),
    'an animated WebP': (
        lambda: saved(
            Image.fromarray(PHOTO),
            'WEBP',
            save_all=True,
            append_images=[Image.new('RGB', (24, 16))],
        ),
        'several frames',
    ),
    'a WebP cut short': (lambda: saved(PHOTO, 'WEBP')[:20], 'cannot be read'),
    'another RIFF': (lambda: b'RIFF\0\0\0\0WAVE', 'is no image'),
    'a TIFF': (lambda: saved(PHOTO, 'TIFF'), 'is a TIFF file'),
    'a PNG of a large area': (lambda: png(40000, 40000, color=2), '40000x40000 pixels'),
}


@pytest.mark.parametrize('case', PHOTOS)
def test_bad_photos_are_refused_cheaply(case):
    make, problem = PHOTOS[case]
    content = make()
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(UserError, match=problem) as error:
        photo_of(content, 'sunset')
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.value.problem.startswith('sunset') and error.value.remedy
    assert peak < 64 << 20
    assert seconds < 0.5


@pytest.mark.parametrize(
    'format, options',
    [
        ('PNG', {}),
        ('JPEG', {'quality': 95}),
        ('JPEG', {'progressive': True}),
        ('WEBP', {'lossless': True}),
        ('WEBP', {'quality': 90}),
    ],
)
def test_photos_are_read(format, options):
    content = saved(PHOTO, format, **options)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert('RGB'))
    np.testing.assert_array_equal(photo_of(content, 'sunset'), expected)


def test_photos_are_turned_as_viewers_show_them():
    exif = Image.Exif()
    exif[0x0112] = 6
    for format in ('PNG', 'JPEG'):
        assert photo_of(saved(PHOTO, format, exif=exif), 'sunset').shape == (24, 16, 3)
