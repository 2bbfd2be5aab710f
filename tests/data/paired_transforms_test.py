"""The eight ways to the training size: by hand, against the published implementation bit for bit, and in alignment."""

import hashlib
import json
import os
import pathlib

import numpy as np
import pytest

from spade_jax.config import CROPPING_MODES, PREPROCESS_MODES, Config
from spade_jax.data.paired_transforms import Example, Geometry, crop_room, resize_ids, scaled_size, transform
from spade_jax.errors import UserError

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden'
DONTCARE_ID = 255


def _golden(path):
    arrays = np.load(path)
    return arrays, json.loads(str(arrays['meta']))['rows']


def _transform_golden(example, mode, load_size, result_size, position, flip):
    geometry = Geometry(mode, load_size, *result_size, reference_faults=True)
    return transform(example, geometry, tuple(position) if geometry.crops else (0, 0), flip)


def _instance(arrays, sample, row):
    if row['instance'] == '16-bit file':
        return arrays[f'in/{sample}/inst16'].astype(np.uint16)
    return arrays[f'in/{sample}/inst']


def _check_image_ops(path):
    arrays, rows = _golden(path)
    for row in rows:
        source, case = row['source'], row['case']
        example = Example(arrays[f'in/{source}/image'], arrays[f'in/{source}/label'])
        result = _transform_golden(example, row['mode'], row['load'], row['result_wh'], row['pos'], row['flip'])
        for name in ('image', 'label'):
            pixels = getattr(result, name)
            assert hashlib.sha256(pixels.tobytes()).hexdigest() == row[f'sha256_{name}'], (source, case, name)
            if f'out/{source}/{case}/{name}' in arrays:
                np.testing.assert_array_equal(pixels, arrays[f'out/{source}/{case}/{name}'])
        if row['mode'] in CROPPING_MODES:
            geometry = Geometry(row['mode'], row['load'], *row['result_wh'], reference_faults=True)
            assert list(crop_room(geometry, *row['source_wh'])) == row['crop_offset_upper_bound_xy'], (source, case)


def test_image_operations_equal_the_published_ones_bit_for_bit():
    _check_image_ops(GOLDEN / 'image_ops_synthetic.npz')


@pytest.mark.skipif('SPADE_JAX_PARITY_DIR' not in os.environ, reason='set SPADE_JAX_PARITY_DIR to the directory of image_ops_coco.npz')
def test_image_operations_on_photographs_equal_the_published_ones_bit_for_bit():
    _check_image_ops(pathlib.Path(os.environ['SPADE_JAX_PARITY_DIR']) / 'image_ops_coco.npz')


def test_samples_equal_the_published_ones_bit_for_bit():
    arrays, rows = _golden(GOLDEN / 'dataset_pipeline.npz')
    for row in rows:
        key, sample, options = row['key'], row['sample'], row['options']
        example = Example(*(arrays[f'in/{sample}/{name}'] for name in ('img', 'lab')), _instance(arrays, sample, row))
        *_, height, width = arrays[f'{key}/instance'].shape
        result = _transform_golden(example, options['preprocess_mode'], options['load_size'], (width, height), row['crop_pos'],
                                   row['flip'] and not options.get('no_flip'))
        np.testing.assert_array_equal(result.instance, arrays[f'{key}/instance'][0], err_msg=key)
        if f'{key}/image' not in arrays:
            continue
        image = np.moveaxis(arrays[f'{key}/image'], 0, -1)
        np.testing.assert_array_equal((result.image.astype(np.float32) / 255 - 0.5) / 0.5, image, err_msg=key)
        label = arrays[f'{key}/label'][0]  # 255 has become the number of classes there; here it stays until the device.
        np.testing.assert_array_equal(result.label[result.label != DONTCARE_ID], label[result.label != DONTCARE_ID], err_msg=key)
        assert len(np.unique(label[result.label == DONTCARE_ID])) <= 1


@pytest.mark.parametrize('mode, load_size, target, source, scaled', [
    ('resize_and_crop', 12, (8, 8), (20, 10), (12, 12)),
    ('resize_and_crop', 12, (8, 4), (20, 20), (12, 6)),  # The aspect ratio is 2, so the scaled picture has it as well.
    ('crop', 12, (8, 8), (20, 10), (20, 10)),
    ('scale_width', 12, (12, 6), (20, 10), (12, 6)),
    ('scale_width_and_crop', 12, (8, 4), (20, 11), (12, 6)),  # 6.6 rows: cut off, not rounded.
    ('scale_shortside', 12, (24, 12), (20, 10), (24, 12)),
    ('scale_shortside', 12, (12, 24), (10, 20), (12, 24)),
    ('scale_shortside_and_crop', 12, (8, 8), (20, 10), (24, 12)),
    ('fixed', 1, (8, 4), (20, 10), (8, 4)),
    ('none', 1, (64, 32), (70, 20), (64, 32)),
])
def test_scaled_size(mode, load_size, target, source, scaled):
    assert scaled_size(Geometry(mode, load_size, *target), *source) == scaled


