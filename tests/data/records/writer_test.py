"""Preparing records: whole or not at all, once, and readable by TFDS alone."""

import fcntl
import json
import os
import pathlib
import pickle
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.paired_transforms import Geometry, scale
from spade_jax.data.records import writer as builder
from spade_jax.data.records.reader import MANIFEST, PROGRESS, open_records
from spade_jax.data.records.writer import prepare
from spade_jax.data.sources import scenes as scenes_source
from spade_jax.data.sources.open_source import open_files
from spade_jax.errors import UserError
from tests.data.records.reader_test import assert_same, config_of, message, write_examples

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path):
    """Twelve training examples and as many for validation."""
    return write_examples(tmp_path, [(40, 44)] * 12)


@pytest.fixture
def small_shards(monkeypatch):
    """Of four examples each."""
    monkeypatch.setattr(builder, '_SHARD_SIZE', 4.2 * (36 * 36 * 3 + 800))


def _shards(config, split='*') -> dict[str, int]:
    """Modification times of the shards, by name."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in sorted(pathlib.Path(config.records_dir).glob(f'*-{split}.array_record-*'))
    }


def _assert_same_records(config, other):
    for split in ('train', 'validation'):
        one, two = open_records(config, split), open_records(other, split)
        assert one.names == two.names and one.locations == two.locations
        for index in range(len(one)):
            assert_same(one.read(index), two.read(index))


def _damage(root, *numbers, split='train'):
    """Gives label maps an id that is out of range."""
    for number in numbers:
        path = root / f'{split}_label' / f'{number}.png'
        label = np.asarray(Image.open(path)).copy()
        label[5, 7] = 9
        Image.fromarray(label).save(path)


def _interrupted(config, monkeypatch, after):
    """Prepares until so many examples were encoded, besides those for the estimate of the size."""

    class Preemption(Exception):
        pass

    record = builder._Preparation._record
    calls = []

    def stopping(self, split, index):
        calls.append(index)
        if len(calls) > after + 2 * builder._NUM_SAMPLED:
            raise Preemption
        return record(self, split, index)

    with monkeypatch.context() as patch, pytest.raises(Preemption):
        patch.setattr(builder._Preparation, '_record', stopping)
        prepare(config)


def test_tfds_opens_the_records_without_our_code(root, small_shards):
    config = config_of(root, condition='labels+edges')
    prepare(config)
    script = (
        'import sys, pickle, tensorflow_datasets as tfds\n'
        f'builder = tfds.builder_from_directory({config.records_dir!r})\n'
        'examples = {split: list(builder.as_data_source(split)) for split in builder.info.splits}\n'
        'assert not any(name.startswith("spade_jax") for name in sys.modules)\n'
        'sys.stdout.buffer.write(pickle.dumps(examples))'
    )
    found = pickle.loads(
        subprocess.run(
            [sys.executable, '-c', script], check=True, capture_output=True, cwd='/'
        ).stdout
    )
    assert set(found) == {'train', 'validation'}
    for split, examples in found.items():
        source = open_files(config, split)
        assert [example['name'].decode() for example in examples] == source.names
        for index, example in enumerate(examples):
            expected = scale(source.read(index), Geometry.from_config(config))
            np.testing.assert_array_equal(example['image'], expected.image)
            np.testing.assert_array_equal(example['label'], expected.label)
            np.testing.assert_array_equal(example['instance'], expected.instance)


def test_what_is_written_and_said(root, small_shards, capsys):
    config = config_of(root)
    prepare(config)
    out = capsys.readouterr().out
    assert (
        f'12 train examples, 12 validation examples: about 0.1 MB in {config.records_dir}\n' in out
    )
    assert out.endswith(
        f'prepared 12 train examples, 12 validation examples in {config.records_dir}\n'
    )
    assert len(_shards(config)) == 6
    assert {name for name in os.listdir(config.records_dir) if 'array_record' not in name} == {
        MANIFEST,
        'dataset_info.json',
        'features.json',
        '.lock',
    }


def test_preparing_again_does_nothing(root, capsys, monkeypatch):
    config = config_of(root)
    prepare(config)
    before = _shards(config)
    capsys.readouterr()
    monkeypatch.setattr(builder, 'check_example', None)
    prepare(config)
    assert (
        capsys.readouterr().out
        == f'{config.records_dir} is already prepared: 12 train examples, 12 validation examples\n'
    )
    assert _shards(config) == before


def test_other_settings_are_refused_before_anything_is_read(root):
    prepare(config_of(root))
    config = config_of(
        root,
        load_size=40,
        num_classes=5,
        data_dir='/no/such/directory',
        records_dir=str(root / 'records'),
    )
    assert message(prepare, config) == (
        f'records_dir={config.records_dir} has records that were prepared otherwise (num_classes: 4 -> 5; '
        'load_size: 36 -> 40; scaled_size: 36x36 -> 40x40); choose another --records_dir, or remove it'
    )


@pytest.mark.parametrize(
    'change, difference',
    [
        (
            lambda root: os.utime(root / 'train_img' / '3.png', (1e9, 1e9)),
            'train contents: 24 files (',
        ),
        (
            lambda root: Image.fromarray(np.zeros((44, 40), np.uint8)).save(
                root / 'val_label' / '3.png'
            ),
            'validation contents: 24 files (',
        ),
        (
            lambda root: (root / 'train_img' / '11.png').unlink(),
            'train examples: 12 -> 11; train names: ',
        ),
        (
            lambda root: (root / 'val_img').rename(root / 'elsewhere'),
            'validation examples: 12 -> None',
        ),
    ],
)
def test_other_examples_are_refused(root, change, difference):
    config = config_of(root)
    prepare(config)
    change(root)
    text = message(prepare, config)
    assert f'has records that were prepared otherwise ({difference}' in text and text.endswith(
        'choose another --records_dir, or remove it'
    )


def test_an_interrupted_preparation_goes_on(root, small_shards, monkeypatch, capsys):
    whole = config_of(root, records_dir=str(root / 'whole'))
    prepare(whole)
    config = config_of(root)
    _interrupted(config, monkeypatch, after=11)
    kept = _shards(config)
    assert 1 <= len(kept) <= 3
    assert 'is not complete' in message(open_records, config, 'train')
    assert not os.path.exists(os.path.join(config.records_dir, 'dataset_info.json'))
    capsys.readouterr()
    prepare(config)
    assert 'are not written yet' in capsys.readouterr().out
    assert kept.items() <= _shards(config).items()
    _assert_same_records(config, whole)


def test_a_killed_preparation_goes_on(root, small_shards):
    whole = config_of(root, records_dir=str(root / 'whole'))
    prepare(whole)
    config = config_of(root)
    script = (
        'import time\n'
        'from spade_jax.config import Config\n'
        'from spade_jax.data.builders import records\n'
        'check = records.check_example\n'
        'records.check_example = lambda *arguments: (time.sleep(0.2), check(*arguments))\n'
        f'records._SHARD_SIZE = {builder._SHARD_SIZE}\n'
        f'records.prepare(Config.from_json({config.to_json()!r}))\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', script],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 60
    while len(_shards(config)) < 2 and time.time() < deadline:
        time.sleep(0.01)
    assert 'is being prepared by another process; wait for it' in message(prepare, config)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = _shards(config)
    assert 2 <= len(kept) < 6
    prepare(config)
    assert kept.items() <= _shards(config).items()
    _assert_same_records(config, whole)
    assert len(open_records(config, 'train')) == 12


def test_the_remains_of_other_settings_are_thrown_away(root, small_shards, monkeypatch, capsys):
    _interrupted(config_of(root, load_size=40), monkeypatch, after=11)
    config = config_of(root)
    prepare(config)
    assert (
        'starting anew: the interrupted preparation was of other settings or examples'
        in capsys.readouterr().out
    )
    assert (
        open_records(config, 'train').read(0).image.shape == (36, 36, 3)
        and len(_shards(config)) == 6
    )


@pytest.mark.parametrize('files', ['plan.json', '*.json'])
def test_remains_that_are_damaged_are_not_trusted(root, small_shards, monkeypatch, files):
    config = config_of(root)
    _interrupted(config, monkeypatch, after=11)
    for path in (pathlib.Path(config.records_dir) / PROGRESS).glob(files):
        path.write_text('{"half')
    prepare(config)
    assert len(open_records(config, 'train')) == len(open_records(config, 'validation')) == 12


def test_a_bad_example_stops_the_preparation(root, small_shards, monkeypatch):
    monkeypatch.setattr(builder, '_NUM_SAMPLED', 1)
    _damage(root, 7)
    config = config_of(root)
    assert message(prepare, config) == (
        f'{root}/train_label/7.png: label id 9 at pixel (x=7, y=5) is not one of the 4 classes 0..3; use --num_classes=10 or more; '
        '--mode=validate_data with the same flags, but for --records_dir, lists all defects and suggests flags'
    )
    assert 'is not complete' in message(open_records, config, 'train')


def test_mended_examples_cost_only_their_shard(root, small_shards, monkeypatch):
    monkeypatch.setattr(
        builder, '_NUM_SAMPLED', 1
    )  # or the bad one is found before anything is written
    _damage(root, 7)
    config = config_of(root)
    assert 'train_label/7.png: label id 9' in message(prepare, config)
    kept = _shards(config)
    assert len(kept) == 2
    _write_black(root / 'train_label' / '7.png', root / 'train_label' / '0.png')
    prepare(config)
    unchanged = kept.items() & _shards(config).items()
    assert [name[-14:] for name, _ in unchanged] == ['00001-of-00003'] and len(_shards(config)) == 6
    source = open_records(config, 'train')
    assert [source.names[index] for index in range(12) if not source.read(index).label.any()] == [
        '0',
        '7',
    ]


def _write_black(*paths):
    for path in paths:
        Image.fromarray(np.zeros((44, 40), np.uint8)).save(path)


def test_bad_examples_are_left_out(root, small_shards, capfd):
    _damage(root, 10, 2)
    (root / 'train_img' / '3.png').write_bytes(b'no picture')
    config = config_of(root, on_bad_example='skip')
    prepare(config)
    out = ''.join(capfd.readouterr())
    assert (
        f'left out: {root}/train_label/10.png: label id 9' in out
        and f'left out: {root}/train_img/3.png: ' in out
    )
    assert 'prepared 9 train examples (3 left out), 12 validation examples' in out
    source, files = open_records(config, 'train'), open_files(config, 'train')
    assert source.names == [name for name in files.names if name not in ('10', '2', '3')]
    for index, name in enumerate(source.names):
        assert_same(
            source.read(index),
            scale(files.read(files.names.index(name)), Geometry.from_config(config)),
        )
    import tensorflow_datasets as tfds

    assert [
        example['name'].decode()
        for example in tfds.builder_from_directory(config.records_dir).as_data_source('train')
    ] == source.names
    skipped = json.loads((root / 'records' / MANIFEST).read_text())['splits']['train']['skipped']
    assert [location for location, _ in skipped] == [
        f'{root}/train_label/{number}.png' for number in (10, 2, 3)
    ]


def test_a_shard_without_usable_examples(root, small_shards):
    _damage(root, 0, 1, 10, 11)  # the first four in order of name
    config = config_of(root, on_bad_example='skip')
    prepare(config)
    import tensorflow_datasets as tfds

    assert (
        open_records(config, 'train').names == list('23456789')
        and len(_shards(config, 'train')) == 3
    )
    assert [
        example['name'].decode()
        for example in tfds.builder_from_directory(config.records_dir).as_data_source('train')
    ] == list('23456789')
    assert_same(
        open_records(config, 'train').read(4),
        scale(open_files(config, 'train').read(8), Geometry.from_config(config)),
    )


def test_examples_that_were_left_out_are_missed_when_that_is_no_longer_allowed(
    root, small_shards, monkeypatch
):
    _damage(root, 1)
    _interrupted(config_of(root, on_bad_example='skip'), monkeypatch, after=11)
    config = config_of(root)
    assert f'{root}/train_label/1.png: label id 9' in message(prepare, config)


def test_no_usable_example(root, small_shards):
    _damage(root, *range(12), split='val')
    text = message(prepare, config_of(root, on_bad_example='skip'))
    assert text.startswith(
        f'the validation split has no usable example: {root}/val_label/0.png: label id 9'
    )


def test_many_bad_examples_in_a_row_are_no_accident(root, monkeypatch):
    monkeypatch.setattr(builder, '_MOST_DEFECTS', 3)
    _damage(root, 1, 10, 11, 2)
    assert message(prepare, config_of(root, on_bad_example='skip')).startswith(
        f'3 examples in a row cannot be used, the last because: {root}/train_label/2.png'
    )


def test_pictures_that_do_not_come_out_right(root):
    assert 'a picture of 40x44 is smaller than the crop of 64x64' in message(
        prepare, config_of(root, preprocess_mode='crop', crop_size=64)
    )


def test_where_the_records_go_is_missing(root):
    assert (
        message(prepare, config_of(root, records_dir=''))
        == '--records_dir is missing: where the records go'
    )


def test_two_at_once_are_refused(root):
    config = config_of(root)
    os.makedirs(config.records_dir)
    with open(os.path.join(config.records_dir, '.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert message(prepare, config) == (
            f'records_dir={config.records_dir} is being prepared by another process; wait for it, or choose another --records_dir'
        )
    prepare(config)


def test_a_disk_that_cannot_lock(root, monkeypatch):
    def refuse(file, operation):
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr(fcntl, 'flock', refuse)
    assert (
        'is on a disk that cannot lock files (Function not implemented); prepare the records on another disk'
        in message(prepare, config_of(root))
    )


def test_a_directory_of_something_else(root):
    assert message(prepare, config_of(root, records_dir=str(root))) == (
        f'records_dir={root} is not empty (train_img) and has no prepared records; choose a directory of its own'
    )


def test_a_directory_that_cannot_be_made(root):
    assert (
        '/file/records cannot be written (Not a directory); choose another --records_dir'
        in message(prepare, config_of(root, records_dir=str(_file(root) / 'records')))
    )


def _file(root):
    (root / 'file').write_text('')
    return root / 'file'


def test_too_little_room(root, monkeypatch):
    monkeypatch.setattr(
        builder.shutil, 'disk_usage', lambda path: type('Usage', (), dict(free=30000))
    )
    text = message(prepare, config_of(root))
    assert (
        'has room for 0.0 MB, but the records need about 0.1 MB; choose a --records_dir on another disk'
        in text
    )


def test_a_disk_that_is_full(root):
    config = config_of(root)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))  # As if so much were left.
    try:
        text = message(prepare, config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert text == (
        f'records_dir={config.records_dir} cannot be written (write() failed: File too large); make room or choose another directory; '
        '--mode=prepare_data goes on where it stopped'
    )
    prepare(config)
    assert len(open_records(config, 'train')) == 12


def test_a_shard_that_went_missing_afterwards_is_noticed(root):
    config = config_of(root)
    prepare(config)
    next(pathlib.Path(config.records_dir).glob('*-train*')).unlink()
    assert (
        'cannot be read (No such file or directory); copy the records anew, or remove the directory'
        in message(prepare, config)
    )


def test_file_names_of_any_bytes(tmp_path):
    write_examples(tmp_path, [(40, 44)] * 2, splits=['train'])
    for role in ('img', 'label', 'inst'):
        os.rename(
            tmp_path / f'train_{role}' / '1.png',
            os.fsencode(tmp_path / f'train_{role}') + b'/\xff\xe4.png',
        )
    config = config_of(tmp_path)
    prepare(config)
    assert open_records(config, 'train').names == open_files(config, 'train').names


def test_scenes(tmp_path, monkeypatch):
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
        files, prepared = open_files(config, split), open_records(config, split)
        assert list(prepared.names) == list(files.names)
        assert_same(prepared.read(1), files.read(1))
    prepare(config)
    with pytest.raises(UserError, match='scenes_train_examples: 3 -> 4'):
        prepare(Config.from_json(config.to_json() | {'scenes_train_examples': 4}))
