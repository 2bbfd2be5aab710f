"""Training from prepared records is training from the files, to the bit; and what is wrong with records is said."""

import concurrent.futures
import itertools
import json
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.input_pipeline import (
    Skipped,
    read_for_training,
    training_batches,
    validation_examples,
)
from spade_jax.data.records import reader
from spade_jax.data.records import writer as builder
from spade_jax.data.records.reader import MANIFEST, PROGRESS, open_records
from spade_jax.data.sources.open_source import (
    change_since_prepared,
    check_source,
    open_files,
    open_source,
)
from spade_jax.errors import UserError
from tests.data.miniatures import MINIATURES
from tests.data.miniatures_test import SMALL, config_from

SIZES = [(48, 40), (40, 52), (44, 44), (37, 61), (64, 36)]  # (width, height)
SQUARES = [(40, 40), (36, 36), (50, 50)]


def write_examples(
    root,
    sizes=SIZES,
    *,
    splits=('train', 'val'),
    num_classes=4,
    label_dtype=np.uint8,
    instances='png',
    rgb=False,
) -> pathlib.Path:
    """Paired noise of these sizes."""
    random = np.random.default_rng(1)
    for split, (number, (width, height)) in itertools.product(splits, enumerate(sizes)):
        paths = [root / f'{split}_{role}' for role in ('img', 'label', 'inst')]
        for path in paths:
            path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(
            paths[0] / f'{number}.png'
        )
        label = (
            random.integers(0, 256, (height, width, 3), np.uint8)
            if rgb
            else random.integers(0, num_classes, (height, width)).astype(label_dtype)
        )
        Image.fromarray(label).save(paths[1] / f'{number}.png')
        ids = random.integers(0, 60000, (height, width))
        ids = ids.astype(np.uint16) if instances == 'png' else ids.astype(np.int32) * 1000
        Image.fromarray(ids).save(paths[2] / f'{number}.{instances}')
    return root


def config_of(root, **changes) -> Config:
    return DataConfig(
        **{
            **dict(
                dataset='folders',
                data_dir=str(root),
                records_dir=str(root / 'records'),
                num_classes=4,
                load_size=36,
                crop_size=32,
                batch_size=4,
                data_workers=2,
            ),
            **changes,
        }
    )


@pytest.fixture
def prepared(tmp_path):
    """A configuration and its records."""
    config = config_of(write_examples(tmp_path))
    builder.prepare(config)
    return config


def assert_same(one, other):
    assert len(one) == len(other)
    for part, other_part in zip(one, other, strict=True):
        assert (part is None) == (other_part is None)
        if part is not None:
            assert part.dtype == other_part.dtype
            np.testing.assert_array_equal(part, other_part)


def message(call, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as error:
        call(*arguments, **keywords)
    assert '\n' not in str(error.value)
    return str(error.value)


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
        (dict(reference_faults=True, condition='labels+edges', aspect_ratio=0.5), SIZES),
        (
            dict(
                reference_faults=True,
                condition='labels+edges',
                preprocess_mode='scale_shortside_and_crop',
            ),
            [(20, 30), (48, 25), (40, 40)],
        ),
        (
            dict(reference_faults=True, preprocess_mode='crop', condition='rgb'),
            [(20, 30), (48, 25), (40, 40)],
        ),
    ],
)
def test_examples_are_those_of_the_files(tmp_path, settings, sizes):
    config = config_of(
        write_examples(tmp_path, sizes, rgb=settings.get('condition') == 'rgb'), **settings
    )
    builder.prepare(config)
    for split in ('train', 'validation'):
        files, prepared = open_files(config, split), open_source(config, split)
        assert prepared.already_scaled and not files.already_scaled
        assert (
            list(prepared.names) == list(files.names)
            and list(prepared.locations) == list(files.locations)
            and len(prepared) == len(files)
        )
        for position in range(20):
            assert_same(
                read_for_training(prepared, config, position),
                read_for_training(files, config, position),
            )
        assert_same(validation_examples(prepared, config, 3), validation_examples(files, config, 3))
        assert check_source(prepared, config) == {}


