"""Palette files and tables that renumber ids: legal forms and errors."""

import json

import numpy as np
import pytest

from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import LabelClass, parse_palette, parse_remap, read_palette
from spade_jax.data.files.palette import ColorMask
from spade_jax.errors import UserError


def palette(tmp_path, content):
    path = tmp_path / 'palette.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


@pytest.mark.parametrize(
    'content',
    [
        {
            'about': 'x',
            'classes': [
                {'name': 'sky', 'color': '#80C0ff'},
                {'name': 'sea', 'color': [0, 0, 1], 'group': 'water'},
            ],
        },
        [{'name': 'sky', 'color': '#80c0ff'}, {'name': 'sea', 'color': '#000001'}],
        {
            'classes': [
                {'id': 1, 'name': 'sea', 'color': '#000001'},
                {'id': 0, 'name': 'sky', 'color': '#80c0ff'},
            ]
        },
    ],
)
def test_read_palette_accepts_three_forms(tmp_path, content):
    assert parse_palette(read_palette(palette(tmp_path, content))) == [
        LabelClass(0, 'sky', '#80c0ff'),
        LabelClass(1, 'sea', '#000001'),
    ]


@pytest.mark.parametrize(
    'sea',
    [
        [{'name': 'sea', 'colors': ['#000001', [0, 0, 2]]}],
        [{'name': 'sea', 'color': ['#000001', '#000002']}],
        [{'name': 'sea', 'id': 1, 'color': color} for color in ('#000001', '#000002')],
    ],
)
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_class_may_have_several_colors(tmp_path, sea, encoding):
    path = tmp_path / 'palette.json'
    path.write_text(json.dumps([{'name': 'sky', 'color': '#80c0ff'}, *sea]), encoding=encoding)
    text = read_palette(str(path))
    assert parse_palette(text)[1:] == [LabelClass(1, 'sea', f'#00000{i}') for i in (1, 2)]
    assert DataConfig(dataset='folders', num_classes=2, palette=text)
    colors = np.array([[(0, 0, 1), (0, 0, 2), (128, 192, 255)]], np.uint8)
    assert ColorMask(text).ids(colors).tolist() == [[1, 1, 0]]


def test_read_palette_rejects_mistyped_key(tmp_path):
    with pytest.raises(
        UserError, match=r'class 0 \(sky\): "colour" is not a key of a class; write "color"'
    ):
        read_palette(palette(tmp_path, [{'name': 'sky', 'colour': '#80c0ff'}]))


def test_read_palette_gives_void_the_id_255(tmp_path):
    content = {'classes': [{'name': 'sky', 'color': '#80c0ff'}], 'void': {'color': [0, 0, 0]}}
    assert parse_palette(read_palette(palette(tmp_path, content)))[-1] == LabelClass(
        255, 'void', '#000000'
    )


@pytest.mark.parametrize(
    'content, message',
    [
        ('{', 'cannot be read'),
        ('[' * 100_000, 'cannot be read'),
        ('[{"name": "sky", "id": ' + '9' * 5000 + '}]', 'cannot be read'),
        ('[{"name": "\\ud800"}]', 'class 0 .* the name is not valid Unicode'),
        ({'names': []}, 'has no list "classes"'),
        ({'classes': []}, 'has no list "classes"'),
        ([{'color': '#000000'}], r'class 0: .* has no name'),
        ([{'name': 'sky', 'color': 'blue'}], r'class 0 \(sky\): "blue" is not a color'),
        ([{'name': 'sky', 'color': [0, 0, 256]}], 'is not a color'),
        ([{'name': 'sky', 'id': -1}], '-1 is not an id'),
        ([{'name': 'sky', 'id': 3}, {'name': 'sea', 'id': 3}], 'sky and sea have the same id 3'),
    ],
)
def test_read_palette_rejects_bad_content(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_palette(palette(tmp_path, content))


def test_read_palette_rejects_missing_file():
    with pytest.raises(UserError, match=r'palette=/dev/zero cannot be read \(not a regular file'):
        read_palette('/dev/zero')
    with pytest.raises(UserError, match='palette=nowhere.json cannot be read'):
        read_palette('nowhere.json')


def test_parse_palette_rejects_other_text():
    with pytest.raises(UserError, match='palette=colors.json is not the text of a palette'):
        parse_palette('colors.json')


@pytest.mark.parametrize(
    'text, targets, other',
    [
        ('', {}, None),
        ('7:0', {7: 0}, None),
        ('1-3:0-2, 0:255', {1: 0, 2: 1, 3: 2, 0: 255}, None),
        ('1-3:9,*:255', {1: 9, 2: 9, 3: 9}, 255),
    ],
)
def test_parse_remap_returns_targets(text, targets, other):
    assert parse_remap(text) == (targets, other)


@pytest.mark.parametrize(
    'text',
    [
        '7',
        '7:',
        'a:b',
        '1-3:0-1',
        '3-1:0',
        '7:0,7:1',
        '-1:0',
        '*:1,*:2',
        '70000:1',
        '1:70000',
        '*:70000',
    ],
)
def test_parse_remap_rejects_bad_tables(text):
    with pytest.raises(UserError, match='label_remap'):
        parse_remap(text)
