"""The table of data sets: every entry is a legal configuration, and the layout that is there is taken."""

import pytest

from spade_jax.config.catalog import CATALOG, builtin_palette, defaults_of
from spade_jax.config.config import Config
from spade_jax.config.data_config import DATASETS
from spade_jax.config.label_format import read_palette
from spade_jax.data.files.palette import builtin_classes, classes_of

NAMES = sorted(set(CATALOG) - {'scenes'})


def config_of(name, data_dir='', **changes):
    defaults = defaults_of(name, str(data_dir))
    if 'palette' in defaults:
        defaults['palette'] = read_palette(builtin_palette(defaults['palette']))
    return Config.create(dataset=name, data_dir=str(data_dir), **defaults | changes)


def test_config_and_catalogue_know_the_same_data_sets():
    assert set(DATASETS) == set(CATALOG) | {'folders', 'tfds'}


@pytest.mark.parametrize('name', NAMES)
def test_entries_are_legal_and_their_classes_are_named(name):
    config = config_of(name)
    names, colors = classes_of(config)
    assert len(names) == len(colors) == config.data.label_channels
    assert names[:3] == tuple(entry.name for entry in builtin_classes(CATALOG[name].classes))[:3]


@pytest.mark.parametrize(
    'name, channels',
    [
        ('coco_stuff', 184),
        ('ade20k', 151),
        ('cityscapes', 36),
        ('cityscapes_19', 21),
        ('facades', 12),
        ('camvid', 12),
        ('camvid_32', 32),
        ('celebamask_hq', 19),
    ],
)
def test_layout_channels(name, channels):
    assert config_of(name).layout_channels == channels


def test_the_layout_that_is_there_is_taken(tmp_path):
    assert config_of('coco_stuff', tmp_path).train_image_dir == 'train2017'
    (tmp_path / 'train_img').mkdir()
    assert config_of('coco_stuff', tmp_path).train_image_dir == 'train_img'
    assert config_of('camvid', tmp_path).label_remap == ''
    (tmp_path / 'trainannot').mkdir()
    assert config_of('camvid', tmp_path).label_remap == '11:255'


def test_own_data_have_no_defaults():
    assert defaults_of('folders', '') == defaults_of('tfds', '') == {}


def test_palettes_of_the_package_have_names():
    assert builtin_palette('gaugan').endswith('gaugan.json')
    assert builtin_palette('nothing') is None
    assert builtin_palette('../classes/gaugan') is None
