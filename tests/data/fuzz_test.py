"""Hundreds of malformed data sets: each is rejected with an error that names the file, or read
exactly as it should be.

Every case damages one file of a small sound data set, and then does what training does before and
during its first epoch.
"""

import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.input_pipeline import read_for_training
from spade_jax.data.sources.open_source import check_source, open_source
from spade_jax.errors import UserError

WIDTH, HEIGHT = 40, 36
ROLES = {
    'photo': 'train_img/b.png',
    'jpeg': 'train_img/a.jpg',
    'label': 'train_label/b.png',
    'instance': 'train_inst/b.png',
}
FIELDS = {'photo': 'image', 'label': 'label', 'instance': 'instance'}
REJECTED, READ, EITHER = 'rejected', 'read', 'rejected, or read as the sound file'
SETTINGS = dict(
    dataset='folders',
    num_classes=4,
    load_size=WIDTH,
    crop_size=32,
    preprocess_mode='scale_width_and_crop',
    flip=False,
    data_workers=1,
)


def pixels(role):
    y, x = np.indices((HEIGHT, WIDTH))
    match role:
        case 'label':
            return (x // 8 % 4).astype(np.uint8)
        case 'instance':
            return (1000 * (y // 9) + x // 8).astype(np.uint16)
    return np.stack([x * 6, y * 7, (x + y) * 3], -1).astype(np.uint8)


def encoded(image, kind='PNG', **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


SOUND = {role: encoded(pixels(role)) for role in ROLES}
SOUND['jpeg'] = encoded(pixels('jpeg'), 'JPEG', quality=95)


def png(width, height, bits=8, color=0, data=b'', crc=True):
    """A PNG file with this header and these rows."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content) if crc else 1
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', width, height, bits, color, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(data)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*parts) for parts in chunks)


def with_flipped_bit(content, position):
    return content[:position] + bytes([content[position] ^ 0x20]) + content[position + 1 :]


def in_mode(mode):
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.new(mode, (WIDTH, HEIGHT), 1 if bands == 1 else (1, 2, 3, 4)[:bands])


def damaged_bytes():
    """Yield (name, role, content of the file, verdict): files that are truncated or altered."""
    random = np.random.default_rng(0)
    for role, content in SOUND.items():
        for position in np.unique(np.linspace(1, len(content) - 2, 20).astype(int)):
            yield f'{role} cut at byte {position}', role, content[:position], EITHER
        if role == 'jpeg':
            continue  # JPEG has no checksums.
        for position in np.unique(random.integers(0, len(content), 26)):
            name = f'{role} with a flipped bit in byte {position}'
            yield name, role, with_flipped_bit(content, position), EITHER


def other_contents():
    """Yield cases with files that are no image or have an illegal header."""
    random = np.random.default_rng(1)
    rows = bytes((WIDTH + 1) * HEIGHT)
    sizes = ((60000, 60000), (2**31 - 1, 2**31 - 1), (100000, 1), (0, 10), (10, 0), (20000, 20000))
    for role, content in SOUND.items():
        others = {
            'nothing': b'',
            'one byte': b'\x89',
            'text': b'this is a label map\n' * 20,
            'a web page': b'<!DOCTYPE html><html>404</html>',
            'noise': random.bytes(500),
            'the first bytes alone': content[:8],
            'zeros': bytes(1000),
            'zip': b'PK\x03\x04' + random.bytes(200),
            'gzip': b'\x1f\x8b\x08' + random.bytes(100),
            'a pickle': b'\x80\x04\x95' + random.bytes(50),
            'zeros after a header': content[:40] + bytes(len(content) - 40),
            'PNG with wrong checksums': png(WIDTH, HEIGHT, data=rows, crc=False),
            'PNG with too few rows': png(WIDTH, HEIGHT, data=rows[: -5 * (WIDTH + 1)]),
            'PNG with an illegal depth': png(WIDTH, HEIGHT, bits=3, data=rows),
            'PNG with an illegal color type': png(WIDTH, HEIGHT, color=5, data=rows),
        }
        others |= {f'PNG that claims {size[0]}x{size[1]} pixels': png(*size) for size in sizes}
        for name, other in others.items():
            yield f'{role} is {name}', role, other, REJECTED


def other_sizes():
    """Yield cases with sound files of another size than their partners."""
    sizes = ((WIDTH + 1, HEIGHT), (WIDTH - 1, HEIGHT), (WIDTH, HEIGHT + 1), (HEIGHT, WIDTH))
    for role in ROLES:
        for size in (*sizes, (1, 1), (WIDTH * 2, HEIGHT * 2)):
            resized = Image.fromarray(pixels(role)).resize(size, Image.Resampling.NEAREST)
            yield f'{role} of {size[0]}x{size[1]}', role, encoded(resized), REJECTED


def other_modes():
    """Yield cases with color modes, formats and transparency."""
    for role in ('label', 'instance'):
        for mode in ('RGB', 'RGBA', 'LA', 'CMYK', 'YCbCr', 'LAB'):
            kind = 'PNG' if mode in ('RGB', 'RGBA', 'LA') else 'TIFF'
            if (role, mode) != ('instance', 'RGB'):  # Instance maps may be colors.
                yield f'{role} in mode {mode}', role, encoded(in_mode(mode), kind), REJECTED
        floats = pixels(role).astype(np.float32)
        yield f'{role} of integral floats', role, encoded(floats, 'TIFF'), READ
        yield f'{role} of floats', role, encoded(floats + 0.5, 'TIFF'), REJECTED
        for kind in ('JPEG', 'WEBP'):
            yield f'{role} is {kind} in a .png', role, encoded(pixels('label'), kind), REJECTED
    for mode in ('I;16', 'I', 'F'):
        yield f'photo in mode {mode}', 'photo', encoded(in_mode(mode), 'TIFF'), REJECTED
    for mode in ('CMYK', 'L', '1', 'P', 'LAB', 'YCbCr'):
        yield f'photo in mode {mode}', 'photo', encoded(in_mode(mode), 'TIFF'), READ
    image = Image.fromarray(pixels('photo'))
    transparent = np.dstack([pixels('photo'), pixels('label') * 85])
    one_color = encoded(image, transparency=(0, 0, 0))
    yield 'photo with alpha', 'photo', encoded(image.convert('RGBA')), READ
    yield 'photo with a transparent pixel', 'photo', encoded(transparent), REJECTED
    yield 'photo with a transparent color', 'photo', one_color, REJECTED


def label_ids():
    """Yield cases with ids in and out of range, of 8 to 32 bits."""
    label = pixels('label')
    for dtype, values in ((np.uint8, (4, 5, 100, 254, 255)), (np.uint16, (4, 255, 256, 65535))):
        for value in values:
            wrong = label.astype(dtype)
            wrong[3, 7] = value
            yield f'label id {value} as {dtype.__name__}', 'label', encoded(wrong), REJECTED
    for value in (-1, 2**31 - 1, -(2**31)):
        content = encoded(np.full((HEIGHT, WIDTH), value, np.int32), 'TIFF')
        yield f'label id {value} of 32 bits', 'label', content, REJECTED
    yield 'label of 16 bits', 'label', encoded(label.astype(np.uint16)), READ
    yield 'label with a palette', 'label', encoded(Image.fromarray(label).convert('P')), READ
    yield 'label is a GIF in a .png', 'label', encoded(label, 'GIF'), READ


GROUPS = (damaged_bytes, other_contents, other_sizes, other_modes, label_ids)
CASES = {name: rest for group in GROUPS for name, *rest in group()}


def build(directory):
    """Write two examples: a with a JPEG photo, b with PNG files only."""
    for path, name in (('train_img', 'a.jpg'), ('train_label', 'a.png'), ('train_inst', 'a.png')):
        (directory / path).mkdir(parents=True)
        role = {'train_img': 'jpeg', 'train_label': 'label', 'train_inst': 'instance'}[path]
        (directory / path / name).write_bytes(SOUND[role])
    for role in FIELDS:
        (directory / ROLES[role]).write_bytes(SOUND[role])
    return directory


def train_on(directory, **settings):
    """Find, check and read each example as training does; return the examples by name."""
    settings = SETTINGS | {'data_dir': str(directory), 'condition': 'labels+edges'} | settings
    config = DataConfig(**settings)
    source = open_source(config, 'train')
    check_source(source, config)
    for position in range(len(source)):
        read_for_training(source, config, 0, position)
    return {name: source.read(index) for index, name in enumerate(source.names)}


def error_of(directory, **settings):
    """Return the error with which training rejects the data, or None.

    Any exception but a UserError fails the test.
    """
    try:
        train_on(directory, **settings)
    except UserError as error:
        return str(error)
    return None


def test_there_are_enough_cases():
    assert len(CASES) >= 300


def test_sound_data_are_read(tmp_path):
    example = train_on(build(tmp_path))['b']
    for role, field in FIELDS.items():
        np.testing.assert_array_equal(getattr(example, field), pixels(role))


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning', 'ignore::UserWarning')
@pytest.mark.parametrize('case', CASES)
def test_damaged_file_is_rejected_or_read_exactly(case, tmp_path):
    role, content, verdict = CASES[case]
    directory = build(tmp_path)
    path = directory / ROLES[role]
    path.write_bytes(content)
    message = error_of(directory)
    assert message or verdict != REJECTED
    assert message is None or verdict != READ
    if message:
        assert '\n' not in message
        assert f'{path.parent.name}/{path.name}' in message
    elif role == 'jpeg':
        expected = np.asarray(Image.open(io.BytesIO(SOUND['jpeg'])))
        np.testing.assert_array_equal(train_on(directory)['a'].image, expected)
    elif role != 'photo' or verdict == EITHER:
        example = train_on(directory)['b']
        np.testing.assert_array_equal(getattr(example, FIELDS[role]), pixels(role))


STRANGE_NAMES = (
    *('with space', 'ünïcödé', '日本語', "quote'", 'semi;colon', '-dash', 'a.b.c', '%s', '$HOME'),
    *('#1', 'x' * 200, '[ab]', 'new\nline', 'tab\t'),
)


@pytest.mark.parametrize('name', STRANGE_NAMES)
def test_strange_name_is_read_and_named(name, tmp_path):
    directory = build(tmp_path)
    for role in FIELDS:
        path = directory / ROLES[role]
        path.rename(path.with_name(f'{name}.png'))
    assert name in train_on(directory)
    (directory / 'train_label' / f'{name}.png').write_bytes(b'')
    assert name.splitlines()[0] in error_of(directory)


def link_to_itself(path):
    path.unlink()
    path.symlink_to(path)


def broken_link(path):
    path.unlink()
    path.symlink_to('nowhere.png')


def directory_in_its_place(path):
    path.unlink()
    path.mkdir()


def pipe_in_its_place(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    'damage', [link_to_itself, broken_link, directory_in_its_place, pipe_in_its_place, os.remove]
)
@pytest.mark.parametrize('role', ROLES)
def test_path_that_is_no_file_is_named(damage, role, tmp_path):
    directory = build(tmp_path)
    path = directory / ROLES[role]
    damage(path)
    message = error_of(directory)
    if role in ('photo', 'jpeg') and damage in (directory_in_its_place, os.remove):
        assert message is None  # There is no photo, so its maps are ignored.
    else:
        assert path.stem in message


@pytest.mark.parametrize('target', ['.', '..', '../..'])
def test_endless_link_is_named(target, tmp_path):
    directory = build(tmp_path)
    (directory / 'train_img' / 'sub').mkdir()
    (directory / 'train_img' / 'sub' / 'loop').symlink_to(target)
    assert 'train_img/sub/loop is a link to a directory' in error_of(directory)


def test_link_to_another_directory_is_followed(tmp_path):
    directory = build(tmp_path / 'data')
    for role in ('train_img', 'train_label', 'train_inst'):
        shutil.move(directory / role, tmp_path / role)
        (directory / role).symlink_to(tmp_path / role)
    assert set(train_on(directory)) == {'a', 'b'}


@pytest.mark.parametrize('role', ['train_img', 'train_label', 'train_inst'])
def test_empty_or_missing_directory_is_named(role, tmp_path):
    directory = build(tmp_path)
    for path in (directory / role).iterdir():
        path.unlink()
    assert role in error_of(directory)
    (directory / role).rmdir()
    assert role in error_of(directory)
    (directory / role).write_text('')
    assert role in error_of(directory)


BAD_LISTINGS = (
    *(b'', b'\xff\xfe\x00', b'a\x00b\n', b'../a\n', b'/etc/passwd\n', b'a\na\n', b'nothing\n'),
    b'a.tif\n',
)


@pytest.mark.parametrize('content', BAD_LISTINGS)
def test_bad_listing_is_named(content, tmp_path):
    directory = build(tmp_path)
    (directory / 'list.txt').write_bytes(content)
    assert 'list.txt' in error_of(directory, train_list='list.txt')


def test_vanished_file_is_named(tmp_path):
    directory = build(tmp_path)
    config = DataConfig(**SETTINGS, data_dir=str(directory))
    source = open_source(config, 'train')
    check_source(source, config)
    (directory / 'train_img' / 'b.png').unlink()
    with pytest.raises(UserError, match='train_img/b.png'):
        for position in range(2):
            read_for_training(source, config, 0, position)
