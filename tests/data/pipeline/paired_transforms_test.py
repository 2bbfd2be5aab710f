"""The eight ways to the training size: by hand, against the published implementation bit for bit, and in alignment."""

import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import CROPPING_MODES, PREPROCESS_MODES, DataConfig
from spade_jax.data.pipeline.paired_transforms import (
    Example,
    Geometry,
    crop_room,
    resize_ids,
    resize_image,
    scale,
    scaled_size,
    transform,
)
from spade_jax.errors import UserError

GOLDEN = pathlib.Path(__file__).parents[2] / 'golden'
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
        result = _transform_golden(
            example, row['mode'], row['load'], row['result_wh'], row['pos'], row['flip']
        )
        for name in ('image', 'label'):
            pixels = getattr(result, name)
            assert hashlib.sha256(pixels.tobytes()).hexdigest() == row[f'sha256_{name}'], (
                source,
                case,
                name,
            )
            if f'out/{source}/{case}/{name}' in arrays:
                np.testing.assert_array_equal(pixels, arrays[f'out/{source}/{case}/{name}'])
        if row['mode'] in CROPPING_MODES:
            geometry = Geometry(row['mode'], row['load'], *row['result_wh'], reference_faults=True)
            assert (
                list(crop_room(geometry, *row['source_wh'])) == row['crop_offset_upper_bound_xy']
            ), (source, case)


def test_image_operations_equal_the_published_ones_bit_for_bit():
    _check_image_ops(GOLDEN / 'image_ops_synthetic.npz')


@pytest.mark.skipif(
    'SPADE_JAX_PARITY_DIR' not in os.environ,
    reason='set SPADE_JAX_PARITY_DIR to the directory of image_ops_coco.npz',
)
def test_image_operations_on_photographs_equal_the_published_ones_bit_for_bit():
    _check_image_ops(pathlib.Path(os.environ['SPADE_JAX_PARITY_DIR']) / 'image_ops_coco.npz')


def test_samples_equal_the_published_ones_bit_for_bit():
    arrays, rows = _golden(GOLDEN / 'dataset_pipeline.npz')
    for row in rows:
        key, sample, options = row['key'], row['sample'], row['options']
        example = Example(
            *(arrays[f'in/{sample}/{name}'] for name in ('img', 'lab')),
            _instance(arrays, sample, row),
        )
        *_, height, width = arrays[f'{key}/instance'].shape
        result = _transform_golden(
            example,
            options['preprocess_mode'],
            options['load_size'],
            (width, height),
            row['crop_pos'],
            row['flip'] and not options.get('no_flip'),
        )
        np.testing.assert_array_equal(result.instance, arrays[f'{key}/instance'][0], err_msg=key)
        if f'{key}/image' not in arrays:
            continue
        image = np.moveaxis(arrays[f'{key}/image'], 0, -1)
        np.testing.assert_array_equal(
            (result.image.astype(np.float32) / 255 - 0.5) / 0.5, image, err_msg=key
        )
        label = arrays[f'{key}/label'][
            0
        ]  # 255 has become the number of classes there; here it stays until the device.
        np.testing.assert_array_equal(
            result.label[result.label != DONTCARE_ID],
            label[result.label != DONTCARE_ID],
            err_msg=key,
        )
        assert len(np.unique(label[result.label == DONTCARE_ID])) <= 1


@pytest.mark.parametrize(
    'mode, load_size, target, source, scaled',
    [
        ('resize_and_crop', 12, (8, 8), (20, 10), (12, 12)),
        (
            'resize_and_crop',
            12,
            (8, 4),
            (20, 20),
            (12, 6),
        ),  # The aspect ratio is 2, so the scaled picture has it as well.
        ('crop', 12, (8, 8), (20, 10), (20, 10)),
        ('scale_width', 12, (12, 6), (20, 10), (12, 6)),
        ('scale_width_and_crop', 12, (8, 4), (20, 11), (12, 6)),  # 6.6 rows: cut off, not rounded.
        ('scale_shortside', 12, (24, 12), (20, 10), (24, 12)),
        ('scale_shortside', 12, (12, 24), (10, 20), (12, 24)),
        ('scale_shortside_and_crop', 12, (8, 8), (20, 10), (24, 12)),
        ('fixed', 1, (8, 4), (20, 10), (8, 4)),
        ('none', 1, (64, 32), (70, 20), (64, 32)),
    ],
)
def test_scaled_size(mode, load_size, target, source, scaled):
    assert scaled_size(Geometry(mode, load_size, *target), *source) == scaled


