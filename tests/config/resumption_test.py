"""What a run takes over from a saved configuration, by its flags."""

import json
import shlex
import sys

import pytest

from spade_jax.config.config import Config
from spade_jax.config.flags import config_from_flags
from spade_jax.config.option import command_line
from spade_jax.config.resumption import command_of_new_run, conflicts
from spade_jax.errors import UserError
from tests.fixtures.cli import parsed_flags

SAVED = Config.create(
    dataset='folders',
    data_dir='here',
    train_image_dir='photos',
    num_classes=3,
    dontcare=True,
    crop_size=64,
    load_size=64,
    generator_width=8,
    ema_decay=0.9,
    max_steps=7,
)
CAMVID = Config.create(dataset='camvid', num_classes=11, crop_size=128, aspect_ratio=4 / 3)


def config_of(*arguments, saved=SAVED):
    with parsed_flags(*arguments) as values:
        return config_from_flags(values, saved)


@pytest.mark.parametrize(
    'arguments, changed',
    [
        ([], {}),
        (['--max_steps=9'], dict(max_steps=9)),
        (['--dataset=folders', '--data_dir=there'], dict(data_dir='there')),
        (['--train_label_dir=maps', '--nodontcare'], dict(train_label_dir='maps', dontcare=False)),
        (['--condition=rgb'], dict(condition='rgb', dontcare=False)),
    ],
)
def test_flags_that_are_not_given_have_the_saved_values(arguments, changed):
    assert config_of(*arguments) == SAVED.replace(**changed)


def test_saved_value_overrides_the_default_of_the_data_set():
    assert config_of('--dataset=camvid', saved=CAMVID) == CAMVID


def test_another_data_set_brings_its_own_options():
    config = config_of('--dataset=facades', '--data_dir=there')
    assert (config.data.num_classes, config.data.crop_size) == (12, 256)
    assert config.model == SAVED.model
    with pytest.raises(UserError, match='num_classes is not set'):
        config_of('--dataset=folders', saved=CAMVID)


def test_saved_model_without_condition_has_no_classes_to_count():
    saved = Config.create('gan')
    config = config_of('--dataset=folders', '--train_image_dir=photos', saved=saved)
    assert (config.data.condition, config.data.train_image_dir) == ('none', 'photos')


def test_rendered_scenes_have_directories_of_features():
    assert config_of('--feature_cache_dir=f', saved=None).evaluation.feature_cache_dir == 'f'
    with pytest.raises(UserError, match='train_image_dir is set, but dataset=scenes has no files'):
        config_of('--train_image_dir=f', saved=None)


def test_given_palette_replaces_the_saved_one(tmp_path):
    path = tmp_path / 'palette.json'
    path.write_text(json.dumps([{'name': name} for name in 'abcde']))
    config = config_of(f'--palette={path}')
    assert (config.data.num_classes, config.data.dontcare) == (5, False)


def test_conflicts_list_what_may_not_change():
    saved = Config.create()
    assert conflicts(saved, saved.replace(data_dir='elsewhere', log_every=1)) == []
    changed = saved.replace(num_classes=3, seed=7, generator_width=8)
    expected = ['num_classes: 13 -> 3', 'seed: 0 -> 7', 'generator_width: 64 -> 8']
    assert sorted(conflicts(saved, changed)) == sorted(expected)


def test_long_values_are_cut():
    palette = json.dumps([[i, f'class {i}', None] for i in range(13)])
    (line,) = conflicts(Config.create(), Config.create(palette=palette))
    assert len(line) < 80


@pytest.mark.parametrize(
    'given',
    [
        SAVED,
        SAVED.replace(max_steps=0, batch_size=8, style_encoder=True, data_dir='it is here'),
        SAVED.replace(dontcare=False, palette='[[0,"the sky","#ffffff"],[1,"b",null]]'),
        SAVED.replace(dataset='camvid', dontcare=False, aspect_ratio=2.0, ema_decay=0.0),
        Config.create(num_classes=5),
    ],
)
def test_command_of_a_new_run_describes_its_configuration(given, tmp_path):
    (tmp_path / 'run_2').mkdir()
    python, option, program, *arguments = shlex.split(
        command_of_new_run(SAVED, given, f'{tmp_path}/run/')
    )
    assert (python, option, program) == ('python', '-m', 'spade_jax.main')
    with parsed_flags(*arguments) as values:
        assert values['workdir'].value == f'{tmp_path}/run_3'
        config = config_from_flags(values, SAVED)
    assert config == given.replace(init_from=f'{tmp_path}/run/')


@pytest.mark.parametrize(
    'called, program',
    [
        ('/opt/spade_jax/main.py', 'python -m spade_jax.main'),
        ('/opt/spade_jax/__main__.py', 'python -m spade_jax'),
        ('{bin}/spade-jax', 'spade-jax'),
        ('the venv/bin/spade-jax', "'the venv/bin/spade-jax'"),
        ('/opt/pytest/__main__.py', 'python -m spade_jax.main'),
    ],
)
def test_printed_command_calls_the_program_as_the_user_did(called, program, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [called.format(bin=tmp_path)])
    monkeypatch.setenv('PATH', str(tmp_path if '{bin}' in called else tmp_path / 'none'))
    (tmp_path / 'spade-jax').touch(0o755)
    assert command_line({'flip': False}, '--x=1') == f'{program} --noflip --x=1'
