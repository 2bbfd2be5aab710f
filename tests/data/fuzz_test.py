"""Hundreds of malformed data sets: each is refused in one line that names the file, or read exactly as it should be.

Every case damages one file of a small sound data set and then does what training does before and during its first epoch.
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
    'photograph': 'train_img/b.png',
    'jpeg': 'train_img/a.jpg',
    'label': 'train_label/b.png',
    'instance': 'train_inst/b.png',
}
REFUSED, READ, EITHER = 'refused', 'read', 'either'  # EITHER: refused, or read as the sound file is


def pixels(role):
    y, x = np.indices((HEIGHT, WIDTH))
    match role:
        case 'photograph' | 'jpeg':
            return np.stack([x * 6, y * 7, (x + y) * 3], -1).astype(np.uint8)
        case 'label':
            return (x // 8 % 4).astype(np.uint8)
        case 'instance':
            return (1000 * (y // 9) + x // 8).astype(np.uint16)


def encoded(image, kind='PNG', **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        file, kind, **options
    )
    return file.getvalue()


SOUND = {
    role: encoded(
        pixels(role),
        'JPEG' if role == 'jpeg' else 'PNG',
        **({'quality': 95} if role == 'jpeg' else {}),
    )
    for role in ROLES
}


def png(width, height, bits=8, color=0, data=b'', crc=True):
    """A PNG file with this header and these compressed rows."""

    def chunk(kind, content):
        return (
            struct.pack('>I', len(content))
            + kind
            + content
            + struct.pack('>I', zlib.crc32(kind + content) if crc else 1)
        )

    header = struct.pack('>IIBBBBB', width, height, bits, color, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(data))
        + chunk(b'IEND', b'')
    )


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 0x20]) + content[position + 1 :]


def as_mode(mode, size=(WIDTH, HEIGHT), fill=1):
    bands = len(Image.new(mode, (1, 1)).getbands())
    return Image.new(mode, size, fill if bands == 1 else (fill,) * bands)


def files():
    """(name, role, content of the file, verdict)."""
    random = np.random.default_rng(0)
    for role, content in SOUND.items():
        for position in np.unique(np.linspace(1, len(content) - 2, 20).astype(int)):
            yield f'{role} cut at byte {position}', role, content[:position], EITHER
        if role != 'jpeg':  # JPEG has no checksums
            for position in np.unique(random.integers(0, len(content), 24)):
                yield f'{role} flipped at byte {position}', role, flipped(content, position), EITHER
        for name, junk in (
            ('nothing', b''),
            ('one byte', b'\x89'),
            ('text', b'this is a label map\n' * 20),
            ('a web page', b'<!DOCTYPE html><html>404</html>'),
            ('noise', random.bytes(500)),
            ('the first bytes alone', content[:8]),
            ('zeros', bytes(1000)),
            ('zip', b'PK\x03\x04' + random.bytes(200)),
            ('gzip', b'\x1f\x8b\x08' + random.bytes(100)),
            ('a pickle', b'\x80\x04\x95' + random.bytes(50)),
            ('zeros after a header', content[:40] + bytes(len(content) - 40)),
        ):
            yield f'{role} is {name}', role, junk, REFUSED
        for width, height in (
            (60000, 60000),
            (2**31 - 1, 2**31 - 1),
            (100000, 1),
            (0, 10),
            (10, 0),
            (20000, 20000),
        ):
            yield f'{role} says it has {width}x{height} pixels', role, png(width, height), REFUSED
        yield (
            f'{role} has wrong checksums',
            role,
            png(WIDTH, HEIGHT, data=bytes((WIDTH + 1) * HEIGHT), crc=False),
            REFUSED,
        )
        yield (
            f'{role} has too few rows',
            role,
            png(WIDTH, HEIGHT, data=bytes((WIDTH + 1) * (HEIGHT - 5))),
            REFUSED,
        )
        yield (
            f'{role} has an illegal depth',
            role,
            png(WIDTH, HEIGHT, bits=3, data=bytes((WIDTH + 1) * HEIGHT)),
            REFUSED,
        )
        yield (
            f'{role} has an illegal colour type',
            role,
            png(WIDTH, HEIGHT, color=5, data=bytes((WIDTH + 1) * HEIGHT)),
            REFUSED,
        )
        for width, height in (
            (WIDTH + 1, HEIGHT),
            (WIDTH - 1, HEIGHT),
            (WIDTH, HEIGHT + 1),
            (HEIGHT, WIDTH),
            (1, 1),
            (WIDTH * 2, HEIGHT * 2),
        ):
            resized = Image.fromarray(pixels(role)).resize((width, height), 0)
            yield f'{role} of {width}x{height}', role, encoded(resized), REFUSED
    for mode in ('RGB', 'RGBA', 'LA', 'CMYK', 'YCbCr', 'LAB', 'F'):
        for role in ('label', 'instance'):
            image = as_mode(mode)
            yield (
                f'{role} in mode {mode}',
                role,
                encoded(image, 'PNG' if mode in ('RGB', 'RGBA', 'LA') else 'TIFF'),
                REFUSED,
            )
    for kind in ('JPEG', 'WEBP'):
        for role in ('label', 'instance'):
            yield (
                f'{role} is {kind} in a .png',
                role,
                encoded(Image.fromarray(pixels('label')), kind),
                REFUSED,
            )
    for mode in ('I;16', 'I', 'F'):
        yield f'photograph in mode {mode}', 'photograph', encoded(as_mode(mode), 'TIFF'), REFUSED
    for mode in ('CMYK', 'L', '1', 'P', 'LAB', 'YCbCr'):
        yield f'photograph in mode {mode}', 'photograph', encoded(as_mode(mode), 'TIFF'), READ
    yield (
        'photograph with alpha',
        'photograph',
        encoded(Image.fromarray(pixels('photograph')).convert('RGBA')),
        READ,
    )
    yield (
        'photograph with a transparent pixel',
        'photograph',
        encoded(np.dstack([pixels('photograph'), pixels('label') * 85])),
        REFUSED,
    )
    yield (
        'photograph with a transparent colour',
        'photograph',
        encoded(Image.fromarray(pixels('photograph')), transparency=(0, 0, 0)),
        REFUSED,
    )
    for value in (4, 5, 100, 254, 255):
        label = pixels('label')
        label[3, 7] = value
        yield f'label id {value}', 'label', encoded(label), REFUSED
    for value in (4, 255, 256, 65535):
        label = pixels('label').astype(np.uint16)
        label[3, 7] = value
        yield f'label id {value} of 16 bits', 'label', encoded(label), REFUSED
    for value in (-1, 2**31 - 1, -(2**31)):
        yield (
            f'label id {value} of 32 bits',
            'label',
            encoded(np.full((HEIGHT, WIDTH), value, np.int32), 'TIFF'),
            REFUSED,
        )
    yield 'label of 16 bits', 'label', encoded(pixels('label').astype(np.uint16)), READ
    yield (
        'label with a palette',
        'label',
        encoded(Image.fromarray(pixels('label')).convert('P')),
        READ,
    )
    yield (
        'label is a GIF in a .png',
        'label',
        encoded(Image.fromarray(pixels('label')), 'GIF'),
        READ,
    )


CASES = {name: rest for name, *rest in files()}


def build(directory):
    """Two examples: a with a JPEG, b with PNG files alone."""
    for role, path in ROLES.items():
        for name in ('a', 'b'):
            target = (
                directory
                / os.path.dirname(path)
                / (name + ('.jpg' if name == 'a' and 'img' in path else '.png'))
            )
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(
                SOUND[
                    'jpeg' if target.suffix == '.jpg' else 'photograph' if role == 'jpeg' else role
                ]
            )
    return directory


def train_on(directory, **settings):
    """What training does with the data: finds, checks and reads each example once. Returns the examples by name."""
    config = DataConfig(
        **{
            **dict(
                dataset='folders',
                data_dir=str(directory),
                num_classes=4,
                condition='labels+edges',
                load_size=WIDTH,
                crop_size=32,
                preprocess_mode='scale_width_and_crop',
                flip=False,
                batch_size=1,
                data_workers=1,
            ),
            **settings,
        }
    )
    source = open_source(config, 'train')
    check_source(source, config)
    for position in range(len(source)):
        read_for_training(source, config, position)
    return {name: source.read(number) for number, name in enumerate(source.names)}


def refusal_of(directory, **settings):
    """The message with which training refuses the data; None where it takes them. Any exception but a UserError fails the test."""
    try:
        train_on(directory, **settings)
    except UserError as error:
        assert '\n' not in str(error) and str(error)
        return str(error)
    return None


@pytest.fixture(scope='module')
def sound(tmp_path_factory):
    return build(tmp_path_factory.mktemp('sound'))


def test_there_are_enough_cases():
    assert len(CASES) >= 300


def test_the_sound_data_are_read(sound):
    example = train_on(sound)['b']
    np.testing.assert_array_equal(example.image, pixels('photograph'))
    np.testing.assert_array_equal(example.label, pixels('label'))
    np.testing.assert_array_equal(example.instance, pixels('instance'))


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning', 'ignore::UserWarning')
@pytest.mark.parametrize('case', CASES)
def test_damaged_files(case, tmp_path):
    role, content, verdict = CASES[case]
    directory = build(tmp_path)
    path = directory / ROLES[role]
    path.write_bytes(content)
    message = refusal_of(directory)
    if verdict == REFUSED:
        assert message, 'was read'
    if verdict == READ:
        assert message is None, message
    if message:
        assert path.name in message and path.parent.name in message, message
    elif role == 'jpeg':
        np.testing.assert_array_equal(
            train_on(directory)['a'].image, np.asarray(Image.open(io.BytesIO(SOUND['jpeg'])))
        )
    elif role != 'photograph' or verdict == EITHER:
        name = {'label': 'label', 'instance': 'instance', 'photograph': 'image'}[role]
        np.testing.assert_array_equal(getattr(train_on(directory)['b'], name), pixels(role))


@pytest.mark.parametrize(
    'name',
    [
        'with space',
        'ünïcödé',
        '日本語',
        "quote'",
        'semi;colon',
        '-dash',
        'a.b.c',
        '%s',
        '$HOME',
        '#1',
        'x' * 200,
        '[ab]',
        'new\nline',
        'tab\t',
    ],
)
def test_strange_names(name, tmp_path):
    directory = build(tmp_path)
    for path in (
        directory / 'train_img' / 'b.png',
        directory / 'train_label' / 'b.png',
        directory / 'train_inst' / 'b.png',
    ):
        path.rename(path.with_name(f'{name}.png'))
    assert name in train_on(directory)
    (directory / 'train_label' / f'{name}.png').write_bytes(b'')
    assert name.splitlines()[0] in refused(directory)


def refused(directory, **settings):
    """As `refusal_of`, where a name may bring a line break into the message; the program takes it out."""
    with pytest.raises(UserError) as error:
        train_on(directory, **settings)
    return str(error.value)


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
def test_paths_that_are_no_files(damage, role, tmp_path):
    directory = build(tmp_path)
    path = directory / ROLES[role]
    damage(path)
    message = refusal_of(directory)
    if role in ('photograph', 'jpeg') and damage in (
        directory_in_its_place,
        os.remove,
    ):  # then there is no photograph, and its maps are passed over
        assert message is None
    else:
        assert path.stem in message


@pytest.mark.parametrize('target', ['.', '..', '../..'])
def test_links_without_end(target, tmp_path):
    directory = build(tmp_path)
    (directory / 'train_img' / 'sub').mkdir()
    (directory / 'train_img' / 'sub' / 'loop').symlink_to(target)
    assert 'train_img/sub/loop is a link to a directory that it lies in' in refusal_of(directory)


def test_a_link_to_another_directory_is_followed(tmp_path):
    directory = build(tmp_path / 'data')
    for role in ('train_img', 'train_label', 'train_inst'):
        shutil.move(directory / role, tmp_path / role)
        (directory / role).symlink_to(tmp_path / role)
    assert set(train_on(directory)) == {'a', 'b'}


@pytest.mark.parametrize('role', ['train_img', 'train_label', 'train_inst'])
def test_empty_and_missing_directories(role, tmp_path):
    directory = build(tmp_path)
    for path in (directory / role).iterdir():
        path.unlink()
    assert role in refusal_of(directory)
    (directory / role).rmdir()
    assert role in refusal_of(directory)
    (directory / role).write_text('')
    assert role in refusal_of(directory)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\xff\xfe\x00',
        b'a\x00b\n',
        b'../a\n',
        b'/etc/passwd\n',
        b'a\na\n',
        b'nothing\n',
        b'a.jpg\n',
    ],
)
def test_bad_listings(content, tmp_path):
    directory = build(tmp_path)
    (directory / 'list.txt').write_bytes(content)
    assert 'list.txt' in refusal_of(directory, train_list='list.txt')


def test_a_file_that_vanishes_is_named(tmp_path):
    directory = build(tmp_path)
    config = DataConfig(
        dataset='folders',
        data_dir=str(directory),
        num_classes=4,
        load_size=WIDTH,
        crop_size=32,
        preprocess_mode='scale_width_and_crop',
    )
    source = open_source(config, 'train')
    check_source(source, config)
    (directory / 'train_img' / 'b.png').unlink()
    with pytest.raises(UserError, match='train_img/b.png'):
        for position in range(2):
            read_for_training(source, config, position)