def test_crop_and_flip_of_numbered_pixels():
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    geometry = Geometry('crop', 1, width=2, height=2)
    assert crop_room(geometry, 4, 3) == (2, 1)
    np.testing.assert_array_equal(
        transform(Example(None, label), geometry, (1, 1)).label, [[5, 6], [9, 10]]
    )
    np.testing.assert_array_equal(
        transform(Example(None, label), geometry, (1, 1), flip=True).label, [[6, 5], [10, 9]]
    )


def test_label_maps_alone_are_transformed():
    result = transform(Example(None, np.zeros((4, 4), np.uint8)), Geometry('fixed', 1, 2, 2))
    assert result.image is None and result.instance is None and result.label.shape == (2, 2)


@pytest.mark.parametrize(
    'dtype, value', [(np.uint8, 255), (np.uint16, 40000), (np.int32, 2_000_000)]
)
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


def _random_geometry(rng, mode, width, height, reference_faults=False):
    """A geometry of this mode that fits a picture of width x height, and a crop position that it allows."""
    if mode == 'resize_and_crop':
        result = [int(side) for side in rng.integers(1, 100, 2)]
        geometry = Geometry(mode, int(result[0] + rng.integers(0, 40)), *result, reference_faults)
    else:
        geometry = Geometry(
            mode,
            int(rng.integers(8, 150)),
            *(int(side) for side in rng.integers(1, 100, 2)),
            reference_faults,
        )
        scaled = scaled_size(geometry, width, height)
        result = [int(rng.integers(1, side + 1)) for side in scaled] if geometry.crops else scaled
        geometry = dataclasses.replace(geometry, width=result[0], height=result[1])
    return geometry, tuple(
        int(rng.integers(0, side + 1)) for side in crop_room(geometry, width, height)
    )


@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_whatever_the_sizes_the_maps_stay_aligned_and_the_image_is_pillows(mode):
    """Every id tells the pixel from which it comes."""
    rng = np.random.default_rng(PREPROCESS_MODES.index(mode))
    for case in range(40):
        width, height = (int(side) for side in rng.integers(20, 300, 2))
        geometry, position = _random_geometry(rng, mode, width, height)
        size, flip = scaled_size(geometry, width, height), bool(rng.integers(2))
        y, x = np.indices((height, width))
        pixel = y * width + x
        label = [
            pixel.astype(np.int32),
            (pixel % 65536).astype(np.uint16),
            (pixel % 256).astype(np.uint8),
        ][case % 3]
        example = Example(
            rng.integers(0, 256, (height, width, 3), np.uint8),
            label,
            (pixel + 70000).astype(np.int32),
        )
        result = transform(example, geometry, position, flip)

        source = result.instance - 70000
        assert source.min() >= 0 and source.max() < pixel.size  # No id that was not in the file.
        np.testing.assert_array_equal(result.label, label.ravel()[source])
        rows, columns = source // width, source % width
        assert (rows == rows[:, :1]).all() and (
            columns == columns[:1]
        ).all()  # Rows stay rows, columns stay columns,
        assert (np.diff(rows[:, 0]) >= 0).all()  # and in their order.
        assert ((-1 if flip else 1) * np.diff(columns[0]) >= 0).all()

        left, top = position
        window = np.asarray(Image.fromarray(example.image).resize(size, Image.Resampling.BICUBIC))[
            top:, left:
        ][: geometry.height, : geometry.width]
        np.testing.assert_array_equal(
            result.image,
            window[:, ::-1] if flip else window,
            err_msg=f'{geometry} {width}x{height} {position} {flip}',
        )
        assert all(part.flags.c_contiguous for part in result)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_a_condition_in_colour_is_transformed_like_the_photograph(mode, flip):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (96, 128, 3), np.uint8)
    geometry, position = _random_geometry(rng, mode, 128, 96)
    result = transform(Example(picture, picture), geometry, position, flip)
    assert result.label.shape == (geometry.height, geometry.width, 3)
    np.testing.assert_array_equal(result.label, result.image)


