"""The tables of class names and colors that come with the package."""

import json
import pathlib
import re

import pytest

import spade_jax.data
from spade_jax import landscapes
from spade_jax.config.label_format import counterpart
from spade_jax.data.files.palette import rgb

DIRECTORY = pathlib.Path(spade_jax.data.__file__).parent / 'classes'
COUNTS = {
    'coco_stuff': 182,
    'ade20k': 151,
    'cityscapes': 35,
    'cityscapes_19': 19,
    'facades': 12,
    'camvid': 11,
    'camvid_32': 32,
    'celebamask_hq': 19,
    'gaugan': 32,
    'scenes': 13,
}
WITHOUT_COLORS = {'coco_stuff'}
WITH_REPEATED_COLORS = {
    'cityscapes',
    'ade20k',
}  # as the official ones: five void classes are black, a skyscraper is as gray as a road

KNOWN = [
    ('coco_stuff', 0, 'person', None),
    ('coco_stuff', 11, 'street sign', None),
    ('coco_stuff', 25, 'hat', None),
    ('coco_stuff', 72, 'laptop', None),
    ('coco_stuff', 89, 'toothbrush', None),
    ('coco_stuff', 91, 'banner', None),
    ('coco_stuff', 156, 'sky-other', None),
    ('coco_stuff', 181, 'wood', None),
    ('ade20k', 0, 'unknown', '#000000'),
    ('ade20k', 1, 'wall', '#787878'),
    ('ade20k', 3, 'sky', '#06e6e6'),
    ('ade20k', 7, 'road', '#8c8c8c'),
    ('ade20k', 49, 'skyscraper', '#8c8c8c'),
    ('ade20k', 13, 'person', '#96053d'),
    ('ade20k', 150, 'flag', '#5c00ff'),
    ('cityscapes', 0, 'unlabeled', '#000000'),
    ('cityscapes', 3, 'out of roi', '#000000'),
    ('cityscapes', 7, 'road', '#804080'),
    ('cityscapes', 23, 'sky', '#4682b4'),
    ('cityscapes', 26, 'car', '#00008e'),
    ('cityscapes', 33, 'bicycle', '#770b20'),
    ('cityscapes', 34, 'license plate', '#00008e'),
    ('cityscapes_19', 0, 'road', '#804080'),
    ('cityscapes_19', 13, 'car', '#00008e'),
    ('cityscapes_19', 18, 'bicycle', '#770b20'),
    ('facades', 0, 'background', '#0000aa'),
    ('facades', 1, 'facade', '#0000ff'),
    ('facades', 2, 'window', '#0055ff'),
    ('facades', 10, 'pillar', '#ff0000'),
    ('facades', 11, 'shop', '#aa0000'),
    ('camvid', 0, 'sky', '#808080'),
    ('camvid', 4, 'pavement', '#3c28de'),
    ('camvid', 10, 'bicyclist', '#0080c0'),
    ('camvid_32', 0, 'Animal', '#408040'),
    ('camvid_32', 17, 'Road', '#804080'),
    ('camvid_32', 22, 'SUVPickupTruck', '#4080c0'),
    ('camvid_32', 30, 'Void', '#000000'),
    ('camvid_32', 31, 'Wall', '#40c000'),
    ('celebamask_hq', 0, 'background', '#000000'),
    ('celebamask_hq', 1, 'skin', '#cc0000'),
    ('celebamask_hq', 4, 'l_eye', '#3333ff'),
    ('celebamask_hq', 13, 'hair', '#0000cc'),
    ('celebamask_hq', 18, 'cloth', '#00cc00'),
    ('gaugan', 0, 'bridge', '#5e5bc5'),
    ('gaugan', 22, 'sky', '#9ceedd'),
    ('gaugan', 31, 'wood', '#b57b00'),
]


def table(name):
    return json.loads((DIRECTORY / f'{name}.json').read_text(encoding='utf-8'))


def test_tables_are_exactly_the_known_ones():
    assert {path.stem for path in DIRECTORY.iterdir()} == set(COUNTS)


@pytest.mark.parametrize('name', COUNTS)
def test_ids_count_from_zero(name):
    assert [entry['id'] for entry in table(name)['classes']] == list(range(COUNTS[name]))


@pytest.mark.parametrize('name', COUNTS)
def test_names_are_unique_and_stripped(name):
    names = [entry['name'] for entry in table(name)['classes']]
    assert len(set(names)) == len(names)
    assert all(text and text == text.strip() for text in names)
    assert table(name)['about'].endswith('.')


@pytest.mark.parametrize('name', sorted(set(COUNTS) - WITHOUT_COLORS))
def test_colors_are_well_formed_and_unique(name):
    colors = [entry['color'] for entry in table(name)['classes']]
    assert all(re.fullmatch('#[0-9a-f]{6}', color) for color in colors)
    assert (len(set(colors)) == len(colors)) == (name not in WITH_REPEATED_COLORS)


@pytest.mark.parametrize('name', sorted(WITHOUT_COLORS))
def test_table_without_official_colors_has_none(name):
    assert not any('color' in entry for entry in table(name)['classes'])


@pytest.mark.parametrize('name, number, class_name, color', KNOWN)
def test_tables_have_well_known_classes(name, number, class_name, color):
    entry = table(name)['classes'][number]
    assert (entry['name'], entry.get('color')) == (class_name, color)


def test_cityscapes_tables_share_colors():
    colors = {entry['name']: entry['color'] for entry in table('cityscapes')['classes']}
    assert all(
        colors[entry['name']] == entry['color'] for entry in table('cityscapes_19')['classes']
    )


def test_gaugan_classes_have_groups():
    assert {entry['group'] for entry in table('gaugan')['classes']} == {
        'building',
        'ground',
        'landscape',
        'plant',
    }


def test_table_of_the_scenes_has_their_classes():
    entries = [(entry['name'], rgb(entry['color'])) for entry in table('scenes')['classes']]
    assert entries == list(landscapes.CLASSES)


@pytest.mark.parametrize('name', ['scenes', 'coco_stuff', 'ade20k'])
def test_gaugan_classes_have_counterparts(name):
    names = {entry['name'] for entry in table(name)['classes']}
    for entry in table('gaugan')['classes']:
        assert counterpart(entry, names), entry
