"""Files of label maps become ids, with a report of all that is unknown; nothing is replaced."""

import base64
import io
import json
import pathlib
import random

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.catalog import builtin_classes
from spade_jax.config.config import Config
from spade_jax.config.label_format import palette_text
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.files.palette import classes_of, rgb
from spade_jax.errors import UserError
from spade_jax.studio.correspondences import match, materials
from spade_jax.studio.label_imports import import_map
from spade_jax.studio.uploads import map_of
from tests.config.catalog_test import config_of
from tests.studio.small_demo import small_demo

EXAMPLES = sorted(pathlib.Path(small_demo().workdir, 'labels').glob('*.png'))
DEMO = Config.create(crop_size=128, load_size=128)
COCO_STUFF = DEMO.replace(
    dataset='coco_stuff', num_classes=182, dontcare=True, condition='labels+edges'
)
FOREIGN = ['#0a141e', '#ff00ff', '#9ceede', '#010203', '#7bc801']


def encoded(image, kind='PNG', **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def array(result, key='ids'):
    dtype = result['dtype' if key == 'ids' else f'{key}_dtype']
    values = np.frombuffer(base64.b64decode(result[key]), dtype)
    return values.reshape(result['height'], result['width'])


def sources(result, kind):
    return {
        source['value']: source for source in result['report']['sources'] if source['kind'] == kind
    }


def drawing(size, foreign=()):
    """A GauGAN drawing: stripes of all materials, and runs of foreign colors in the first row."""
    rows = np.arange(size) * 32 // size
    colors = np.array([rgb(entry['color']) for entry in materials()], np.uint8)
    pixels = np.repeat(colors[rows][:, None], size, axis=1)
    for index, color in enumerate(foreign):
        pixels[0, 20 * index : 20 * index + index + 1] = rgb(color)
    return pixels, rows


def indexed(pixels):
    return Image.fromarray(pixels).quantize(256, method=Image.Quantize.FASTOCTREE, dither=0)


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_read_as_training_reads_them(path):
    result = import_map(path.read_bytes(), DEMO, path.name)
    np.testing.assert_array_equal(array(result), LabelReader(DEMO.data).read(str(path)))
    assert result['taken_for'] == 'ids' and result['report']['exact']
    assert sum(source['count'] for source in result['report']['sources']) == 128 * 128
    assert sources(result, 'same').keys() == {str(i) for i in np.unique(array(result))}
    json.dumps(result)


@pytest.mark.parametrize('size', [512, 1024])
@pytest.mark.parametrize('config', [DEMO, COCO_STUFF], ids=['demo', 'coco_stuff'])
@pytest.mark.parametrize('how', ['rgb', 'indexed'])
def test_gaugan_drawing_has_the_classes_of_its_materials(size, config, how):
    pixels, rows = drawing(size)
    content = encoded(pixels if how == 'rgb' else indexed(pixels))
    result = import_map(content, config, fit='keep')
    assert result['taken_for'] == 'gaugan' and not sources(result, 'unknown')
    names = classes_of(config.data).names
    ids = np.array([match(entry['name'], names).id for entry in materials()])
    np.testing.assert_array_equal(array(result), np.repeat(ids[rows][:, None], size, axis=1))
    assert len(sources(result, 'same')) == (14 if config is DEMO else 32)


@pytest.mark.parametrize('config', [DEMO, COCO_STUFF], ids=['demo', 'coco_stuff'])
def test_report_lists_every_foreign_color(config):
    pixels, _ = drawing(512, FOREIGN)
    result = import_map(encoded(pixels), config, 'hill.png')
    unknown = sources(result, 'unknown')
    assert unknown.keys() == {*FOREIGN}
    for index, color in enumerate(FOREIGN):
        assert unknown[color]['count'] == index + 1
        assert unknown[color]['share'] == (index + 1) / 512**2
        assert unknown[color]['first'] == [20 * index, 0]
    close = unknown['#9ceede']
    assert (close['name'], close['distance'], close['first_byte']) == ('sky', 1, 'sky-other')
    assert unknown['#ff00ff']['first_byte'] is None
    assert result['report']['file_size'] == [512, 512]


def test_colors_of_other_classes_of_gaugan_are_proposed_by_their_first_byte():
    pixels, _ = drawing(512, ['#020a0b', '#5a0102'])
    unknown = sources(import_map(encoded(pixels), COCO_STUFF), 'unknown')
    names = classes_of(COCO_STUFF.data).names
    assert [names[unknown[color]['id']] for color in ('#020a0b', '#5a0102')] == ['car', names[0x5A]]


def test_transparent_pixels_are_near_no_class():
    pixels = np.dstack([drawing(128)[0], np.full((128, 128), 255, np.uint8)])
    pixels[60:62, 3] = 0
    unknown = sources(import_map(encoded(pixels), DEMO), 'unknown')
    assert unknown.keys() == {'transparent'}
    found = unknown['transparent']
    assert (found['id'], found['name'], found['count']) == (None, None, 2)


def test_values_tell_the_source_of_each_pixel():
    pixels, _ = drawing(128, FOREIGN)
    result = import_map(encoded(pixels), DEMO)
    values = array(result, 'values')
    listed = [source['value'] for source in result['report']['sources']]
    for y, x in ((0, 0), (0, 20), (0, 60), (5, 5), (127, 127)):
        assert listed[values[y, x]] == '#{:02x}{:02x}{:02x}'.format(*pixels[y, x])


def test_colors_of_the_model_are_its_classes():
    ids = LabelReader(DEMO.data).read(str(EXAMPLES[0]))
    colors = classes_of(DEMO.data).colors[ids]
    result = import_map(encoded(colors), DEMO)
    np.testing.assert_array_equal(array(result), ids)
    assert result['taken_for'] == 'model' and not result['report']['exact']


@pytest.mark.parametrize('table', ['ade20k', 'cityscapes_19', 'camvid', 'facades'])
def test_a_known_table_is_recognized_by_its_colors(table):
    colors = np.array([rgb(entry.color) for entry in builtin_classes(table)[:10]], np.uint8)
    pixels = colors[np.indices((128, 128))[1] * 10 // 128]
    result = import_map(encoded(pixels), DEMO)
    assert result['taken_for'] == table and not sources(result, 'unknown')


def test_indices_are_ids_unless_their_colors_are_those_of_a_table():
    ids = (np.indices((128, 128))[1] // 10).astype(np.uint8)
    image = Image.fromarray(ids).convert('P')
    image.putpalette([value for i in range(256) for value in (i * 7 % 256, 255 - i, 3)])
    result = import_map(encoded(image), DEMO)
    assert result['taken_for'] == 'ids' and result['report']['exact']
    np.testing.assert_array_equal(array(result), ids)
    image.putpalette([value for color in classes_of(DEMO.data).colors for value in color])
    assert import_map(encoded(image), DEMO)['report']['exact']
    image.putpalette([part for entry in materials() for part in rgb(entry['color'])])
    result = import_map(encoded(image), DEMO)
    assert result['taken_for'] == 'gaugan'
    assert import_map(encoded(image), DEMO, take_as='ids')['report']['exact']


def test_numbers_without_a_class_are_unknown():
    ids = np.zeros((128, 128), np.uint16)
    ids[3, 4:7] = 300
    result = import_map(encoded(ids), DEMO)
    unknown = sources(result, 'unknown')['300']
    assert (unknown['id'], unknown['count'], unknown['first']) == (None, 3, [4, 3])
    assert not result['report']['exact']


def test_ids_of_a_file_are_renumbered_and_unknown_is_255():
    config = DEMO.replace(num_classes=3, dontcare=True, label_remap='7:0,8:1,11:2,*:255')
    file_ids = np.array([7, 8, 11, 200], np.uint8).repeat(32)[None].repeat(128, 0)
    result = import_map(encoded(file_ids), config)
    assert array(result)[0, ::32].tolist() == [0, 1, 2, 255] and result['report']['exact']


def test_color_masks_of_the_training_are_exact():
    config = DEMO.replace(palette=palette_text(builtin_classes('scenes')))
    colors = classes_of(DEMO.data).colors[np.indices((128, 128))[0] // 10]
    result = import_map(encoded(colors), config)
    assert result['taken_for'] == 'model' and result['report']['exact']


def test_another_size_is_scaled_as_chosen_and_told():
    ids = np.zeros((256, 512), np.uint8)
    ids[::2, :] = 5
    ids[:, 384:] = 3
    ids[0:2, 384:388] = [[3, 7, 7, 7], [7, 7, 3, 3]]
    report = import_map(encoded(ids), DEMO)['report']
    assert (report['fit'], report['squeezed'], report['exact']) == ('nearest', True, False)
    assert report['file_size'] == [512, 256]
    majority = array(import_map(encoded(ids), DEMO, fit='majority'))
    assert majority.shape == (128, 128) and majority[0, 96] == 7
    assert (majority[1:, 96:] == 3).all() and (majority[:, :96] < 6).all()
    kept = array(import_map(encoded(ids), DEMO, fit='keep'))
    np.testing.assert_array_equal(kept, ids)
    with pytest.raises(UserError, match='x.png: 100x128 is not divisible by 32 .*; resize it'):
        import_map(encoded(np.zeros((128, 100), np.uint8)), DEMO, 'x.png', fit='keep')
    with pytest.raises(UserError, match='x.png: 4096x2048 has more than 4194304 pixels; resize'):
        import_map(encoded(np.zeros((2048, 4096), np.uint8)), DEMO, 'x.png', fit='keep')


def test_majority_counts_materials_of_one_class_together():
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:] = rgb('#7bc800')  # grass
    pixels[::2, ::2], pixels[1::2, 1::2] = rgb('#9364c8'), rgb('#9ac6da')  # river, sea
    pixels[::2, 1::2][:64] = rgb('#b1c8ff')  # water
    ids = array(import_map(encoded(pixels), DEMO, fit='majority'))
    names = classes_of(DEMO.data).names
    assert {names[number] for number in np.unique(ids[:64])} == {'water'}


def test_maps_can_be_enlarged():
    ids = np.arange(4, dtype=np.uint8).reshape(2, 2)
    for fit in ('nearest', 'majority'):
        result = array(import_map(encoded(ids), DEMO, fit=fit))
        np.testing.assert_array_equal(result, ids.repeat(64, 0).repeat(64, 1))


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'', 'hill.png: the label map cannot be read'),
        (encoded(drawing(64)[0], 'JPEG'), 'hill.png: JPEG is a lossy format'),
        (encoded(drawing(64)[0], 'WEBP', lossless=True), 'WEBP is a lossy format'),
        (encoded(np.zeros((8, 8, 3), np.uint8))[:-20], 'hill.png: .* truncated'),
    ],
)
def test_files_that_are_no_label_maps_are_refused_in_one_sentence(content, reason):
    with pytest.raises(UserError, match=reason) as error:
        import_map(content, DEMO, 'hill.png')
    assert error.value.remedy and '\n' not in str(error.value)


