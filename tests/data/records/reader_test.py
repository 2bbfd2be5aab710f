"""Training from prepared records equals training from the files, and defects are reported."""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest

from spade_jax.data.pipeline.input_pipeline import (
    BatchSchedule,
    Skipped,
    read_for_training,
    training_batches,
    validation_examples,
)
from spade_jax.data.records import fingerprint
from spade_jax.data.records.manifest import INCOMPLETE, MANIFEST
from spade_jax.data.records.reader import open_records
from spade_jax.data.records.writer import prepare
from spade_jax.data.sources.open_source import (
    change_since_prepared,
    check_source,
    open_files,
    open_source,
)
from tests.data.miniatures import MINIATURES
from tests.data.miniatures_test import SMALL, config_from
from tests.data.records.noise_examples import (
    SIZES,
    SQUARES,
    assert_same,
    config_of,
    message,
    write_examples,
)


@pytest.fixture
def prepared(tmp_path):
    """The configuration of prepared records."""
    config = config_of(write_examples(tmp_path))
    prepare(config)
    return config


@pytest.fixture(scope='module')
def prepared_once(tmp_path_factory):
    """The same for tests that change a copy."""
    config = config_of(write_examples(tmp_path_factory.mktemp('data')))
    prepare(config)
    return config


def shard_path(config, split='train') -> pathlib.Path:
    return next(pathlib.Path(config.records_dir).glob(f'*-{split}.array_record-00000-of-*'))


@pytest.mark.parametrize(
    'settings, sizes',
    [
        (dict(), SIZES),
        (dict(condition='labels+edges'), SIZES),
        (dict(condition='rgb'), SIZES),
        (dict(aspect_ratio=0.5), SIZES),
        (dict(preprocess_mode='crop', condition='labels+edges'), SIZES),
        (dict(preprocess_mode='scale_width_and_crop', load_size=80), SIZES),
        (dict(preprocess_mode='scale_shortside_and_crop', condition='labels+edges'), SIZES),
        (dict(preprocess_mode='fixed', condition='labels+edges'), SIZES),
        (dict(preprocess_mode='scale_width', load_size=32), SQUARES),
        (dict(preprocess_mode='scale_shortside', load_size=32), SQUARES),
        (dict(preprocess_mode='none'), SQUARES[:2]),
    ],
)
def test_examples_equal_those_of_the_files(tmp_path, settings, sizes):
    rgb = settings.get('condition') == 'rgb'
    config = config_of(write_examples(tmp_path, sizes, rgb=rgb), **settings)
    prepare(config)
    for split in ('train', 'validation'):
        files, records = open_files(config, split), open_source(config, split)
        assert not files.already_scaled
        assert records.already_scaled
        assert list(records.names) == list(files.names)
        assert list(records.locations) == list(files.locations)
        for position in range(20):
            expected = read_for_training(files, config, 0, position)
            assert_same(read_for_training(records, config, 0, position), expected)
        expected = validation_examples(files, config, 3)
        assert_same(validation_examples(records, config, 3), expected)
        assert check_source(records, config) == {}


