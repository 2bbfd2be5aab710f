"""The scenes as a prepared data set: complete, in order, rendered once."""

import io

import numpy as np
import pytest

from spade_jax import landscapes
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids, read_photo
from spade_jax.data.sources import scenes, scenes_builder
from spade_jax.data.sources.open_source import check_source, open_source
from spade_jax.data.sources.scenes import render_record
from spade_jax.errors import UserError

SIZE = 32
CONFIG = scenes_builder.ScenesConfig(
    height=SIZE, width=SIZE, train_examples=3, validation_examples=2
)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp('tfds'))
    return directory, {
        split: scenes_builder.prepared_scenes(CONFIG, split, directory)
        for split in ('train', 'validation')
    }


def _assert_is_scene(record, seed):
    scene = landscapes.render_scene(seed, SIZE, SIZE)
    np.testing.assert_array_equal(read_photo(io.BytesIO(record['image'])), scene.image)
    np.testing.assert_array_equal(read_ids(io.BytesIO(record['label'])), scene.label)
    np.testing.assert_array_equal(record['instance'], scene.instance)


def test_records_are_complete_in_seed_order(prepared):
    _, records = prepared
    assert len(records['train']) == 3
    assert len(records['validation']) == 2
    for index in range(3):
        _assert_is_scene(records['train'][index], index)
    for index in range(2):
        _assert_is_scene(
            records['validation'][index], scenes_builder.FIRST_SEED['validation'] + index
        )


def test_prepared_records_are_not_rendered_again(prepared, monkeypatch):
    directory, records = prepared
    monkeypatch.setattr(scenes_builder, 'render_records', None)
    again = scenes_builder.prepared_scenes(CONFIG, 'train', directory)
    assert again[1]['image'] == records['train'][1]['image']


def test_validation_scenes_need_no_training_scenes(prepared, tmp_path, monkeypatch):
    rendered = []
    render = scenes_builder.render_records
    monkeypatch.setattr(
        scenes_builder,
        'render_records',
        lambda seeds, height, width: rendered.extend(seeds) or render(seeds, height, width),
    )
    records = scenes_builder.prepared_scenes(CONFIG, 'validation', str(tmp_path))
    first = scenes_builder.FIRST_SEED['validation']
    assert rendered == [first, first + 1]
    for record, stored in zip(records, prepared[1]['validation'], strict=True):
        assert record['image'] == stored['image']
        np.testing.assert_array_equal(record['instance'], stored['instance'])


def test_interrupted_preparation_restarts(tmp_path, monkeypatch):
    def interrupted(seeds, height, width):
        yield render_record(seeds[0], height, width)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(scenes_builder, 'render_records', interrupted)
        scenes_builder.prepared_scenes(CONFIG, 'train', str(tmp_path))
    assert len(scenes_builder.prepared_scenes(CONFIG, 'train', str(tmp_path))) == 3


def test_render_records_in_processes_keeps_order(monkeypatch):
    monkeypatch.setattr(scenes, 'usable_cores', lambda: 2)
    seeds = range(5, 21)
    for seed, record in zip(seeds, scenes.render_records(seeds, SIZE, SIZE), strict=True):
        _assert_is_scene(record, seed)


def test_source_returns_rendered_scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, 'SCENES_VALIDATION_EXAMPLES', 1)
    config = DataConfig(
        data_dir=str(tmp_path),
        scenes_train_examples=2,
        load_size=36,
        crop_size=32,
        condition='labels+edges',
    )
    source = open_source(config, 'train')
    check_source(source, config)
    example = source.read(1)
    scene = landscapes.render_scene(1, 36, 36)
    np.testing.assert_array_equal(example.image, scene.image)
    np.testing.assert_array_equal(example.label, scene.label)
    np.testing.assert_array_equal(example.instance, scene.instance)
    np.testing.assert_array_equal(source.read_maps(1).label, scene.label)
    assert source.names == ['train_00000', 'train_00001']
    assert len(open_source(config, 'validation')) == 1


@pytest.mark.parametrize(
    'settings, problem',
    [
        (
            dict(num_classes=20),
            'dataset=scenes has label maps with 13 classes; use --num_classes=13',
        ),
        (dict(dontcare=True), 'leave --dontcare out'),
    ],
)
def test_source_rejects_other_classes(settings, problem):
    with pytest.raises(UserError, match=problem):
        open_source(DataConfig(**settings), 'train')
