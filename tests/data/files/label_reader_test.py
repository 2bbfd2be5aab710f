"""Label maps as ids: grays, indices and colors, renumbered."""

import json

import numpy as np
import pytest
from PIL import Image

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
    nearest = r'the nearest is #80c0ff \(sky\); add it'
    with pytest.raises(UserError, match=f'{problem}.*; {nearest}'):
        reader(palette=palette).read(save(tmp_path / 'x.png', colors))


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


def test_read_rejects_transparent_pixel(tmp_path, palette):
    with pytest.raises(UserError, match=r'pixel \(x=0, y=0\) of the label map is transparent'):
        reader(palette=palette).read(
            save(tmp_path / 'x.png', np.dstack([COLORS[IDS], np.zeros((2, 2), np.uint8)]))
        )


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


@pytest.mark.parametrize('extension', ['gif', 'bmp'])
def test_read_rejects_index_of_two_grays(tmp_path, extension):
    labels = reader()
    labels.read(save_indexed(tmp_path / f'a.{extension}', ['000000', 'ffffff'] * 2))
    with pytest.raises(DatasetError, match='index 0 is #ffffff, but #000000'):
        labels.read(save_indexed(tmp_path / f'b.{extension}', ['ffffff', '000000'] * 2))


def test_read_ignores_colors_of_unused_indices_and_gray_maps(tmp_path):
    labels = reader()
    for name, color in (('a', 'ff0000'), ('b', '00ff00')):
        image = Image.new('P', (2, 2))
        image.putpalette(bytes.fromhex('808080' + color))
        image.save(tmp_path / f'{name}.png')
        np.testing.assert_array_equal(labels.read(str(tmp_path / f'{name}.png')), np.zeros((2, 2)))
    labels.read(save(tmp_path / 'c.png', IDS))
