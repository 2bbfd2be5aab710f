"""Label maps as ids: grays, indices and colors, renumbered."""

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.catalog import builtin_classes
from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import read_palette
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.errors import DatasetError, UserError

IDS = np.array([[0, 1], [2, 1]], np.uint8)
COLORS = np.array([(128, 192, 255), (0, 0, 1), (9, 9, 9)], np.uint8)


@pytest.fixture
def palette(tmp_path):
    classes = [
        {'name': name, 'color': color.tolist()}
        for name, color in zip(('sky', 'sea', 'rock'), COLORS, strict=True)
    ]
    (tmp_path / 'palette.json').write_text(json.dumps(classes))
    return read_palette(str(tmp_path / 'palette.json'))


def save(path, image):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return str(path)


def indexed(ids, colors):
    image = Image.fromarray(ids, 'P')
    image.putpalette(np.asarray(colors, np.uint8).tobytes())
    return image


def reader(**settings):
    return LabelReader(DataConfig(dataset='folders', **{'num_classes': 3} | settings))


@pytest.mark.parametrize(
    'image',
    [
        COLORS[IDS],
        np.dstack([COLORS[IDS], np.full((2, 2), 255, np.uint8)]),
        indexed(IDS, COLORS),
        IDS,
        indexed(2 - IDS, COLORS[::-1]),
    ],
    ids=['RGB', 'RGBA', 'indexed', 'gray', 'indexed differently'],
)
def test_read_turns_colors_into_ids(tmp_path, palette, image):
    np.testing.assert_array_equal(
        reader(palette=palette).read(save(tmp_path / 'x.png', image)), IDS
    )


def test_read_rejects_unknown_color(tmp_path, palette):
    colors = COLORS[IDS].copy()
    colors[1, 0] = (120, 192, 255)
    problem = (
        r'x.png: color #78c0ff at pixel \(x=0, y=1\) is not in the palette \(1 such color, 25.00%'
    )
    nearest = (
        r'the nearest is #80c0ff \(sky\), at a distance of 8; add "#78c0ff" to a palette file '
        r'\(--mode=validate_data drafts one\), or save the mask without smoothing'
    )
    with pytest.raises(UserError, match=f'{problem}.*; {nearest}'):
        reader(palette=palette).read(save(tmp_path / 'x.png', colors))


def test_a_color_of_few_pixels_is_taken_for_a_blend(tmp_path, palette):
    colors = np.full((20, 20, 3), COLORS[0], np.uint8)
    colors[3, 4] = (64, 96, 128)
    with pytest.raises(UserError, match='; save the mask without .*, or add "#406080" to a'):
        reader(palette=palette).read(save(tmp_path / 'x.png', colors))