def test_a_photograph_of_another_size_follows_the_label_map():
    rng = np.random.default_rng(0)
    image, label = (
        rng.integers(0, 256, (96, 96, 3), np.uint8),
        rng.integers(0, 19, (48, 48), np.uint8),
    )
    for mode, load_size in (('crop', 1), ('resize_and_crop', 60), ('scale_width_and_crop', 40)):
        geometry = Geometry(mode, load_size, 32, 24)
        size = scaled_size(geometry, 48, 48)
        result = transform(Example(image, label), geometry, (5, 3))
        np.testing.assert_array_equal(result.image, resize_image(image, size)[3:27, 5:37])
        np.testing.assert_array_equal(result.label, resize_ids(label, size)[3:27, 5:37])


@pytest.mark.parametrize('reference_faults', [False, True])
@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_pictures_may_be_scaled_beforehand(mode, reference_faults):
    rng = np.random.default_rng(PREPROCESS_MODES.index(mode))
    for _ in range(10):
        width, height = (int(side) for side in rng.integers(20, 200, 2))
        geometry, position = _random_geometry(rng, mode, width, height, reference_faults)
        if reference_faults:  # A crop that reaches beyond the picture.
            geometry = dataclasses.replace(geometry, width=geometry.width + 9)
            position = (0, position[1])
        example = Example(
            rng.integers(0, 256, (2 * height, 2 * width, 3), np.uint8),
            rng.integers(0, 9, (height, width), np.uint8),
            rng.integers(0, 60000, (height, width), np.uint16),
        )
        scaled = scale(example, geometry)
        assert {part.shape[1::-1] for part in scaled} == {scaled_size(geometry, width, height)}
        prepared = geometry.already_scaled()
        assert crop_room(prepared, *scaled.label.shape[::-1]) == crop_room(geometry, width, height)
        for flip in (False, True):
            for direct, by_way in zip(
                transform(example, geometry, position, flip),
                transform(scaled, prepared, position, flip),
            ):
                assert direct.dtype == by_way.dtype and by_way.shape[:2] == (
                    geometry.height,
                    geometry.width,
                )
                np.testing.assert_array_equal(direct, by_way)


def test_a_prepared_picture_that_does_not_fit_is_refused():
    geometry = Geometry('resize_and_crop', 72, 64, 64).already_scaled()
    with pytest.raises(
        UserError,
        match='a prepared picture of 60x72 does not fit preprocess_mode=resize_and_crop with a result of 64x64; prepare',
    ):
        transform(Example(None, np.zeros((72, 60), np.uint8)), geometry)


def test_flipping_twice_changes_nothing():
    rng = np.random.default_rng(1)
    example = Example(
        rng.integers(0, 256, (9, 7, 3), np.uint8), rng.integers(0, 5, (9, 7), np.uint8)
    )
    geometry = Geometry('fixed', 1, 7, 9)
    twice = transform(transform(example, geometry, flip=True), geometry, flip=True)
    np.testing.assert_array_equal(twice.image, example.image)
    np.testing.assert_array_equal(twice.label, example.label)


@pytest.mark.parametrize(
    'mode, remedy',
    [
        (
            'crop',
            'a picture of 40x30 is smaller than the crop of 64x64; use a smaller --crop_size or --preprocess_mode=resize_and_crop',
        ),
        (
            'scale_width_and_crop',
            'a picture of 40x30 is scaled to 72x54, which is smaller than the crop of 64x64; use a larger --load_size',
        ),
        ('scale_width', 'turns this picture of 40x30 into 72x54'),
        ('scale_shortside', 'turns this picture of 40x30 into 96x72'),
        (
            'none',
            'turns this picture of 40x30 into 32x32, but the configuration (crop_size, aspect_ratio) is for 64x64; use --preprocess_mode=fixed',
        ),
    ],
)
def test_a_picture_that_does_not_come_out_right_is_refused(mode, remedy):
    geometry = Geometry.from_config(DataConfig(preprocess_mode=mode, load_size=72, crop_size=64))
    with pytest.raises(UserError) as error:
        transform(Example(None, np.zeros((30, 40), np.uint8)), geometry)
    assert remedy in str(error.value)


def test_a_crop_outside_the_picture_is_a_fault_of_the_caller():
    with pytest.raises(ValueError, match='outside'):
        transform(
            Example(None, np.zeros((8, 8), np.uint8)),
            Geometry('crop', 1, 4, 4),
            crop_position=(5, 0),
        )