def test_crop_and_flip_of_numbered_pixels():
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    geometry = Geometry('crop', 1, width=2, height=2)
    assert crop_room(geometry, 4, 3) == (2, 1)
    np.testing.assert_array_equal(transform(Example(None, label), geometry, (1, 1)).label, [[5, 6], [9, 10]])
    np.testing.assert_array_equal(transform(Example(None, label), geometry, (1, 1), flip=True).label, [[6, 5], [10, 9]])


def test_label_maps_alone_are_transformed():
    result = transform(Example(None, np.zeros((4, 4), np.uint8)), Geometry('fixed', 1, 2, 2))
    assert result.image is None and result.instance is None and result.label.shape == (2, 2)


@pytest.mark.parametrize('dtype, value', [(np.uint8, 255), (np.uint16, 40000), (np.int32, 2_000_000)])
def test_ids_are_kept_exactly(dtype, value):
    label = np.array([[0, value], [7, 255]], dtype)
    result = transform(Example(None, label), Geometry('fixed', 1, 4, 4)).label
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.kron(label, np.ones((2, 2), dtype)))


@pytest.mark.parametrize('size', [(72, 72), (100, 150), (57, 33)])
def test_maps_of_every_depth_take_the_same_pixels(size):
    ids = np.arange(96 * 64).reshape(96, 64) % 256
    expected = resize_ids(ids.astype(np.uint8), size)
    for dtype in (np.uint16, np.int32):
        np.testing.assert_array_equal(resize_ids(ids.astype(dtype), size), expected)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_photograph_label_and_instance_stay_aligned(mode, flip):
    """The photograph's gray is 8 times the id of its pixel, in blocks so large that most pixels are far from any border."""
    rng = np.random.default_rng(0)
    ids = np.kron(rng.integers(0, 30, (8, 8)), np.ones((32, 32))).astype(np.uint8)  # 256 x 256
    example = Example(np.repeat(ids[..., None] * 8, 3, -1), ids, ids.astype(np.int32) + 70000)
    crops = mode in CROPPING_MODES
    target = 256 if mode == 'none' else 192
    geometry = Geometry(mode, load_size=224 if crops else 192, width=target, height=target)
    room = crop_room(geometry, 256, 256)
    result = transform(example, geometry, (room[0], room[1] // 3), flip)
    assert result.image.shape == (target, target, 3)
    np.testing.assert_array_equal(result.instance, result.label.astype(np.int32) + 70000)
    assert _share_aligned(result.image, result.label) > 0.7
    assert _share_aligned(result.image[:, ::-1], result.label) < 0.3  # The measure can tell.


def _share_aligned(image, label):
    return (np.abs(image[..., 0].astype(int) - 8 * label.astype(int)) <= 1).mean()


def test_flipping_twice_changes_nothing():
    rng = np.random.default_rng(1)
    example = Example(rng.integers(0, 256, (9, 7, 3), np.uint8), rng.integers(0, 5, (9, 7), np.uint8))
    geometry = Geometry('fixed', 1, 7, 9)
    twice = transform(transform(example, geometry, flip=True), geometry, flip=True)
    np.testing.assert_array_equal(twice.image, example.image)
    np.testing.assert_array_equal(twice.label, example.label)


@pytest.mark.parametrize('mode, remedy', [
    ('crop', 'a picture of 40x30 is smaller than the crop of 64x64; use a smaller --crop_size or --preprocess_mode=resize_and_crop'),
    ('scale_width_and_crop', 'a picture of 40x30 is scaled to 72x54, which is smaller than the crop of 64x64; use a larger --load_size'),
    ('scale_width', 'turns this picture of 40x30 into 72x54'),
    ('scale_shortside', 'turns this picture of 40x30 into 96x72'),
    ('none', 'turns this picture of 40x30 into 32x32, but the configuration (crop_size, aspect_ratio) is for 64x64; use --preprocess_mode=fixed'),
])
def test_a_picture_that_does_not_come_out_right_is_refused(mode, remedy):
    geometry = Geometry.from_config(Config(preprocess_mode=mode, load_size=72, crop_size=64))
    with pytest.raises(UserError) as error:
        transform(Example(None, np.zeros((30, 40), np.uint8)), geometry)
    assert remedy in str(error.value)


def test_a_crop_outside_the_picture_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match='outside'):
        transform(Example(None, np.zeros((8, 8), np.uint8)), Geometry('crop', 1, 4, 4), crop_position=(5, 0))
