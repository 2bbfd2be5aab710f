"""What an export holds is what the model's reader turns into the ids again."""

import io

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.catalog import CATALOG
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.files.palette import rgb
from spade_jax.studio.label_numbers import class_ids, file_values
from tests.config.catalog_test import config_of

OF_LABELS = [name for name in CATALOG if config_of(name).uses_labels]


def written(config, ids):
    """The file that the page writes, as specified: colors if all have one, else numbers."""
    values = dict(zip(class_ids(config), file_values(config), strict=True))
    if all(value.get('mask') for value in values.values()):
        pixels = np.array(
            [[rgb(values[number]['mask']) for number in row] for row in ids], np.uint8
        )
    else:
        numbers = np.array([[values[number]['number'] for number in row] for row in ids])
        pixels = numbers.astype(np.uint8 if numbers.max() < 256 else np.uint16)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'png')
    return file


@pytest.mark.parametrize('name', OF_LABELS)
def test_reader_reads_the_exported_ids(name):
    config = config_of(name)
    ids = np.repeat(class_ids(config), 4).reshape(-1, 4)
    np.testing.assert_array_equal(LabelReader(config).read(written(config, ids)), ids)


@pytest.mark.parametrize(
    'name, numbers',
    [
        ('facades', [*range(1, 13)]),
        ('cityscapes_19', [7, 8, 11, *(12, 13, 17), *range(19, 29), 31, 32, 33, 255]),
        ('scenes', [*range(13)]),
        ('ade20k', [*range(151)]),
        ('coco_stuff', [*range(182), 255]),
    ],
)
def test_numbers_are_those_of_the_training(name, numbers):
    assert file_values(config_of(name)) == [{'number': number} for number in numbers]


def test_numbers_are_none_where_no_value_becomes_the_id():
    config = DataConfig(dataset='folders', num_classes=3, dontcare=True, label_remap='0:1,5:2')
    assert [value['number'] for value in file_values(config)] == [None, 0, 5, 255]


def test_masks_are_none_where_classes_share_a_color():
    classes = '[[0,"a","#ff0000"],[1,"b","#00ff00"],[2,"c","#00ff00"],[3,"d","transparent"]]'
    config = DataConfig(dataset='folders', num_classes=4, palette=classes)
    masks = [value['mask'] for value in file_values(config)]
    assert masks == ['#ff0000', None, None, 'transparent']


@pytest.mark.parametrize('name, last', [('coco_stuff', 255), ('ade20k', 150), ('scenes', 12)])
def test_unknown_has_its_id_and_named_channels_their_number(name, last):
    assert class_ids(config_of(name))[-1] == last