def test_batches_equal_those_of_the_files(tmp_path):
    config = config_of(write_examples(tmp_path), condition='labels+edges')
    prepare(config)
    results = []
    for source in (open_files(config, 'train'), open_source(config, 'train')):
        batches = training_batches(source, config, BatchSchedule(4, seed=0), first_step=3)
        results.append(list(itertools.islice(batches, 4)))
        batches.close()
    for one, other in zip(*results, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize('name', MINIATURES)
def test_every_data_set_is_read_where_its_files_are_not(tmp_path, name):
    flags = [*MINIATURES[name](tmp_path / 'data'), *SMALL, f'--records_dir={tmp_path}/records']
    config = config_from(flags).data
    prepare(config)
    expected = {}
    for split in ('train', 'validation'):
        files, records = open_files(config, split), open_records(config, split)
        assert (files is None) == (records is None)
        if files is not None:
            assert list(records.names) == list(files.names)
            assert list(records.locations) == list(files.locations)
            expected[split] = [read_for_training(files, config, 0, n) for n in range(6)]
    prepare(config)  # Finds the same examples.
    palettes = list((tmp_path / 'data').glob('palette.json'))
    os.rename(tmp_path / 'data', tmp_path / 'gone')
    for path in palettes:  # Flags name this file.
        path.parent.mkdir()
        (tmp_path / 'gone' / path.name).rename(path)
    config = config_from(flags).data
    for split, examples in expected.items():
        source = open_source(config, split)
        for position, example in enumerate(examples):
            assert_same(read_for_training(source, config, 0, position), example)


def test_read_returns_scaled_arrays(tmp_path):
    config = config_of(write_examples(tmp_path), condition='labels+edges')
    prepare(config)
    example = open_records(config, 'train').read(2)
    assert [part.dtype for part in example] == [np.uint8, np.uint8, np.uint16]
    assert [part.shape for part in example] == [(36, 36, 3), (36, 36), (36, 36)]
    maps = open_records(config, 'train').read_maps(2)
    assert_same(maps, example._replace(image=None))


def test_label_ids_of_16_bits_are_kept(tmp_path):
    root = write_examples(tmp_path, num_classes=300, label_dtype=np.uint16)
    config = config_of(root, num_classes=300)
    prepare(config)
    files, records = open_files(config, 'train'), open_records(config, 'train')
    assert max(records.read(index).label.max() for index in range(5)) > 255
    expected = read_for_training(files, config, 0, 0)
    assert_same(read_for_training(records, config, 0, 0), expected)


def test_wide_instance_ids_keep_their_borders(tmp_path):
    config = config_of(write_examples(tmp_path, wide_instances=True), condition='labels+edges')
    prepare(config)
    files, records = open_files(config, 'train'), open_records(config, 'train')
    assert files.read(0).instance.max() > 2**16
    for position in range(5):
        wide = read_for_training(files, config, 0, position)
        narrow = read_for_training(records, config, 0, position)
        assert_same(narrow._replace(instance=None), wide._replace(instance=None))
        for axis in (0, 1):
            borders = [np.diff(ids, axis=axis) != 0 for ids in (wide.instance, narrow.instance)]
            np.testing.assert_array_equal(*borders)


def test_records_without_validation_set_have_none(tmp_path):
    config = config_of(write_examples(tmp_path, splits=['train']))
    prepare(config)
    assert open_source(config, 'validation') is None
    assert len(open_source(config, 'train')) == 5


def test_records_do_not_depend_on_directories(prepared, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    expected = open_source(prepared, 'train').read(1)
    os.rename(prepared.records_dir, elsewhere)
    missing = pathlib.Path('/no/such/directory')
    changes = dict(train_image_dir='other', image_suffix='_x')
    config = config_of(missing, records_dir=str(elsewhere), **changes)
    assert_same(open_source(config, 'train').read(1), expected)


def test_records_serve_other_crops_of_the_same_scale(prepared, tmp_path):
    config = config_of(tmp_path, crop_size=24, flip=False)
    example = read_for_training(open_records(config, 'train'), config, 0, 0)
    assert example.image.shape == (24, 24, 3)


def test_open_rejects_crop_larger_than_the_records(tmp_path):
    settings = dict(preprocess_mode='scale_shortside_and_crop', load_size=48)
    config = config_of(write_examples(tmp_path), **settings)
    prepare(config)
    path = tmp_path / 'records' / MANIFEST
    manifest = json.loads(path.read_text())
    manifest['splits']['train']['smallest'] = [48, 31]
    path.write_text(json.dumps(manifest))
    assert 'a prepared image of 48x31 does not fit' in message(open_records, config, 'train')


def test_reading_is_safe_from_many_threads(prepared):
    source = open_records(prepared, 'train')
    expected = [source.read(index) for index in range(5)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        examples = pool.map(lambda number: source.read(number % 5), range(400))
        for index, example in enumerate(examples):
            assert_same(example, expected[index % 5])


def test_open_rejects_directory_without_records(tmp_path):
    assert message(open_records, config_of(tmp_path), 'train') == (
        f'records_dir={tmp_path}/records has no prepared records; write them with '
        '--mode=prepare_data and the flags of this run, or leave --records_dir out'
    )


def test_open_rejects_unfinished_preparation(prepared, tmp_path):
    records = tmp_path / 'records'
    (records / MANIFEST).rename(records / INCOMPLETE)
    assert message(open_records, prepared, 'train') == (
        f'records_dir={tmp_path}/records is not complete: its preparation was interrupted or is '
        'still running; run --mode=prepare_data again, which continues where it stopped'
    )


@pytest.mark.parametrize(
    'changes, difference',
    [
        (dict(load_size=40), 'load_size: 36 -> 40; scaled_size: 36x36 -> 40x40'),
        (dict(num_classes=5), 'num_classes: 4 -> 5'),
        (
            dict(condition='labels+edges', dontcare=True),
            'condition: labels -> labels+edges; dontcare: False -> True',
        ),
        (
            dict(preprocess_mode='fixed'),
            'preprocess_mode: resize_and_crop -> fixed; scaled_size: 36x36 -> 32x32',
        ),
        (dict(aspect_ratio=0.5), 'scaled_size: 36x36 -> 36x72'),
        (dict(label_remap='1:0'), 'label_remap:  -> 1:0'),
        (dict(train_list='some.txt'), 'train_list:  -> some.txt'),
    ],
)
def test_open_lists_settings_that_differ(prepared, tmp_path, changes, difference):
    assert message(open_source, config_of(tmp_path, **changes), 'train') == (
        f'records_dir={prepared.records_dir} was prepared with other settings ({difference}); use '
        'the same flags, or prepare another --records_dir with --mode=prepare_data'
    )


def test_differences_shorten_long_values():
    saved, given = ({'palette': 70 * 'x' + end} for end in 'ab')
    (text,) = fingerprint.differences(saved, given)
    assert text == f'palette: {60 * "x"}... -> another'


def test_open_rejects_another_format(prepared, monkeypatch):
    found = fingerprint.FORMAT
    monkeypatch.setattr(fingerprint, 'FORMAT', found + 1)
    assert f'(format: {found} -> {found + 1})' in message(open_records, prepared, 'train')


@pytest.mark.parametrize(
    'content',
    ['', '{"settings": ', '[]', '{}', '{"settings": {}, "sources": {}, "splits": {"train": 3}}'],
)
def test_open_rejects_damaged_manifest(prepared, content):
    path = pathlib.Path(prepared.records_dir) / MANIFEST
    path.write_text(content)
    assert str(path) in message(open_records, prepared, 'train')


def test_open_rejects_missing_shard(prepared):
    path = shard_path(prepared, 'validation')
    path.unlink()
    expected = f'{path} cannot be read (No such file or directory); copy the records again'
    assert message(open_records, prepared, 'validation').startswith(expected)


def test_open_rejects_truncated_shard(prepared):
    path = shard_path(prepared)
    size = path.stat().st_size
    os.truncate(path, size // 2)
    expected = f'{path} has {size // 2} bytes instead of {size}; copy the records again'
    assert message(open_records, prepared, 'train').startswith(expected)


def _flip_a_bit(path, index):
    """Damage the image of the `index`-th record of a file."""
    content = bytearray(path.read_bytes())
    position = [match.end() for match in re.finditer(rb'image/value', bytes(content))][index] + 100
    content[position] ^= 1
    path.write_bytes(content)


def test_read_names_damaged_record(prepared):
    path = shard_path(prepared)
    _flip_a_bit(path, 3)
    source = open_records(prepared, 'train')
    location = f'{prepared.data_dir}/train_label/3.png'
    expected = f'{path}: the record of {location} is damaged (Corrupted'
    assert message(source.read, 3).startswith(expected)
    assert source.read(2).image.shape == source.read(4).image.shape


def test_damaged_record_can_be_skipped(prepared, tmp_path):
    _flip_a_bit(shard_path(prepared), 3)
    config = config_of(tmp_path, on_bad_example='skip')
    source, skipped = open_source(config, 'train'), Skipped()
    for position in range(5):
        read_for_training(source, config, 0, position, skipped)
    assert skipped.count == 1
    assert list(skipped.reasons) == [source.locations[3]]


def test_read_rejects_shard_of_something_else(prepared):
    path = shard_path(prepared)
    path.write_bytes(os.urandom(path.stat().st_size))
    assert f'{path}: the record of' in message(open_records(prepared, 'train').read, 0)


def test_change_since_prepared_names_touched_file(prepared, tmp_path):
    assert change_since_prepared(prepared, 'train') is None
    label = tmp_path / 'train_label' / '2.png'
    os.utime(label, ns=(1, 1))
    change = change_since_prepared(prepared, 'train')
    assert f'{label} has changed' in change
    assert f'records_dir={prepared.records_dir}' in change
    assert change_since_prepared(prepared, 'validation') is None


def test_change_since_prepared_names_new_and_removed_files(prepared, tmp_path):
    for role in ('img', 'label'):
        folder = tmp_path / f'val_{role}'
        (folder / '7.png').write_bytes((folder / '1.png').read_bytes())
    assert f'{tmp_path}/val_img/7.png is new' in change_since_prepared(prepared, 'validation')
    for role in ('img', 'label'):
        (tmp_path / f'val_{role}' / '7.png').unlink()
        (tmp_path / f'val_{role}' / '4.png').unlink()
    assert '4 is gone' in change_since_prepared(prepared, 'validation')


def test_change_since_prepared_ignores_missing_files(prepared, tmp_path):
    config = config_of(tmp_path / 'elsewhere', records_dir=prepared.records_dir)
    assert change_since_prepared(config, 'train') is None


def test_open_rejects_validation_flags_without_validation_records(tmp_path):
    config = config_of(write_examples(tmp_path, splits=('train',)))
    prepare(config)
    assert open_records(config, 'validation') is None
    expected = (
        f'validation_image_dir=more, but records_dir={config.records_dir} was prepared without '
        'validation images'
    )
    config = config_of(tmp_path, validation_image_dir='more')
    assert message(open_records, config, 'validation').startswith(expected)


def change_manifest(config, **changes):
    """Change entries of the training split in the manifest."""
    path = pathlib.Path(config.records_dir) / MANIFEST
    manifest = json.loads(path.read_text())
    manifest['splits']['train'] |= changes
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    'changes',
    [
        dict(names=['../../x', '1', '2', '3', '4']),
        dict(names=['/abs/x', '1', '2', '3', '4']),
        dict(names=['\ud800', '1', '2', '3', '4']),
        dict(names=[0, 1, 2, 3, 4]),
        dict(names=['0']),
        dict(locations=[]),
        dict(shards=[['../x', 5, 100]]),
        dict(shards=[['/x', 5, 100]]),
        dict(shards=[['x', 7, 100], ['y', -2, 100]]),
        dict(shards=[['x', 'five', 100]]),
        dict(shards=3),
        dict(smallest=[]),
        dict(largest=['a', 'b']),
        dict(states=[1]),
        dict(skipped=[1]),
        dict(other=1),
    ],
)
def test_manifest_of_impossible_values_is_refused(prepared_once, changes, tmp_path):
    records = shutil.copytree(prepared_once.records_dir, tmp_path / 'records')
    config = dataclasses.replace(prepared_once, records_dir=str(records))
    change_manifest(config, **changes)
    for call in (lambda: open_records(config, 'train'), lambda: prepare(config)):
        expected = f'{records}/{MANIFEST} cannot be read .*; remove the directory and prepare it'
        assert re.match(expected, message(call))
