"""Image files of every legal kind, and the errors for the others."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.files.image_files import photo_size, read_ids, read_instances, read_photo
from spade_jax.errors import UserError

IDS = np.array([[0, 1, 2], [3, 1, 0]], np.uint8)


def _png(path, pixels, bits):
    """A gray PNG of 1, 2 or 4 bits a pixel, which Pillow does not write."""
    rows = b''
    for row in pixels:
        text = ''.join(format(value, f'0{bits}b') for value in row)
        text += '0' * (-len(text) % 8)
        rows += b'\0' + bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))

    def chunk(kind, content):
        return (
            struct.pack('>I', len(content))
            + kind
            + content
            + struct.pack('>I', zlib.crc32(kind + content))
        )

    header = struct.pack('>IIBBBBB', pixels.shape[1], pixels.shape[0], bits, 0, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )
    return str(path)


@pytest.mark.parametrize('extension', ['png', 'bmp', 'tif', 'gif'])
def test_read_ids_reads_eight_bits(tmp_path, extension):
    path = str(tmp_path / f'ids.{extension}')
    Image.fromarray(IDS).save(path)
    ids = read_ids(path)
    assert ids.dtype == np.uint8
    np.testing.assert_array_equal(ids, IDS)


@pytest.mark.parametrize('extension', ['png', 'tif'])
def test_read_ids_reads_sixteen_bits(tmp_path, extension):
    path = str(tmp_path / f'ids.{extension}')
    Image.fromarray(IDS.astype(np.uint16) * 300).save(path)
    np.testing.assert_array_equal(read_ids(path), IDS.astype(int) * 300)


def test_read_ids_converts_big_endian_tiff(tmp_path):
    path = str(tmp_path / 'ids.tif')
    Image.fromarray(IDS.astype('>u2') * 300).save(path)
    ids = read_ids(path)
    assert ids.dtype == np.uint16
    assert ids.dtype.isnative
    np.testing.assert_array_equal(ids, IDS.astype(int) * 300)


def test_read_ids_reads_thirty_two_bits(tmp_path):
    path = str(tmp_path / 'ids.tif')
    Image.fromarray(IDS.astype(np.int32) * 70000).save(path)
    np.testing.assert_array_equal(read_ids(path), IDS.astype(int) * 70000)


def test_read_ids_returns_indices_of_indexed_images(tmp_path):
    path = str(tmp_path / 'ids.png')
    image = Image.fromarray(IDS, 'P')
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200, 9, 9, 9])
    image.save(path)
    np.testing.assert_array_equal(read_ids(path), IDS)


def test_read_ids_returns_0_and_1_for_black_and_white(tmp_path):
    path = str(tmp_path / 'ids.png')
    Image.fromarray(IDS > 0).save(path)
    np.testing.assert_array_equal(read_ids(path), IDS > 0)


@pytest.mark.parametrize('bits', [2, 4])
def test_read_ids_does_not_rescale_grays_of_few_bits(tmp_path, bits):
    np.testing.assert_array_equal(read_ids(_png(tmp_path / 'ids.png', IDS, bits)), IDS)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_read_ids_rejects_colors(tmp_path, mode):
    path = str(tmp_path / 'mask.png')
    Image.new(mode, (4, 4), (1, 2, 3, 0)[-len(mode) :]).save(path)
    problem = f'mask.png: the instance map has the mode {mode}, not one channel of ids'
    with pytest.raises(UserError, match=problem + '.* a color mask needs --palette=FILE'):
        read_ids(path, 'instance map')


@pytest.mark.parametrize('file_format', ['JPEG', 'WEBP'])
def test_read_ids_rejects_lossy_formats_of_any_name(tmp_path, file_format):
    path = str(tmp_path / 'ids.png')
    Image.fromarray(IDS).save(path, file_format)
    with pytest.raises(UserError, match=f'ids.png: {file_format} is a lossy format'):
        read_ids(path)


@pytest.mark.parametrize('read, role', [(read_ids, 'label map'), (read_photo, 'photo')])
def test_readers_reject_damaged_files(tmp_path, read, role):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)).save(
        whole, 'PNG'
    )
    for name, content, reason in (
        ('cut.png', whole.getvalue()[:2000], 'the file is truncated'),
        ('text.png', b'hello', 'not an image file'),
        ('empty.png', b'', 'not an image file'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError) as error:
            read(str(tmp_path / name))
        message = str(error.value)
        assert name in message
        assert f'the {role} cannot be read' in message
        assert reason in message
        assert '\n' not in message
    with pytest.raises(UserError, match='is missing'):
        read(str(tmp_path / 'missing.png'))


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'P', 'LA', '1', 'CMYK'])
def test_read_photo_converts_every_mode_to_rgb(tmp_path, mode):
    path = str(tmp_path / ('photo.tif' if mode == 'CMYK' else 'photo.png'))
    Image.new('RGB', (5, 4), (255, 255, 255)).convert(mode).save(path)
    photo = read_photo(path)
    assert photo.shape == (4, 5, 3)
    assert photo.dtype == np.uint8
    assert (photo == 255).all()


def test_read_photo_rejects_sixteen_bits(tmp_path):
    path = str(tmp_path / 'photo.png')
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(path)
    with pytest.raises(
        UserError,
        match=r'photo.png: the photo has more than 8 bits a channel \(mode I;16\); save it with 8',
    ):
        read_photo(path)


def test_read_photo_rotates_only_to_the_expected_size(tmp_path):
    path = str(tmp_path / 'photo.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6  # To be rotated clockwise by 90 degrees.
    image = Image.new('RGB', (16, 8))
    image.paste((255, 255, 255), (0, 0, 8, 8))  # The left half, which becomes the upper one.
    image.save(path, exif=exif, quality=95)
    stored = read_photo(path)
    assert stored.shape == (8, 16, 3)
    assert photo_size(path) == photo_size(path, (16, 8)) == (16, 8)
    np.testing.assert_array_equal(read_photo(path, expected_size=(16, 8)), stored)
    rotated = read_photo(path, expected_size=(8, 16))
    assert rotated.shape == (16, 8, 3)
    assert photo_size(path, (8, 16)) == (8, 16)
    assert rotated[:4].min() > 200
    assert rotated[-4:].max() < 50
    assert photo_size(path, (9, 9)) == (16, 8)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'CMYK'])
@pytest.mark.parametrize(
    'options',
    [
        dict(quality=30),
        dict(quality=95, subsampling=0),
        dict(progressive=True),
        dict(keep_rgb=True),
    ],
    ids=str,
)
def test_read_photo_decodes_jpeg_like_pillow(tmp_path, mode, options):
    path = str(tmp_path / 'x.jpg')
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)).convert(
        mode
    ).save(path, **(options if mode == 'RGB' or 'keep_rgb' not in options else {}))
    np.testing.assert_array_equal(read_photo(path), np.asarray(Image.open(path).convert('RGB')))


def test_read_photo_accepts_jpeg_with_harmless_fault(tmp_path):
    path = tmp_path / 'x.jpg'
    Image.new('RGB', (8, 8), (200, 100, 50)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-2] + b'\x00\x01' + content[-2:])  # Before the end marker.
    np.testing.assert_array_equal(read_photo(str(path)), np.asarray(Image.open(path)))


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA'])
def test_read_instances_gives_colors_distinct_ids(tmp_path, mode):
    path = str(tmp_path / 'instances.png')
    image = Image.fromarray(np.array([[[9, 9, 9], [9, 9, 9]], [[7, 7, 7], [0, 0, 0]]], np.uint8))
    image.convert(mode).save(path)
    ids = read_instances(path)
    assert ids.dtype == np.int32
    assert np.unique(ids, return_inverse=True)[1].tolist() in ([2, 2, 1, 0], [[2, 2], [1, 0]])


def test_read_instances_rejects_photo(tmp_path):
    path = str(tmp_path / 'photo.png')
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    with pytest.raises(UserError, match='has 1024 colors, as many as a photo; give the directory'):
        read_instances(path)
