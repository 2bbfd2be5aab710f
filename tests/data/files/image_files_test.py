"""Image files of every legal kind, and the errors for the others."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from spade_jax.data.files.image_files import (
    NamedContent,
    exif_orientation,
    photo_size,
    read_ids,
    read_ids_or_colors,
    read_instances,
    read_photo,
)
from spade_jax.errors import UserError

IDS = np.array([[0, 1, 2], [3, 1, 0]], np.uint8)


def _png_file(path, size, bits, color_type, rows):
    """A PNG file of kinds that Pillow does not write."""

    def chunk(kind, content):
        return (
            struct.pack('>I', len(content))
            + kind
            + content
            + struct.pack('>I', zlib.crc32(kind + content))
        )

    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', *size, bits, color_type, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )
    return str(path)


def _png(path, pixels, bits):
    """A gray PNG of 1, 2 or 4 bits a pixel."""
    rows = b''
    for row in pixels:
        text = ''.join(format(value, f'0{bits}b') for value in row)
        text += '0' * (-len(text) % 8)
        rows += b'\0' + bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))
    return _png_file(path, pixels.shape[::-1], bits, 0, rows)


def _tiff(path, pixels, order='<', planar=False):
    """An uncompressed TIFF file of pixels [H, W, C] of any type."""
    height, width, channels = pixels.shape
    data = np.moveaxis(pixels, -1, 0) if planar else pixels
    data = np.ascontiguousarray(data).astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits, kind = 8 * pixels.itemsize, {'u': 1, 'i': 2, 'f': 3}[pixels.dtype.kind]
    first = 8 + 2 * channels + 4 * channels  # Pixels follow the bits and offsets of the channels.
    planes = [first + number * (len(data) // channels) for number in range(channels)]
    fields = [
        *((256, 4, 1, width), (257, 4, 1, height), (259, 3, 1, 1), (262, 3, 1, 1 + (channels > 1))),
        *((277, 3, 1, channels), (278, 4, 1, height), (284, 3, 1, 1 + planar)),
        (258, 3, channels, 8 if channels > 2 else bits),
        (273, 4, channels, 8 + 2 * channels) if planar else (273, 4, 1, first),
        (279, 4, 1, len(data)) if not planar else (279, 4, 1, len(data) // channels),
    ]
    fields += [(339, 3, 1, kind)] if channels == 1 else []
    directory = struct.pack(order + 'H', len(fields))
    for tag, form, count, value in sorted(fields):
        short = form == 3 and count == 1
        packed = struct.pack(order + ('HH' if short else 'I'), *((value, 0) if short else (value,)))
        directory += struct.pack(order + 'HHI', tag, form, count) + packed
    path.write_bytes(
        (b'II' if order == '<' else b'MM')
        + struct.pack(order + 'HI', 42, first + len(data))
        + struct.pack(f'{order}{channels}H', *[bits] * channels)
        + struct.pack(f'{order}{channels}I', *planes)
        + data
        + directory
        + struct.pack(order + 'I', 0)
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


@pytest.mark.parametrize('dtype', ['u1', 'u2', 'i2', 'i4', 'f4'])
@pytest.mark.parametrize('order', ['<', '>'])
def test_read_ids_reads_integers_of_tiff(tmp_path, dtype, order):
    scale = {'1': 1, '2': 300}.get(dtype[1], 70000)
    values = (IDS.astype(np.int64) * scale).astype(dtype)[..., None]
    ids = read_ids(_tiff(tmp_path / 'ids.tif', values, order))
    assert ids.dtype in (np.uint8, np.uint16, np.int32)
    assert ids.dtype.isnative
    np.testing.assert_array_equal(ids, IDS.astype(int) * scale)


def test_read_ids_names_kind_of_tiff_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match='a TIFF file of a kind that is not supported, such as 64'):
        read_ids(_tiff(tmp_path / 'ids.tif', IDS.astype(np.float64)[..., None]))


@pytest.mark.parametrize('value', [0.5, np.nan, np.inf, 3e9])
def test_read_ids_rejects_floats_that_are_no_ids(tmp_path, value):
    pixels = np.where(IDS == 3, np.float32(value), np.float32(1))[..., None]
    problem = rf'ids.tif: the label map holds floats \({value}.* at pixel \(x=0, y=1\)\); store int'
    with pytest.raises(UserError, match=problem.replace('3000000000.0', '3')):
        read_ids(_tiff(tmp_path / 'ids.tif', pixels.astype(np.float32)))


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


@pytest.mark.parametrize('channels', [3, 4, 2])
def test_readers_reject_sixteen_bits_a_channel(tmp_path, channels):
    rows = (b'\0' + bytes(2 * channels * 4)) * 4
    color_type = {3: 2, 4: 6, 2: 4}[channels]
    paths = [_png_file(tmp_path / 'x.png', (4, 4), 16, color_type, rows)]
    if channels == 3:
        pixels = np.full((4, 4, 3), 1023, np.uint16)
        paths += [_tiff(tmp_path / f'{o}{p}.tif', pixels, o, p) for o in '<>' for p in (0, 1)]
    for path in paths:
        for read in (read_photo, photo_size, read_ids_or_colors):
            with pytest.raises(
                UserError, match='has more than 8 bits a channel .*; save it with 8'
            ):
                read(path)


def _save_turned(path, pixels, orientation):
    """Save pixels so that viewers, which follow EXIF, show the given ones turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return str(path)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('extension', ['png', 'jpg', 'tif', 'webp'])
