"""Configs from flags: palettes of the package for trained models, and paths."""

import json
import os

import pytest

from spade_jax.config.config import Config, shared_option_fields
from spade_jax.config.flags import check_given, config_from_flags, given_options
from spade_jax.config.label_format import parse_palette
from spade_jax.errors import UserError
from tests.fixtures.cli import parsed_flags

FREE = ('palette', 'label_remap')


def palette_for(config, *arguments):
    """The ids by color, for a trained model; the options must be legal for it."""
    with parsed_flags(*arguments) as values:
        check_given(values, config, FREE)
        given = given_options(values, config)
    config.replace(**given)
    return {entry.color: entry.id for entry in parse_palette(given['palette'])}


def test_gaugan_palette_has_the_ids_of_the_scenes():
    ids = palette_for(Config.create(), '--palette=gaugan')
    sky, sea, river, wood, house = '#9ceedd', '#9ac6da', '#9364c8', '#b57b00', '#7f4502'
    assert len(ids) == 32
    assert [ids[color] for color in (sky, sea, river, wood, house)] == [0, 9, 9, 8, 12]


@pytest.mark.parametrize('name', ['scenes', 'demo'])
def test_palette_of_the_demo_has_its_colors(name):
    ids = palette_for(Config.create(), f'--palette={name}')
    assert sorted(ids.values()) == list(range(13))
    assert ids['#2a62ac'] == 9


def test_palette_of_the_package_replaces_the_remap_of_the_files():
    remap = '7:0,8:1,*:255'
    options = dict(dataset='cityscapes_19', num_classes=19, dontcare=True, label_remap=remap)
    config = Config.create(**options)
    with parsed_flags('--palette=cityscapes') as values:
        given = given_options(values, config)
    assert given['label_remap'] == ''
    assert {entry.name: entry.id for entry in parse_palette(given['palette'])}['bicycle'] == 18


def test_remap_applies_before_the_palette_is_checked():
    ids = palette_for(Config.create(), '--palette=gaugan', '--label_remap=22:0,21:9,*:12')
    assert ids['#9ceedd'] == 22  # `LabelReader` renumbers it.
    with parsed_flags('--dataset=folders', '--palette=gaugan', '--label_remap=*:4') as values:
        assert config_from_flags(values).data.num_classes == 5


def test_remedy_for_another_palette_keeps_the_classes_of_the_model(tmp_path):
    path = tmp_path / 'palette.json'
    path.write_text(json.dumps([{'name': 'sea', 'id': 13, 'color': '#0000ff'}]))
    message = 'has the id 13 .*; the classes of a trained model are fixed: use their ids'
    with pytest.raises(UserError, match=message):
        palette_for(Config.create(), f'--palette={path}')
    assert palette_for(Config.create(), f'--palette={path}', '--label_remap=13:9')


def test_remedy_for_another_option_is_its_own():
    config = Config.create()
    with parsed_flags('--batch_size=0') as values, pytest.raises(UserError) as error:
        check_given(values, config, ('batch_size', *FREE))
    assert str(error.value) == 'batch_size=0 is too small; use 1 or more'


def test_paths_may_begin_with_the_home_directory():
    paths = [name for name, field in shared_option_fields().items() if field.metadata['path']]
    later = ['feature_cache_dir']  # Its "~" is expanded where it is used.
    directories = [name for name in shared_option_fields() if name.endswith(('dir', 'list'))]
    assert set(directories) <= {*paths, *later}
    arguments = [f'--{name}=~/x' for name in paths]
    with parsed_flags('--dataset=folders', '--condition=labels+edges', *arguments) as values:
        config = config_from_flags(values, classes_may_be_unknown=True)
    assert {config.options()[name] for name in paths} == {os.path.expanduser('~/x')}


def test_misspelled_palette_gets_the_names_of_the_package():
    with parsed_flags('--dataset=folders', '--palette=gaugn') as values:
        with pytest.raises(
            UserError, match='palette=gaugn: no such file; .* demo, facades, gaugan'
        ):
            config_from_flags(values)


def test_another_model_than_that_of_the_checkpoint_is_named():
    saved = Config.create('pix2pix', num_classes=3, pix2pix_depth=7)
    message = r'contradict the checkpoint \(model: pix2pix -> spade\); leave them out'
    with parsed_flags('--model=spade') as values, pytest.raises(UserError, match=message):
        check_given(values, saved, FREE)