def test_palette_of_the_package_that_has_all_colors_is_named(tmp_path, palette):
    colors = [entry.color for entry in builtin_classes('gaugan')[:3]]
    pixels = np.array([[[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors]])
    path = save(tmp_path / 'drawing.png', pixels.astype(np.uint8))
    for config in (DataConfig(palette=palette), DataConfig()):
        with pytest.raises(UserError, match='all colors are those of --palette=gaugan'):
            LabelReader(config).read(path)
    pixels[0, 0, 0] += 1
    with pytest.raises(UserError, match='a color mask needs --palette=FILE'):
        LabelReader(DataConfig()).read(save(path, pixels.astype(np.uint8)))


def test_mask_that_was_a_jpeg_is_to_be_exported_again(tmp_path, palette):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    path = save(tmp_path / 'mask.png', pixels)
    with pytest.raises(UserError, match='masks that were JPEG have so many; export the mask again'):
        LabelReader(DataConfig(palette=palette)).read(path)


def test_smoothed_mask_is_to_be_saved_without_smoothing(tmp_path, palette):
    colors = np.repeat(np.repeat(COLORS[IDS], 16, axis=0), 16, axis=1)
    colors[0, :12] = np.linspace(COLORS[0], COLORS[1], 14)[1:-1]
    with pytest.raises(UserError, match=r'12 such colors.*without smoothing \(antialiasing\)') as e:
        reader(palette=palette).read(save(tmp_path / 'x.png', colors))
    assert 'palette_tolerance' not in str(e.value)


def test_read_rejects_color_of_two_classes(tmp_path):
    (tmp_path / 'palette.json').write_text(
        json.dumps([{'name': name, 'color': '#000001'} for name in ('sky', 'sea')])
    )
    with pytest.raises(
        UserError,
        match=r'stands for several classes \(sea, sky\)|stands for several classes \(sky, sea\)',
    ):
        reader(palette=read_palette(str(tmp_path / 'palette.json'))).read(
            save(tmp_path / 'x.png', np.full((2, 2, 3), (0, 0, 1), np.uint8))
        )


def with_alpha(pixels, alpha):
    return np.dstack([pixels, np.array(alpha, np.uint8)])


def test_transparent_is_a_color(tmp_path):
    classes = [{'name': 'sky', 'color': '#80c0ff'}, {'name': 'none', 'color': 'transparent'}]
    (tmp_path / 'palette.json').write_text(json.dumps(classes))
    palette = read_palette(str(tmp_path / 'palette.json'))
    path = save(tmp_path / 'x.png', with_alpha(COLORS[[[0, 1], [2, 0]]], [[255, 0], [0, 255]]))
    np.testing.assert_array_equal(reader(palette=palette).read(path), [[0, 1], [1, 0]])
    with pytest.raises(UserError, match='color mask needs .*, in which "transparent" is a color'):
        reader().read(path)


@pytest.mark.parametrize(
    'alpha, problem',
    [
        (0, 'color transparent at pixel .* is not in the palette .*; add "transparent" to a'),
        (99, r'pixel \(x=0, y=0\) of the label map is partly transparent'),
    ],
)
def test_read_rejects_transparent_pixel(tmp_path, palette, alpha, problem):
    path = save(tmp_path / 'x.png', with_alpha(COLORS[IDS], np.full((2, 2), alpha)))
    with pytest.raises(UserError, match=problem):
        reader(palette=palette).read(path)


@pytest.mark.parametrize(
    'image',
    [
        np.dstack([IDS] * 3),
        with_alpha(IDS, np.full((2, 2), 255)),
        np.dstack([IDS] * 3 + [IDS | 255]),
    ],
    ids=['RGB', 'LA', 'RGBA'],
)
def test_gray_saved_as_colors_is_ids(tmp_path, image):
    np.testing.assert_array_equal(reader().read(save(tmp_path / 'x.png', image)), IDS)


def test_deep_gray_saved_as_colors_is_rejected(tmp_path):
    """Pillow keeps the upper bytes, which are 0 for ids."""
    size = struct.pack('>IIBBBBB', 2, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b'\0' + struct.pack('>6H', 1, 1, 1, 2, 2, 2))
    content = b'\x89PNG\r\n\x1a\n'
    for kind, data in ((b'IHDR', size), (b'IDAT', pixels), (b'IEND', b'')):
        chunk = kind + data
        content += struct.pack('>I', len(data)) + chunk + struct.pack('>I', zlib.crc32(chunk))
    (tmp_path / 'x.png').write_bytes(content)
    with pytest.raises(UserError, match='more than 8 bits a channel'):
        reader().read(str(tmp_path / 'x.png'))


def test_tolerance_gives_colors_the_nearest_class(tmp_path, palette):
    colors = COLORS[IDS] + np.array([[[2, 0, 0], [0, 1, 0]], [[0, 2, 2], [0, 0, 0]]], np.uint8)
    path = save(tmp_path / 'x.png', colors)
    with pytest.raises(UserError, match='set --palette_tolerance=2 or more, or add "#82c0ff'):
        reader(palette=palette).read(path)
    np.testing.assert_array_equal(reader(palette=palette, palette_tolerance=2).read(path), IDS)
    with pytest.raises(UserError, match='#82c0ff .*2 such colors.*, at a distance of 2'):
        reader(palette=palette, palette_tolerance=1).read(path)


def test_tolerance_does_not_make_ids_colors(tmp_path, palette):
    path = save(tmp_path / 'x.png', IDS)
    np.testing.assert_array_equal(reader(palette=palette, palette_tolerance=3).read(path), IDS)


def test_read_rejects_grays_that_are_ids_and_colors(tmp_path):
    (tmp_path / 'palette.json').write_text(
        json.dumps([{'name': 'sea', 'color': '#0000ff'}, {'name': 'void', 'color': '#000000'}])
    )
    palette = read_palette(str(tmp_path / 'palette.json'))
    problem = 'x.png: the values 0 of a gray image are ids as well as palette colors; save'
    with pytest.raises(UserError, match=problem):
        reader(palette=palette).read(save(tmp_path / 'x.png', np.zeros((2, 2), np.uint8)))
    np.testing.assert_array_equal(reader(palette=palette).read(save(tmp_path / 'y.png', IDS)), IDS)


@pytest.mark.parametrize(
    'remap, expected',
    [
        ('', [[0, 1], [2, 1]]),
        ('1:0', [[0, 0], [2, 0]]),
        ('1-2:0-1,0:255', [[255, 0], [1, 0]]),
        ('2:7,*:255', [[255, 255], [7, 255]]),
    ],
)
def test_read_renumbers_ids(tmp_path, remap, expected):
    np.testing.assert_array_equal(
        reader(label_remap=remap, num_classes=8, dontcare=True).read(save(tmp_path / 'x.png', IDS)),
        expected,
    )


def test_read_renumbers_sixteen_bit_ids(tmp_path):
    path = save(tmp_path / 'x.png', IDS.astype(np.uint16) * 1000)
    np.testing.assert_array_equal(reader(label_remap='0:0,1000:1,2000:2').read(path), IDS)


def test_read_renumbers_ids_of_colors(tmp_path, palette):
    np.testing.assert_array_equal(
        reader(palette=palette, label_remap='2:0').read(save(tmp_path / 'x.png', COLORS[IDS])),
        [[0, 1], [0, 1]],
    )


def test_read_returns_condition_images_unchanged(tmp_path):
    np.testing.assert_array_equal(
        reader(condition='rgb').read(save(tmp_path / 'x.png', COLORS[IDS])), COLORS[IDS]
    )
    np.testing.assert_array_equal(
        reader(condition='rgb').read(save(tmp_path / 'y.png', IDS)), np.dstack([IDS] * 3)
    )


def save_indexed(path, colors):
    """Write a mask of colors as paint programs do: the palette in the order of the pixels."""
    image = Image.new('P', (2, 2))
    names = list(dict.fromkeys(colors))
    image.putdata([names.index(color) for color in colors])
    image.putpalette(bytes.fromhex(''.join(names)))
    image.save(path)
    return str(path)


@pytest.mark.parametrize('extension', ['png', 'gif', 'bmp', 'tif'])
def test_read_rejects_index_of_two_colors(tmp_path, extension):
    red, green, black = 'ff0000', '00ff00', '000000'
    one = save_indexed(tmp_path / f'a.{extension}', [red, green, green, black])
    other = save_indexed(tmp_path / f'b.{extension}', [red, black, black, red])
    labels = reader(num_classes=3)
    labels.read(one)
    problem = f'{other}: index 1 is #000000, but #00ff00 in {one}; list the colors with --palette'
    with pytest.raises(DatasetError, match=problem):
        labels.read(other)
    labels.read(other, thorough=False)


def test_read_rejects_a_drawing_whose_indices_number_colors_of_classes(tmp_path):
    colors = {entry.name: entry.color[1:] for entry in builtin_classes('scenes')}
    sky, cloud, water = (colors[name] for name in ('sky', 'cloud', 'water'))
    drawing = save_indexed(tmp_path / 'drawing.png', [sky, water, water, sky])
    numbered = save_indexed(tmp_path / 'numbered.png', [sky, cloud, cloud, sky])
    other = save_indexed(tmp_path / 'other.png', [sky, 'ff00fe', 'ff00fe', sky])
    problem = 'index 1 has #.*, the color of class 9; read the colors with --palette=scenes'
    with pytest.raises(DatasetError, match=problem):
        LabelReader(DataConfig(dataset='scenes')).read(drawing)
    for path in (numbered, other):
        assert LabelReader(DataConfig(dataset='scenes')).read(path).max() == 1
    palette = json.dumps(builtin_classes('scenes'))
    colored = DataConfig(dataset='folders', palette=palette)
    assert LabelReader(colored).read(drawing).max() == 9


@pytest.mark.parametrize('extension', ['gif', 'bmp'])
def test_read_rejects_index_of_two_grays(tmp_path, extension):
    labels = reader()
    labels.read(save_indexed(tmp_path / f'a.{extension}', ['000000', 'ffffff'] * 2))
    with pytest.raises(DatasetError, match='index 0 is #ffffff, but #000000'):
        labels.read(save_indexed(tmp_path / f'b.{extension}', ['ffffff', '000000'] * 2))


def test_read_ignores_colors_of_maps_that_are_not_indexed(tmp_path):
    labels = reader()
    labels.read(save_indexed(tmp_path / 'a.bmp', ['ff0000', '00ff00'] * 2))
    labels.read(save(tmp_path / 'b.bmp', np.repeat(IDS[..., None], 3, axis=-1)))  # Gray, as RGB.
    labels.read(save(tmp_path / 'c.png', IDS))


def test_read_ignores_colors_of_unused_indices(tmp_path):
    labels = reader()
    for name, color in (('a', 'ff0000'), ('b', '00ff00')):
        image = Image.new('P', (2, 2))
        image.putpalette(bytes.fromhex('808080' + color))
        image.save(tmp_path / f'{name}.png')
        np.testing.assert_array_equal(labels.read(str(tmp_path / f'{name}.png')), np.zeros((2, 2)))
