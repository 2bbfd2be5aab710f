"""Every entry of the catalog is a legal configuration, and the existing layout is used."""

import pytest

from spade_jax.config.catalog import CATALOG, builtin_classes, builtin_palette, defaults_of
from spade_jax.config.config import Config
from spade_jax.config.data_config import DATASETS
from spade_jax.config.label_format import read_palette
from spade_jax.data.files.palette import classes_of

NAMES = sorted(set(CATALOG) - {'scenes', 'pairs'})


def config_of(name, data_dir='', **changes):
    defaults = defaults_of(name, str(data_dir))
    if 'palette' in defaults:
        defaults['palette'] = read_palette(builtin_palette(defaults['palette']))
    return Config.create(dataset=name, data_dir=str(data_dir), **defaults | changes).data


def test_catalog_matches_dataset_choices():
    assert set(DATASETS) == set(CATALOG) | {'folders', 'tfds'}


@pytest.mark.parametrize('name', NAMES)
def test_entries_are_legal_and_name_their_classes(name):
    config = config_of(name)
    names, colors = classes_of(config)
    assert len(names) == len(colors) == config.label_channels
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
def test_entries_have_published_layout_channels(name, channels):
    assert config_of(name).layout_channels == channels


def test_defaults_follow_existing_layout(tmp_path):
    assert config_of('coco_stuff', tmp_path).train_image_dir == 'train2017'
    (tmp_path / 'train_img').mkdir()
    assert config_of('coco_stuff', tmp_path).train_image_dir == 'train_img'
    assert config_of('camvid', tmp_path).label_remap == ''
    (tmp_path / 'trainannot').mkdir()
    assert config_of('camvid', tmp_path).label_remap == '11:255'


def test_defaults_are_empty_for_own_data():
    assert defaults_of('folders', '') == defaults_of('tfds', '') == {}


def test_builtin_palette_finds_tables_by_name():
    assert builtin_palette('gaugan').endswith('gaugan.json')
    assert builtin_palette('nothing') is None
    assert builtin_palette('../classes/gaugan') is None