@pytest.mark.parametrize('size', [(8, 16), (16, 16)])
def test_read_photo_turns_like_viewers(tmp_path, orientation, extension, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    path = _save_turned(tmp_path / f'photo.{extension}', pixels, orientation)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert exif_orientation(path) == orientation
    for expected_size in (None, shown.shape[1::-1], (9, 9)):
        np.testing.assert_array_equal(read_photo(path, expected_size), shown)
        assert photo_size(path, expected_size) == shown.shape[1::-1]


def test_read_photo_keeps_stored_pixels_that_alone_fit_the_label_map(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
    path = _save_turned(tmp_path / 'photo.png', pixels, 6)
    for size in ((16, 8), (8, 4), (32, 16)):
        np.testing.assert_array_equal(read_photo(path, expected_size=size), pixels)
        assert photo_size(path, size) == (16, 8)
    for size in ((8, 16), (4, 8), (5, 7)):
        assert photo_size(path, size) == (8, 16)


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
@pytest.mark.parametrize('exif', [b'Exif\0\0broken', b'Exif\0\0II*\0\xff\xff\xff\xff', b''])
def test_read_photo_accepts_malformed_exif(tmp_path, exif):
    path = str(tmp_path / 'photo.jpg')
    Image.new('RGB', (8, 8)).save(path, exif=exif)
    assert read_photo(path, (8, 8)).shape == (8, 8, 3)


@pytest.mark.parametrize('name', ['x.png', 'x.gif', 'x.tif', 'x.webp'])
def test_readers_reject_several_frames(tmp_path, name):
    frames = [Image.new('L', (4, 4), value) for value in (0, 90)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    for read in (read_photo, read_ids) if name != 'x.webp' else (read_photo,):
        with pytest.raises(UserError, match=f'{name}: the .* has several frames; save the one'):
            read(str(tmp_path / name))


def test_read_ids_ignores_previews(tmp_path):
    path = str(tmp_path / 'x.tif')
    image = Image.fromarray(IDS)
    image.save(path, save_all=True, append_images=[image.resize((1, 1))])
    np.testing.assert_array_equal(read_ids(path), IDS)


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_large_images_are_limited_by_pixels(tmp_path):
    tile = _png_file(tmp_path / 'tile.png', (13500, 13500), 8, 2, b'')
    assert photo_size(tile) == (13500, 13500)
    for side in (16385, 60000):
        path = _png_file(tmp_path / 'huge.png', (side, side), 8, 0, b'')
        with pytest.raises(UserError, match='huge.png.*more than the limit of 268435456 pixels'):
            read_ids(path)


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


@pytest.mark.parametrize('reader', [read_ids, read_ids_or_colors, read_instances, read_photo])
def test_content_without_a_path_is_called_by_its_name(reader):
    for file, name in (
        (NamedContent(b'no image', 'my map'), 'my map'),
        (io.BytesIO(b'no image'), 'the file'),
    ):
        with pytest.raises(UserError, match=f'^{name}: the .* cannot be read'):
            reader(file)


def test_content_is_read_in_its_formats_alone():
    content = io.BytesIO()
    Image.new('L', (2, 2)).save(content, 'GIF')
    file = NamedContent(content.getvalue(), 'my map', ('PNG',))
    with pytest.raises(UserError, match='^my map: .*not an image file'):
        read_ids(file)
