"""Materials of GauGAN are found in every table, and those of a model among the materials."""

import collections

import pytest

from spade_jax.config.catalog import builtin_classes, builtin_palettes, palette_options
from spade_jax.config.label_format import parse_palette
from spade_jax.data.files.palette import classes_of
from spade_jax.studio.correspondences import match, materials, materials_of
from tests.config.catalog_test import config_of


def names_of(dataset):
    return classes_of(config_of(dataset)).names


@pytest.mark.parametrize(
    'dataset, same, nearest, none',
    [
        ('coco_stuff', 32, 0, 0),
        ('ade20k', 21, 11, 0),
        ('scenes', 14, 18, 0),
        ('cityscapes_19', 9, 20, 3),
        ('camvid', 6, 14, 12),
    ],
)
def test_materials_are_found_in_tables(dataset, same, nearest, none):
    found = [match(entry['name'], names_of(dataset)) for entry in materials()]
    kinds = collections.Counter(None if one is None else one.is_same for one in found)
    assert [kinds[True], kinds[False], kinds[None]] == [same, nearest, none]


def test_every_name_of_a_correspondence_is_in_some_table():
    known = {entry.name for name in builtin_palettes() for entry in builtin_classes(name)}
    for entry in materials():
        assert {*entry.get('same', ()), *entry.get('like', ())} <= known, entry


@pytest.mark.parametrize('dataset', ['scenes', 'ade20k', 'coco_stuff', 'cityscapes_19'])
def test_match_agrees_with_the_flag(dataset):
    config = config_of(dataset)
    by_color = {
        entry.color: entry.id
        for entry in parse_palette(palette_options('gaugan', config)['palette'])
    }
    for entry in materials():
        found = match(entry['name'], classes_of(config).names)
        assert by_color.get(entry['color']) == (found and found.id), entry


@pytest.mark.parametrize(
    'name, names, expected',
    [
        ('earth', ['sky', 'dirt'], (1, True)),  # Through GauGAN's "dirt".
        ('Trees', ['sky', 'tree'], (1, True)),
        ('wall', ['wall-other', 'grass'], (0, True)),
        ('snow', ['sky', 'mountain'], (1, False)),
        ('sofa', ['sky', 'mountain'], None),
    ],
)
def test_match_of_names(name, names, expected):
    assert match(name, names) == expected


def test_materials_of_the_demo_are_those_of_the_same_names():
    names = names_of('scenes')
    found = dict(zip(names, materials_of(names), strict=True))
    assert found.pop('sun') == (None, None, False)
    assert found['water'] == ('water', '#b1c8ff', True)
    assert found['cloud'] == ('clouds', '#696969', True)
    assert all(material.is_same for material in found.values())


def test_a_material_that_is_only_near_is_marked():
    names = names_of('ade20k')
    assert materials_of(names)[names.index('plant')] == ('bush', '#606e32', False)
