"""Preparing records: atomically, once, and readable by TFDS alone."""

import dataclasses
import json
import os
import pathlib
import pickle
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from spade_jax import landscapes
from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.paired_transforms import Geometry, scale
from spade_jax.data.records import writer
from spade_jax.data.records.manifest import MANIFEST
from spade_jax.data.records.reader import open_records
from spade_jax.data.records.writer import prepare
from spade_jax.data.sources import scenes as scenes_source
from spade_jax.data.sources.open_source import open_files
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import PART
from spade_jax.files.run_lock import exclusive_lock
from tests.data.records.noise_examples import assert_same, config_of, message, write_examples

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path):
    """Twelve training examples and as many for validation."""
    return write_examples(tmp_path, [(40, 44)] * 12)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of four examples."""
    monkeypatch.setattr(writer, 'EXAMPLES_PER_SHARD', 4)


def shards(config, split='*') -> dict[str, int]:
    """Modification times of the shards, by name."""
    paths = sorted(pathlib.Path(config.records_dir).glob(f'*-{split}.array_record-*-of-?????'))
    return {path.name: path.stat().st_mtime_ns for path in paths}


def assert_same_records(config, other):
    for split in ('train', 'validation'):
        one, two = open_records(config, split), open_records(other, split)
        assert one.names == two.names
        assert one.locations == two.locations
        for index in range(len(one)):
            assert_same(one.read(index), two.read(index))


def damage(root, *numbers, split='train'):
    """Give label maps an id that is out of range."""
    for number in numbers:
        path = root / f'{split}_label' / f'{number}.png'
        label = np.asarray(Image.open(path)).copy()
        label[5, 7] = 9
        Image.fromarray(label).save(path)


def interrupt(config, monkeypatch, after):
    """Prepare until `after` examples were encoded."""

    class Preemption(Exception):
        pass

    read = writer._checked_example
    calls = []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) > after:
            raise Preemption
        return read(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Preemption):
        patch.setattr(writer, '_checked_example', stopping)
        prepare(config)


def tfds_names(config):
    import tensorflow_datasets as tfds

    source = tfds.builder_from_directory(config.records_dir).as_data_source('train')
    return [example['name'].decode() for example in source]


def test_tfds_reads_records_without_this_package(root, small_shards):
    config = config_of(root, condition='labels+edges')
    prepare(config)
    script = (
        'import sys, pickle, tensorflow_datasets as tfds\n'
        f'builder = tfds.builder_from_directory({config.records_dir!r})\n'
        'examples = {split: list(builder.as_data_source(split)) for split in builder.info.splits}\n'
        'assert not any(name.startswith("spade_jax") for name in sys.modules)\n'
        'sys.stdout.buffer.write(pickle.dumps(examples))'
    )
    command = [sys.executable, '-c', script]
    found = subprocess.run(command, check=True, capture_output=True, cwd='/').stdout
    found = pickle.loads(found)
    assert set(found) == {'train', 'validation'}
    for split, examples in found.items():
        source = open_files(config, split)
        assert [example['name'].decode() for example in examples] == source.names
        for index, example in enumerate(examples):
            expected = scale(source.read(index), Geometry.from_config(config))
            np.testing.assert_array_equal(example['image'], expected.image)
            np.testing.assert_array_equal(example['label'], expected.label)
            np.testing.assert_array_equal(example['instance'], expected.instance)


def test_prepare_writes_shards_and_metadata(root, small_shards, capsys):
    config = config_of(root)
    prepare(config)
    expected = f'prepared 12 train examples, 12 validation examples in {config.records_dir}\n'
    assert capsys.readouterr().out == expected
    assert len(shards(config)) == 6
    assert set(os.listdir(config.records_dir)) - set(shards(config)) == {
        MANIFEST,
        'dataset_info.json',
        'features.json',
        writer.LOCK,
    }


def test_prepare_does_nothing_the_second_time(root, capsys, monkeypatch):
    config = config_of(root)
    prepare(config)
    before = shards(config)
    capsys.readouterr()
    monkeypatch.setattr(writer, 'check_example', None)
    prepare(config)
    counts = '12 train examples, 12 validation examples'
    assert capsys.readouterr().out == f'{config.records_dir} is already prepared: {counts}\n'
    assert shards(config) == before


def test_prepare_rejects_other_settings_before_reading(root):
    prepare(config_of(root))
    missing = dict(data_dir='/no/such/directory', records_dir=str(root / 'records'))
    config = config_of(root, load_size=40, num_classes=5, **missing)
    assert message(prepare, config) == (
        f'records_dir={config.records_dir} has records of other settings or examples '
        '(num_classes: 4 -> 5; load_size: 36 -> 40; scaled_size: 36x36 -> 40x40); '
        'choose another --records_dir, or remove it'
    )


def _touch_image(root):
    os.utime(root / 'train_img' / '3.png', (1e9, 1e9))


def _replace_label_map(root):
    Image.fromarray(np.zeros((44, 40), np.uint8)).save(root / 'val_label' / '3.png')


def _remove_image(root):
    (root / 'train_img' / '11.png').unlink()


def _remove_validation_set(root):
    (root / 'val_img').rename(root / 'elsewhere')


@pytest.mark.parametrize(
    'change, difference',
    [
        (_touch_image, 'train contents: 24 files ('),
        (_replace_label_map, 'validation contents: 24 files ('),
        (_remove_image, 'train examples: 12 -> 11; train names: '),
        (_remove_validation_set, 'validation examples: 12 -> None'),
    ],
)
def test_prepare_rejects_other_examples(root, change, difference):
    config = config_of(root)
    prepare(config)
    change(root)
    text = message(prepare, config)
    assert f'has records of other settings or examples ({difference}' in text


def test_interrupted_preparation_continues(root, small_shards, monkeypatch, capsys):
    whole = config_of(root, records_dir=str(root / 'whole'))
    prepare(whole)
    config = config_of(root)
    interrupt(config, monkeypatch, after=11)
    kept = shards(config)
    assert 1 <= len(kept) <= 2
    assert 'is not complete' in message(open_records, config, 'train')
    assert not os.path.exists(os.path.join(config.records_dir, 'dataset_info.json'))
    capsys.readouterr()
    prepare(config)
    expected = f'continuing an interrupted preparation: {4 * len(kept)} train examples'
    assert expected in capsys.readouterr().out
    assert kept.items() <= shards(config).items()
    assert_same_records(config, whole)


def test_killed_preparation_continues(root, small_shards):
    whole = config_of(root, records_dir=str(root / 'whole'))
    prepare(whole)
    config = config_of(root)
    script = (
        'import sys\n'
        'from spade_jax.config.data_config import DataConfig\n'
        'from spade_jax.data.records import writer\n'
        'write, written = writer._write_shard, []\n'
        'def write_two(*arguments):\n'
        '    if len(written) == 2:\n'
        '        print("two shards", flush=True)\n'
        '        sys.stdin.read()\n'
        '    written.append(write(*arguments))\n'
        'writer._write_shard, writer.EXAMPLES_PER_SHARD = write_two, 4\n'
        f'writer.prepare(DataConfig(**{dataclasses.asdict(config)!r}))\n'
    )
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process = subprocess.Popen([sys.executable, '-c', script], cwd=ROOT, **pipes)
    assert process.stdout.readline() == b'two shards\n'
    assert f'process {process.pid} on ' in message(prepare, config)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = shards(config)
    assert len(kept) == 2
    prepare(config)
    assert kept.items() <= shards(config).items()
    assert_same_records(config, whole)


@pytest.mark.parametrize('changed', ['settings', 'file'])
def test_interrupted_preparation_of_others_starts_again(
    root, small_shards, monkeypatch, capsys, changed
):
    config = config_of(root)
    other = config if changed == 'file' else config_of(root, load_size=40)
    interrupt(other, monkeypatch, after=11)
    if changed == 'file':
        _replace_label_map(root)
    prepare(config)
    assert 'starting again: the interrupted preparation was of other' in capsys.readouterr().out
    assert open_records(config, 'train').read(0).image.shape == (36, 36, 3)
    assert len(shards(config)) == 6


def test_bad_example_stops_preparation(root, small_shards):
    damage(root, 7)
    config = config_of(root)
    text = message(prepare, config)
    assert text.startswith(f'{root}/train_label/7.png: label id 9 at pixel (x=7, y=5)')
    assert '--mode=validate_data' in text
    assert 'is not complete' in message(open_records, config, 'train')


def test_bad_examples_are_left_out_if_allowed(root, small_shards, capfd):
    damage(root, 10, 2)
    (root / 'train_img' / '3.png').write_bytes(b'no image')
    config = config_of(root, on_bad_example='skip')
    prepare(config)
    out = ''.join(capfd.readouterr())
    assert f'left out: {root}/train_label/10.png: label id 9' in out
    assert f'left out: {root}/train_img/3.png: ' in out
    assert 'prepared 9 train examples (3 left out), 12 validation examples' in out
    source, files = open_records(config, 'train'), open_files(config, 'train')
    assert source.names == [name for name in files.names if name not in ('10', '2', '3')]
    for index, name in enumerate(source.names):
        expected = scale(files.read(files.names.index(name)), Geometry.from_config(config))
        assert_same(source.read(index), expected)
    assert tfds_names(config) == source.names
    skipped = json.loads((root / 'records' / MANIFEST).read_text())['splits']['train']['skipped']
    locations = [f'{root}/train_label/{number}.png' for number in (10, 2, 3)]
    assert [location for location, _ in skipped] == locations


def test_shard_without_usable_examples_is_empty(root, small_shards):
    damage(root, 0, 1, 10, 11)  # The first four in order of name.
    config = config_of(root, on_bad_example='skip')
    prepare(config)
    assert open_records(config, 'train').names == list('23456789')
    assert len(shards(config, 'train')) == 3
    assert tfds_names(config) == list('23456789')
    expected = scale(open_files(config, 'train').read(8), Geometry.from_config(config))
    assert_same(open_records(config, 'train').read(4), expected)


def test_left_out_example_is_an_error_when_no_longer_allowed(root, small_shards, monkeypatch):
    damage(root, 1)
    interrupt(config_of(root, on_bad_example='skip'), monkeypatch, after=11)
    assert f'{root}/train_label/1.png: label id 9' in message(prepare, config_of(root))


def test_index_of_two_colors_is_an_error_of_the_data_set(root):
    for number, color in ((0, b'\xff\0\0'), (1, b'\0\xff\0')):
        image = Image.new('P', (44, 40))
        image.putpalette(color)
        image.save(root / 'train_label' / f'{number}.png')
    text = message(prepare, config_of(root, on_bad_example='skip'))
    assert '.png: index 0 is #' in text
    assert '--palette=FILE' in text


def test_split_without_usable_example_is_an_error(root, small_shards):
    damage(root, *range(12), split='val')
    text = message(prepare, config_of(root, on_bad_example='skip'))
    expected = f'the validation split has no usable example: {root}/val_label/0.png: label id 9'
    assert text.startswith(expected)


def test_many_bad_examples_in_a_row_are_an_error(root, monkeypatch):
    monkeypatch.setattr(writer, 'MAX_SKIPPED_IN_A_ROW', 3)
    damage(root, 1, 10, 11, 2)
    text = message(prepare, config_of(root, on_bad_example='skip'))
    expected = f'3 examples in a row cannot be used; the last one: {root}/train_label/2.png'
    assert text.startswith(expected)


def test_prepare_rejects_images_smaller_than_the_crop(root):
    config = config_of(root, preprocess_mode='crop', crop_size=64)
    assert 'an image of 40x44 is smaller than the crop of 64x64' in message(prepare, config)


def test_prepare_needs_records_dir(root):
    text = message(prepare, config_of(root, records_dir=''))
    assert text == '--records_dir is missing; choose a directory for the records'


def test_prepare_rejects_directory_in_use(root):
    config = config_of(root)
    os.makedirs(config.records_dir)
    with exclusive_lock(config.records_dir, 'records_dir', writer.LOCK):
        text = message(prepare, config)
    assert text.startswith(f'records_dir={config.records_dir} is in use: process {os.getpid()}')
    assert text.endswith('or choose another --records_dir')
    prepare(config)


def test_prepare_rejects_directory_of_other_files(root):
    assert message(prepare, config_of(root, records_dir=str(root))) == (
        f'records_dir={root} is not empty (train_img) and has no prepared records; '
        'choose an empty directory'
    )


def test_prepare_rejects_directory_that_cannot_be_made(root):
    (root / 'file').write_text('')
    text = message(prepare, config_of(root, records_dir=str(root / 'file' / 'records')))
    assert text.endswith('cannot be written (Not a directory); choose another --records_dir')


def test_full_disk_is_reported_and_preparation_continues(root):
    config = config_of(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))  # Larger files cannot be written.
    try:
        text = message(prepare, config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert text == (
        f'records_dir={config.records_dir} cannot be written (write() failed: File too large); '
        'free space or choose another directory; --mode=prepare_data continues where it stopped'
    )
    prepare(config)
    assert len(open_records(config, 'train')) == 12


def test_prepare_notices_shard_that_went_missing(root):
    config = config_of(root)
    prepare(config)
    next(pathlib.Path(config.records_dir).glob('*-train*')).unlink()
    assert 'cannot be read (No such file or directory); copy' in message(prepare, config)


def test_file_names_may_be_any_bytes(tmp_path):
    write_examples(tmp_path, [(40, 44)] * 2, splits=['train'])
    for role in ('img', 'label', 'inst'):
        folder = tmp_path / f'train_{role}'
        os.rename(folder / '1.png', os.fsencode(folder) + b'/\xff\xe4.png')
    config = config_of(tmp_path)
    prepare(config)
    assert open_records(config, 'train').names == open_files(config, 'train').names


def test_instance_ids_are_renumbered_only_if_wide():
    narrow = np.array([[3, 65535]], np.int32)
    assert writer._in_16_bits(narrow, '').tolist() == [[3, 65535]]
    wide = np.array([[7, 70000], [-1, 7]], np.int32)
    assert writer._in_16_bits(wide, '').tolist() == [[1, 2], [0, 1]]
    assert writer._in_16_bits(wide, '').dtype == np.uint16


def test_more_instances_than_16_bits_hold_are_an_error():
    ids = np.arange(65537, dtype=np.int32).reshape(1, -1)
    with pytest.raises(UserError, match='a.png: 65537 instances, more than the 65536 that fit'):
        writer._in_16_bits(ids, 'a.png')


def test_scenes_are_prepared(tmp_path, monkeypatch):
    version = landscapes.VERSION
    monkeypatch.setattr(scenes_source, 'SCENES_VALIDATION_EXAMPLES', 2)
    config = DataConfig(
        data_dir=str(tmp_path / 'tfds'),
        records_dir=str(tmp_path / 'records'),
        scenes_train_examples=3,
        load_size=36,
        crop_size=32,
        data_workers=2,
        condition='labels+edges',
    )
    prepare(config)
    for split in ('train', 'validation'):
        files, records = open_files(config, split), open_records(config, split)
        assert list(records.names) == list(files.names)
        np.testing.assert_array_equal(records.read(1).image, files.read(1).image)
        np.testing.assert_array_equal(records.read(1).instance, files.read(1).instance)
    prepare(config)
    with pytest.raises(UserError, match='scenes_train_examples: 3 -> 4'):
        prepare(dataclasses.replace(config, scenes_train_examples=4))
    monkeypatch.setattr(landscapes, 'VERSION', '9.0.0')
    with pytest.raises(UserError, match=f'scenes_version: {version} -> 9.0.0'):
        prepare(config)


def test_prepare_ignores_unfinished_files_of_a_killed_run(root):
    config = config_of(root)
    part = pathlib.Path(config.records_dir) / f'{PART}0123.json'
    part.parent.mkdir()
    part.write_text('{"sett')
    prepare(config)
    assert not part.exists()
    assert len(open_records(config, 'train')) == 12
