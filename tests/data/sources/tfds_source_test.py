"""Data sets of TFDS: the choice of features, random access, and errors."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import threading

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources import tfds_source
from spade_jax.data.sources.open_source import open_source
from spade_jax.data.sources.tfds_source import TfdsSource
from spade_jax.errors import UserError
from spade_jax.files import run_lock
from tests.data.miniatures import prepare_tfds

import_tensorflow()
import tensorflow_datasets as tfds  # noqa: E402  (after TensorFlow is kept off the accelerators)

HEIGHT, WIDTH = 6, 8
PHOTO = tfds.features.Image(shape=(None, None, 3))
MASK = tfds.features.Image(shape=(None, None, 1))


def _photo(value, size=(WIDTH, HEIGHT)):
    return np.full((*size[::-1], 3), value, np.uint8)


def _mask(value):
    return np.full((HEIGHT, WIDTH, 1), value, np.uint8)


def _encoded(pixels, file_format):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format)
    return file.getvalue()


def _prepare(directory, features, *examples, **options):
    """A data set 'blocks' with the split 'train' alone; returns the Config that reads it."""
    prepare_tfds(
        directory, 'blocks', tfds.features.FeaturesDict(features), {'train': examples}, **options
    )
    return _config(directory)


def _config(directory, **changes):
    return DataConfig(
        **{
            **dict(
                dataset='tfds',
                data_dir=str(directory),
                tfds_name='blocks',
                num_classes=200,
                load_size=32,
                crop_size=32,
            ),
            **changes,
        }
    )


def _refusal(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 900
    return str(error.value)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """Prepare 11 training images and 2 of a test split; image i is gray i with label 100 + i."""
    directory = tmp_path_factory.mktemp('tfds')
    features = {
        'file_name': tfds.features.Text(),
        'photo': PHOTO,
        'classes': MASK,
        'animal': tfds.features.ClassLabel(num_classes=3),
        'boxes': tfds.features.Sequence({'box': tfds.features.BBoxFeature()}),
    }
    examples = [
        {
            'file_name': f'{i}.jpg',
            'photo': _photo(i),
            'classes': _mask(100 + i),
            'animal': 1,
            'boxes': [],
        }
        for i in range(13)
    ]
    path = prepare_tfds(
        directory,
        'blocks',
        tfds.features.FeaturesDict(features),
        {'train': examples[:11], 'test': examples[11:]},
    )
    return directory, path


def test_source_reads_photos_and_label_maps(prepared):
    source = TfdsSource(_config(prepared[0]), 'train')
    assert len(source) == 11
    assert source.locations[3] == 'blocks train 3'
    assert source.names[3] == 'blocks_train_00003'
    for index in range(11):
        example = source.read(index)
        assert example.image.shape == (HEIGHT, WIDTH, 3)
        assert example.image.dtype == np.uint8
        assert (example.image == index).all()
        assert example.label.shape == (HEIGHT, WIDTH)
        assert example.label.dtype == np.uint8
        assert (example.label == 100 + index).all()
        assert example.instance is None
        maps = source.read_maps(index)
        assert maps.image is None
        assert (maps.label == 100 + index).all()


@pytest.mark.parametrize('name', ['', 'blocks', 'blocks:1.0.0'])
def test_source_opens_prepared_directory(prepared, name):
    source = TfdsSource(_config(prepared[1], tfds_name=name), 'train')
    assert len(source) == 11
    assert (source.read(10).label == 110).all()


def test_source_rejects_directory_of_other_data_set(prepared):
    message = _refusal(TfdsSource, _config(prepared[1], tfds_name='blocks_of_wood'), 'train')
    assert message == (
        f'tfds_name=blocks_of_wood, but data_dir={prepared[1]} is the data set blocks; leave one '
        'of them out'
    )


def test_source_reads_slices_of_splits(prepared):
    source = TfdsSource(
        _config(
            prepared[0], tfds_train_split='train[3:5]+test', tfds_validation_split='train[-2:]'
        ),
        'train',
    )
    assert [int(source.read(index).label[0, 0]) for index in range(len(source))] == [
        103,
        104,
        111,
        112,
    ]
    source = open_source(_config(prepared[0], tfds_validation_split='train[-2:]'), 'validation')
    assert [int(source.read_maps(index).label[0, 0]) for index in range(len(source))] == [109, 110]
    assert source.locations[1] == 'blocks train[-2:] 1'


def test_open_source_returns_none_without_validation_split(prepared):
    assert open_source(_config(prepared[0]), 'validation') is None


@pytest.mark.parametrize('split', ['validation', 'train[', ''])
def test_source_rejects_unknown_split(prepared, split):
    message = _refusal(TfdsSource, _config(prepared[0], tfds_train_split=split), 'train')
    assert message == (
        f'tfds_train_split={split} is not a split of blocks, which has train, test; set '
        '--tfds_train_split, for example to "train[:90%]"'
    )


def test_source_rejects_empty_split(prepared):
    assert 'tfds_train_split=train[:0] of blocks has no examples' in _refusal(
        TfdsSource, _config(prepared[0], tfds_train_split='train[:0]'), 'train'
    )


def test_read_is_thread_safe(prepared):
    source = TfdsSource(_config(prepared[0]), 'train')
    indices = list(range(11)) * 20
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for index, example in zip(indices, pool.map(source.read, indices), strict=True):
            assert (example.image == index).all()
            assert (example.label == 100 + index).all()


def test_read_maps_renumbers_ids(prepared):
    assert (
        TfdsSource(_config(prepared[0], label_remap='100-110:0-10'), 'train').read_maps(7).label
        == 7
    ).all()


def test_read_rejects_damaged_record(prepared, monkeypatch):
    source = TfdsSource(_config(prepared[0]), 'train')
    monkeypatch.setattr(source, '_records', [b'\xff' * 28])
    message = _refusal(source.read, 0)
    assert message.startswith('blocks train 0: the record cannot be read (')
    assert message.endswith('; prepare the data set again')


def test_source_rejects_format_without_random_access(tmp_path):
    example = {'photo': _photo(1), 'classes': _mask(1)}
    features = {'photo': PHOTO, 'classes': MASK}
    config = _prepare(tmp_path, features, example, file_format='tfrecord')
    message = _refusal(TfdsSource, config, 'train')
    assert message.startswith(f'{tmp_path}/blocks/1.0.0 has no random access (')
    assert message.endswith(
        f'convert it: tfds convert_format --dataset_version_dir={tmp_path}/blocks/1.0.0 '
        '--out_file_format=array_record'
    )


@pytest.mark.parametrize(
    'values, dtype',
    [
        (np.arange(48).reshape(6, 8), np.uint8),
        (np.arange(48).reshape(6, 8) + 60000, np.uint16),
        (np.arange(48).reshape(6, 8) - 1, np.int32),
        (np.arange(48).reshape(6, 8, 1), np.int64),
        (np.arange(48).reshape(6, 8) % 2, np.bool_),
        (np.arange(48).reshape(6, 8), np.uint32),
    ],
)
@pytest.mark.parametrize('encoding', ['none', 'zlib'])
def test_read_accepts_tensors_as_label_maps(tmp_path, values, dtype, encoding):
    values = values.astype(dtype)
    features = {
        'photo': PHOTO,
        'classes': tfds.features.Tensor(shape=values.shape, dtype=dtype, encoding=encoding),
    }
    label = (
        TfdsSource(_prepare(tmp_path, features, {'photo': _photo(1), 'classes': values}), 'train')
        .read(0)
        .label
    )
    assert label.dtype == {np.bool_: np.uint8, np.int64: np.int32, np.uint32: np.int32}.get(
        dtype, dtype
    )
    np.testing.assert_array_equal(label, values.reshape(6, 8))


def test_read_accepts_tensors_of_any_size(tmp_path):
    features = {
        'photo': PHOTO,
        'classes': tfds.features.Tensor(shape=(None, None), dtype=np.int32, encoding='zlib'),
    }
    examples = [
        {'photo': _photo(1, size), 'classes': np.full(size[::-1], place, np.int32)}
        for place, size in enumerate(((8, 6), (4, 10)))
    ]
    source = TfdsSource(_prepare(tmp_path, features, *examples), 'train')
    assert source.read(0).label.shape == (6, 8)
    assert source.read(1).label.shape == (10, 4)
    assert (source.read(1).label == 1).all()


def test_read_maps_rejects_ids_beyond_32_bits(tmp_path):
    features = {
        'photo': PHOTO,
        'classes': tfds.features.Tensor(shape=(HEIGHT, WIDTH), dtype=np.int64),
    }
    config = _prepare(
        tmp_path, features, {'photo': _photo(1), 'classes': np.full((HEIGHT, WIDTH), 2**40)}
    )
    assert (
        _refusal(TfdsSource(config, 'train').read_maps, 0)
        == 'blocks train 0 (classes): id 1099511627776 does not fit 32 bits; store other ids'
    )


@pytest.fixture(scope='module')
def many_features(tmp_path_factory):
    """Prepare two photos, two maps, nested ones, and features that are neither."""
    features = {
        'left': PHOTO,
        'right': PHOTO,
        'maps': tfds.features.FeaturesDict(
            {'classes': tfds.features.LabeledImage(labels=200, shape=(None, None, 1))}
        ),
        'objects': tfds.features.Tensor(shape=(HEIGHT, WIDTH), dtype=np.uint16),
        'depth': tfds.features.Image(shape=(None, None, 1), dtype=np.float32),
        'colors': tfds.features.Image(shape=(None, None, 3), doc='A color mask.'),
        'title': tfds.features.Text(),
    }
    colors = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[
        np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2
    ]
    example = {
        'left': _photo(1),
        'right': _photo(2),
        'maps': {'classes': _mask(7)},
        'objects': np.full((HEIGHT, WIDTH), 60001, np.uint16),
        'depth': np.ones((HEIGHT, WIDTH, 1), np.float32),
        'colors': colors,
        'title': 'a',
    }
    return _prepare(tmp_path_factory.mktemp('tfds'), features, example)


def test_flags_choose_features(many_features):
    config = dataclasses.replace(
        many_features,
        tfds_image_feature='right',
        tfds_label_feature='maps/classes',
        tfds_instance_feature='objects',
        condition='labels+edges',
    )
    example = TfdsSource(config, 'train').read(0)
    assert (example.image == 2).all()
    assert (example.label == 7).all()
    assert (example.instance == 60001).all()
    assert example.instance.dtype == np.uint16
    assert (
        TfdsSource(dataclasses.replace(config, condition='labels'), 'train').read(0).instance
        is None
    )


def test_chosen_feature_is_no_candidate_for_other_role(many_features):
    example = TfdsSource(
        dataclasses.replace(
            many_features,
            tfds_image_feature='left',
            tfds_instance_feature='objects',
            condition='labels+edges',
        ),
        'train',
    ).read(0)
    assert (example.label == 7).all()


def test_read_returns_rgb_conditions(many_features):
    config = dataclasses.replace(
        many_features, condition='rgb', tfds_image_feature='left', tfds_label_feature='right'
    )
    example = TfdsSource(config, 'train').read(0)
    assert (example.image == 1).all()
    assert example.label.shape == (HEIGHT, WIDTH, 3)
    assert (example.label == 2).all()
    message = _refusal(TfdsSource, dataclasses.replace(config, tfds_label_feature=''), 'train')
    assert 'the condition images could be in colors or right; ' in message
    assert message.endswith('; choose one with --tfds_label_feature')


def test_read_looks_up_colors_in_palette(many_features):
    palette = json.dumps([[0, 'red', '#ff0000'], [1, 'blue', '#0000ff']])
    config = dataclasses.replace(
        many_features,
        tfds_image_feature='left',
        tfds_label_feature='colors',
        palette=palette,
        num_classes=2,
    )
    np.testing.assert_array_equal(
        TfdsSource(config, 'train').read(0).label, np.arange(48).reshape(6, 8) % 2
    )
    message = _refusal(
        TfdsSource(
            dataclasses.replace(config, palette=palette.replace('ff0000', 'ff0001')), 'train'
        ).read,
        0,
    )
    assert message.startswith(
        'blocks train 0 (colors): color #ff0000 at pixel (x=0, y=0) is not in the palette'
    )


@pytest.mark.parametrize(
    'changes, problem',
    [
        (
            dict(),
            'tfds_image_feature is not set, and the images could be in colors or left or right; ',
        ),
        (
            dict(tfds_image_feature='left'),
            'tfds_label_feature is not set, and the label maps could be in maps/classes or objects',
        ),
        (
            dict(tfds_image_feature='left', tfds_label_feature='objects', condition='labels+edges'),
            'tfds_instance_feature is not set, and the instance maps could be in no feature; ',
        ),
        (
            dict(tfds_image_feature='middle'),
            'tfds_image_feature=middle has no images; the features of blocks are ',
        ),
        (
            dict(tfds_image_feature='title'),
            'tfds_image_feature=title has no images; the features of blocks are ',
        ),
        (
            dict(tfds_image_feature='left', tfds_label_feature='depth'),
            'tfds_label_feature=depth has no label maps',
        ),
        (
            dict(
                tfds_image_feature='left',
                tfds_label_feature='objects',
                tfds_instance_feature='colors',
                condition='labels+edges',
            ),
            'tfds_instance_feature=colors has no instance maps',
        ),
        (
            dict(tfds_image_feature='left', tfds_label_feature='objects', condition='rgb'),
            'tfds_label_feature=objects has no condition images',
        ),
    ],
)
def test_source_rejects_ambiguous_features(many_features, changes, problem):
    message = _refusal(TfdsSource, dataclasses.replace(many_features, **changes), 'train')
    assert message.startswith(problem)
    assert '--tfds_' in message.rpartition('; ')[2]
    if 'features of blocks are' in problem:
        assert 'maps/classes (LabeledImage [?, ?, 1] uint8)' in message
        assert 'objects (Tensor [6, 8] uint16)' in message


def test_source_lists_sequences_among_features(prepared):
    message = _refusal(TfdsSource, _config(prepared[0], tfds_image_feature='middle'), 'train')
    assert 'animal (ClassLabel [] int64), boxes (Sequence), classes (Image' in message


def test_source_rejects_data_set_without_label_maps(tmp_path):
    config = _prepare(
        tmp_path,
        {'photo': PHOTO, 'kind': tfds.features.ClassLabel(num_classes=2)},
        {'photo': _photo(1), 'kind': 0},
    )
    assert _refusal(TfdsSource, config, 'train') == (
        'tfds_label_feature is not set, and the label maps could be in no feature; the features of '
        'blocks are kind (ClassLabel [] int64), photo (Image [?, ?, 3] uint8); choose one with '
        '--tfds_label_feature'
    )


@pytest.mark.parametrize(
    'photo, classes, problem',
    [
        (
            _encoded(_photo(1), 'PNG'),
            _encoded(_mask(1)[..., 0], 'JPEG'),
            'blocks train 0 (classes): JPEG is a lossy format',
        ),
        (
            _encoded(_photo(1), 'PNG'),
            _encoded(np.full((HEIGHT, WIDTH, 3), (1, 2, 3), np.uint8), 'PNG'),
            'blocks train 0 (classes): the label map has the mode RGB, not one channel of ids',
        ),
        (
            _encoded(np.zeros((HEIGHT, WIDTH, 4), np.uint8), 'PNG'),
            _encoded(_mask(1)[..., 0], 'PNG'),
            'blocks train 0 (photo): pixel (x=0, y=0) of the photo',
        ),
        (
            b'nothing',
            _encoded(_mask(1)[..., 0], 'PNG'),
            'blocks train 0 (photo): the photo cannot be read (not an image file)',
        ),
        (
            _encoded(_photo(1, (4, 4)), 'PNG'),
            _encoded(_mask(1)[..., 0], 'PNG'),
            'blocks train 0 (photo) has 4x4 pixels, but its label map blocks train 0 (classes) has '
            '8x6',
        ),
    ],
)
def test_read_rejects_bad_images(tmp_path, photo, classes, problem):
    config = _prepare(
        tmp_path,
        {'photo': PHOTO, 'classes': MASK},
        {'photo': io.BytesIO(photo), 'classes': io.BytesIO(classes)},
    )
    assert _refusal(TfdsSource(config, 'train').read, 0).startswith(problem)


class SpadeJaxBlocks(tfds.core.GeneratorBasedBuilder):
    """A data set with code, which TFDS has to prepare."""

    VERSION = tfds.core.Version('1.0.0')
    MANUAL_DOWNLOAD_INSTRUCTIONS = None
    failure = None

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict({'photo': PHOTO, 'classes': MASK})
        )

    def _split_generators(self, dl_manager):
        if type(self).failure:
            raise type(self).failure
        return {'train': self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            yield i, {'photo': _photo(i), 'classes': _mask(100 + i)}


def test_source_prepares_data_set_once(tmp_path):
    config = _config(tmp_path, tfds_name='spade_jax_blocks:1.0.0')
    for _ in range(2):
        source = TfdsSource(config, 'train')
        assert sorted(int(source.read(index).label[0, 0]) for index in range(4)) == [
            100,
            101,
            102,
            103,
        ]
    assert list(tmp_path.glob('spade_jax_blocks/1.0.0/*.array_record*'))


@pytest.mark.parametrize(
    'failure',
    [
        ConnectionError('no route\nto host'),
        AssertionError('Manual directory\n does not exist'),
        KeyError('x' * 2000),
    ],
)
def test_source_reports_failed_preparation(tmp_path, monkeypatch, failure):
    monkeypatch.setattr(SpadeJaxBlocks, 'failure', failure)
    message = _refusal(TfdsSource, _config(tmp_path, tfds_name='spade_jax_blocks'), 'train')
    assert message.startswith(
        'tfds_name=spade_jax_blocks cannot be downloaded and prepared in '
        f'{tmp_path}/spade_jax_blocks/1.0.0 ('
    )
    assert ' '.join(str(failure).split())[:200] in message
    assert message.endswith(
        '); follow this message, or set --data_dir to where the data set is prepared'
    )


@pytest.mark.parametrize(
    'name, problem',
    [
        ('no_such_blocks', 'cannot be opened (Dataset no_such_blocks not found'),
        ('spade_jax_blocks:9.9.9', 'cannot be opened ('),
        ('spade_jax_blocks/large', 'cannot be opened ('),
        ('no such name!', 'cannot be opened ('),
    ],
)
def test_source_rejects_unknown_names(tmp_path, name, problem):
    message = _refusal(TfdsSource, _config(tmp_path, tfds_name=name), 'train')
    assert message.startswith(f'tfds_name={name} {problem}')
    assert 'https://www.tensorflow.org/datasets/catalog' in message


def test_source_rejects_missing_name(tmp_path):
    message = _refusal(TfdsSource, _config(tmp_path, tfds_name=''), 'train')
    assert message.startswith(
        f'tfds_name is not set, and data_dir={tmp_path} has no dataset_info.json; '
    )


def test_source_rejects_damaged_directory(tmp_path):
    (tmp_path / 'dataset_info.json').write_text('{')
    assert _refusal(TfdsSource, _config(tmp_path, tfds_name=''), 'train').startswith(
        f'data_dir={tmp_path} cannot be opened ('
    )


def test_source_hides_accelerators_from_tensorflow(prepared):
    TfdsSource(_config(prepared[0]), 'train')
    assert {device.device_type for device in import_tensorflow().config.get_visible_devices()} == {
        'CPU'
    }


class SlowBuilder:
    """A data set that several threads prepare; `prepared` counts how often."""

    prepared = 0

    def __init__(self, data_dir):
        self.data_dir, self._seen = f'{data_dir}/name/1.0.0', SlowBuilder.prepared

    def is_prepared(self):
        return self._seen > 0

    def download_and_prepare(self, file_format):
        SlowBuilder.prepared += 1


def test_data_set_is_prepared_by_one_process_for_which_others_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(SlowBuilder, 'prepared', 0)
    (tmp_path / 'name').mkdir()
    said = threading.Event()
    monkeypatch.setattr(run_lock, 'print', lambda *text, file: said.set(), raising=False)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with run_lock.exclusive_lock(str(tmp_path / 'name'), 'data_dir', tfds_source.LOCK):
            waiting = pool.submit(tfds_source.prepared, lambda: SlowBuilder(tmp_path))
            assert said.wait(20)
            SlowBuilder(tmp_path).download_and_prepare('array_record')
        assert waiting.result(20).is_prepared()
    assert SlowBuilder.prepared == 1