def test_photos_are_refused():
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    with pytest.raises(UserError, match=r'x has 16\d\d\d colors or numbers, as many as a photo'):
        import_map(encoded(photo), DEMO, 'x')


@pytest.mark.parametrize('choice', [{'take_as': '../gaugan'}, {'fit': 'smooth'}])
def test_other_choices_are_refused(choice):
    with pytest.raises(UserError, match='of an import; use one of'):
        import_map(EXAMPLES[0].read_bytes(), DEMO, **choice)


def test_a_table_without_colors_is_refused():
    with pytest.raises(UserError, match='as=coco_stuff: this table has no colors'):
        import_map(encoded(drawing(64)[0]), DEMO, take_as='coco_stuff')


IDS = (np.indices((16, 16))[1] // 2).astype(np.uint8)
KINDS = {
    'gray': encoded(IDS),
    '16 bit': encoded(IDS.astype(np.uint16)),
    'floats in TIFF': encoded(IDS.astype(np.float32), 'TIFF'),
    'gray and alpha': encoded(Image.fromarray(IDS).convert('LA')),
    'indexed': encoded(indexed(classes_of(DEMO.data).colors[IDS])),
    'indexed GIF': encoded(indexed(classes_of(DEMO.data).colors[IDS]), 'GIF'),
    'colors': encoded(classes_of(DEMO.data).colors[IDS]),
    'colors in BMP': encoded(classes_of(DEMO.data).colors[IDS], 'BMP'),
    'transparent': encoded(Image.fromarray(IDS).convert('RGBA')),
    'GauGAN': encoded(drawing(32, FOREIGN)[0]),
}


@pytest.mark.parametrize('kind', KINDS)
def test_damaged_files_are_refused_or_read_whole(kind):
    content, damage = KINDS[kind], random.Random(kind)
    for number in range(60):
        damaged = bytearray(content)
        for _ in range(damage.randrange(1, 4) if number else 0):
            damaged[damage.randrange(len(content))] = damage.randrange(256)
        if damage.random() < 0.3:
            damaged = damaged[: damage.randrange(len(content))]
        try:
            result = import_map(map_of(bytes(damaged), 'damaged.png'), DEMO, 'damaged.png')
        except UserError as error:
            assert '\n' not in str(error) and 'damaged.png' in str(error)
        else:
            assert array(result).max() < 13 and array(result).shape == (128, 128)
            json.dumps(result, allow_nan=False)


@pytest.mark.parametrize('name', ['cityscapes', 'facades', 'camvid_32', 'celebamask_hq'])
def test_every_map_that_training_reads_is_exact(name):
    data = config_of(name)
    config = DEMO.replace(
        **{
            key: getattr(data, key)
            for key in ('dataset', 'num_classes', 'dontcare', 'palette', 'label_remap')
        }
    )
    values = np.arange(1, data.num_classes + 1 if name == 'facades' else data.num_classes)
    pixels = values[np.indices((128, 128))[0] * len(values) // 128].astype(np.uint8)
    if data.palette:
        pixels = classes_of(data).colors[pixels]
    result = import_map(encoded(pixels), config)
    assert result['report']['exact']
    expected = LabelReader(config.data).read(io.BytesIO(encoded(pixels)))
    np.testing.assert_array_equal(array(result), expected)