def test_batches_are_those_of_the_files(tmp_path):
    config = config_of(write_examples(tmp_path), condition='labels+edges')
    builder.prepare(config)
    results = []
    for source in (open_files(config, 'train'), open_source(config, 'train')):
        batches = training_batches(source, config, first_step=3)
        results.append(list(itertools.islice(batches, 4)))
        batches.close()
    for one, other in zip(*results, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize('name', MINIATURES)
def test_every_data_set(tmp_path, name):
    flags = [*MINIATURES[name](tmp_path / 'data'), *SMALL, f'--records_dir={tmp_path}/records']
    config = config_from(flags)
    builder.prepare(config)
    expected = {}
    for split in ('train', 'validation'):
        files, prepared = open_files(config, split), open_records(config, split)
        assert (files is None) == (prepared is None)
        if files is not None:
            assert list(prepared.names) == list(files.names) and list(prepared.locations) == list(
                files.locations
            )
            expected[split] = [read_for_training(files, config, position) for position in range(6)]
    builder.prepare(config)  # finds that they are the same
    # Elsewhere, where the files are not and their layout cannot be seen, the same flags read the same examples.
    palettes = list((tmp_path / 'data').glob('palette.json'))
    os.rename(tmp_path / 'data', tmp_path / 'gone')
    for path in palettes:
        path.parent.mkdir()
        (tmp_path / 'gone' / path.name).rename(path)
    config = config_from(flags)
    for split, examples in expected.items():
        source = open_source(config, split)
        for position, example in enumerate(examples):
            assert_same(read_for_training(source, config, position), example)


def test_types_and_maps(tmp_path):
    config = config_of(write_examples(tmp_path), condition='labels+edges')
    builder.prepare(config)
    source = open_records(config, 'train')
    example = source.read(2)
    assert [part.dtype for part in example] == [np.uint8, np.uint8, np.uint16]
    assert [part.shape for part in example] == [(36, 36, 3), (36, 36), (36, 36)]
    assert_same(source.read_maps(2), example._replace(image=None))


def test_ids_of_16_bits(tmp_path):
    config = config_of(
        write_examples(tmp_path, num_classes=300, label_dtype=np.uint16), num_classes=300
    )
    builder.prepare(config)
    files, prepared = open_files(config, 'train'), open_records(config, 'train')
    assert (
        prepared.read(0).label.dtype == np.uint16
        and max(prepared.read(index).label.max() for index in range(5)) > 255
    )
    assert_same(read_for_training(prepared, config, 0), read_for_training(files, config, 0))


def test_instance_ids_of_32_bits(tmp_path, capsys):
    config = config_of(write_examples(tmp_path, instances='tif'), condition='labels+edges')
    builder.prepare(config)
    assert 'does not fit 16 bits' in capsys.readouterr().out
    files, prepared = open_files(config, 'train'), open_records(config, 'train')
    assert prepared.read(0).instance.max() > 2**16
    for position in range(5):
        assert_same(
            read_for_training(prepared, config, position),
            read_for_training(files, config, position),
        )


def test_without_validation_set(tmp_path):
    config = config_of(write_examples(tmp_path, splits=['train']))
    builder.prepare(config)
    assert open_source(config, 'validation') is None and len(open_source(config, 'train')) == 5


def test_records_are_read_where_the_files_are_not(prepared):
    elsewhere = pathlib.Path(prepared.data_dir) / 'elsewhere'
    os.rename(prepared.records_dir, elsewhere)
    config = config_of(
        pathlib.Path('/no/such/directory'),
        records_dir=str(elsewhere),
        train_image_dir='other',
        image_suffix='_x',
    )
    assert_same(open_source(config, 'train').read(1), open_records(config, 'train').read(1))


def test_other_crops_of_the_same_scale(prepared):
    config = config_of(
        pathlib.Path(prepared.data_dir),
        upsampling='normal',
        crop_size=32,
        flip=False,
        seed=7,
        batch_size=2,
    )
    assert len(open_records(config, 'train')) == 5


def test_a_crop_that_the_records_are_too_small_for(tmp_path):
    config = config_of(
        write_examples(tmp_path), preprocess_mode='scale_shortside_and_crop', load_size=48
    )
    builder.prepare(config)
    manifest = json.loads((tmp_path / 'records' / MANIFEST).read_text())
    manifest['splits']['train']['smallest'] = [48, 31]
    (tmp_path / 'records' / MANIFEST).write_text(json.dumps(manifest))
    assert 'a prepared picture of 48x31 does not fit' in message(open_records, config, 'train')


def test_reading_from_many_threads(prepared):
    source = open_records(prepared, 'train')
    expected = [source.read(index) for index in range(5)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, example in enumerate(
            pool.map(lambda number: source.read(number % 5), range(400))
        ):
            assert_same(example, expected[index % 5])


def test_nothing_prepared(tmp_path):
    assert message(open_records, config_of(tmp_path), 'train') == (
        f'records_dir={tmp_path}/records has no prepared records; write them with --mode=prepare_data and the flags of this run, or leave --records_dir out'
    )


def test_an_unfinished_preparation(prepared):
    (pathlib.Path(prepared.records_dir) / MANIFEST).unlink()
    (pathlib.Path(prepared.records_dir) / PROGRESS).mkdir()
    assert (
        'is not complete: its preparation was interrupted or is still going on; run --mode=prepare_data again'
        in message(open_records, prepared, 'train')
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
def test_other_settings_are_listed(prepared, changes, difference):
    config = config_of(pathlib.Path(prepared.data_dir), **changes)
    assert message(open_source, config, 'train') == (
        f'records_dir={prepared.records_dir} was prepared with other settings ({difference}); give the same flags, or prepare another --records_dir with '
        '--mode=prepare_data'
    )


def test_long_values_are_not_listed_in_full():
    one, other = (
        '[[0,"sky","#000000"],'
        + f'[1,"a very long name that nobody would want to read","#00000{number}"]]'
        for number in (0, 1)
    )
    assert re.fullmatch(
        r'palette: .{60}\.\.\. -> another',
        reader.differences({'palette': one}, {'palette': other})[0],
    )


def test_another_format(prepared, monkeypatch):
    monkeypatch.setattr(reader, 'FORMAT', 2)
    assert 'format: 1 -> 2' in message(open_records, prepared, 'train')


@pytest.mark.parametrize(
    'content',
    [
        '',
        '{"settings": ',
        '[]',
        '{}',
        '{"settings": {}, "sources": {}, "instance_dtype": "uint16", "splits": {"train": 3}}',
    ],
)
def test_a_damaged_manifest(prepared, content):
    path = pathlib.Path(prepared.records_dir) / MANIFEST
    path.write_text(content)
    assert str(path) in message(open_records, prepared, 'train')


def test_a_missing_shard(prepared):
    path = shard_path(prepared, 'validation')
    path.unlink()
    assert message(open_records, prepared, 'validation').startswith(
        f'{path} cannot be read (No such file or directory); copy the records anew'
    )


def test_a_truncated_shard(prepared):
    path = shard_path(prepared)
    size = path.stat().st_size
    with open(path, 'r+b') as file:
        file.truncate(size // 2)
    assert message(open_records, prepared, 'train').startswith(
        f'{path} has {size // 2} bytes instead of {size}; copy the records anew'
    )


def _flip_a_bit(path, index):
    """Damages the photograph of the record of a file that is the `index`-th."""
    content = bytearray(path.read_bytes())
    position = [match.end() for match in re.finditer(rb'image/value', bytes(content))][index] + 100
    content[position] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_found_where_it_is(prepared):
    path = shard_path(prepared)
    _flip_a_bit(path, 3)
    source = open_records(prepared, 'train')
    assert message(source.read, 3).startswith(
        f'{path}: the record of {prepared.data_dir}/train_label/3.png is damaged (Corrupted'
    )
    source.read(2), source.read(4)


def test_a_damaged_record_may_be_skipped(prepared):
    _flip_a_bit(shard_path(prepared), 3)
    config = config_of(pathlib.Path(prepared.data_dir), on_bad_example='skip')
    source, skipped = open_source(config, 'train'), Skipped()
    for position in range(5):
        read_for_training(source, config, position, skipped)
    assert skipped.count == 1 and list(skipped.reasons) == [source.locations[3]]


def test_files_that_changed_since_are_named(prepared):
    """Records are read as they are; but who looks at the files is told that they are others."""
    root = pathlib.Path(prepared.data_dir)
    assert change_since_prepared(prepared, 'train') is None
    label = root / 'train_label' / '2.png'
    os.utime(label, ns=(1, 1))
    change = change_since_prepared(prepared, 'train')
    assert (
        f'was prepared: {label} has changed; ' in change
        and f'records_dir={prepared.records_dir}' in change
        and '--mode=prepare_data' in change
    )
    assert change_since_prepared(prepared, 'validation') is None
    (root / 'val_img' / '7.png').write_bytes((root / 'val_img' / '1.png').read_bytes())
    (root / 'val_label' / '7.png').write_bytes((root / 'val_label' / '1.png').read_bytes())
    assert f'{root}/val_img/7.png is new' in change_since_prepared(prepared, 'validation')
    for role in ('img', 'label'):
        (root / f'val_{role}' / '7.png').unlink()
        (root / f'val_{role}' / '4.png').unlink()
    assert ': 4 is gone; ' in change_since_prepared(prepared, 'validation')


def test_files_that_are_not_there_have_not_changed(prepared, tmp_path):
    assert (
        change_since_prepared(
            config_of(tmp_path / 'elsewhere', records_dir=prepared.records_dir), 'train'
        )
        is None
    )
    manifest = pathlib.Path(prepared.records_dir) / MANIFEST
    content = json.loads(manifest.read_text())
    for split in content['splits'].values():
        del split['states']  # as older records are
    manifest.write_text(json.dumps(content))
    os.utime(tmp_path / 'train_label' / '2.png', ns=(1, 1))
    assert (
        change_since_prepared(prepared, 'train') is None
        and open_records(prepared, 'train') is not None
    )


def test_validation_pictures_that_the_records_do_not_have(tmp_path):
    config = config_of(write_examples(tmp_path, splits=('train',)))
    builder.prepare(config)
    assert open_records(config, 'validation') is None
    asked = config_of(tmp_path, validation_image_dir='more')
    assert message(open_records, asked, 'validation').startswith(
        f'validation_image_dir=more, but records_dir={config.records_dir} was prepared without validation'
    )


def test_a_shard_of_something_else(prepared):
    path = shard_path(prepared)
    path.write_bytes(os.urandom(path.stat().st_size))
    assert f'{path}: the record of' in message(open_records(prepared, 'train').read, 0)
