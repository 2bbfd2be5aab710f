"""Eight ways to the training size: by hand, against the published implementation, in alignment."""

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
    max_crop_offset,
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


def _reference_transform(example, mode, load_size, result_size, position, flip):
    """As the published implementation, three faults of which `transform` does not have.

    scale_shortside keeps the shorter side as it is, resize_and_crop scales to a square, and a crop
    beyond the image is filled with zeros. Where none of them counts, this is `transform`.
    """
    geometry = Geometry(mode, load_size, *result_size)
    position = tuple(position) if geometry.crops else (0, 0)
    height, width = example.label.shape[:2]
    size = _reference_size(mode, load_size, geometry, width, height)
    if size == scaled_size(geometry, width, height) and all(np.add(position, result_size) <= size):
        return transform(_with_reference_shift(example, size), geometry, position, flip)
    example = _with_reference_shift(example, size)
    parts = [
        resize_image(pixels, size) if pixels.ndim == 3 else resize_ids(pixels, size)
        for pixels in example
        if pixels is not None
    ]
    return Example(*(_cropped_and_padded(part, position, result_size, flip) for part in parts))


def _reference_size(mode, load_size, geometry, width, height):
    if mode == 'resize_and_crop':
        return load_size, load_size
    if mode.startswith('scale_shortside') and load_size != min(width, height):
        longer = int(load_size * max(width, height) / min(width, height))
        return (width, longer) if width <= height else (longer, height)
    return scaled_size(geometry, width, height)


def _with_reference_shift(example, size):
    """Pillow takes other pixels of a 16-bit map than of any other."""
    if example.instance is None or example.instance.dtype != np.uint16:
        return example
    resized = Image.fromarray(example.instance).resize(size, Image.Resampling.NEAREST)
    return example._replace(instance=np.asarray(resized))


def _cropped_and_padded(pixels, position, result_size, flip):
    pixels = pixels[position[1] :, position[0] :][: result_size[1], : result_size[0]]
    missing = [(0, result_size[1] - pixels.shape[0]), (0, result_size[0] - pixels.shape[1])]
    pixels = np.pad(pixels, missing + [(0, 0)] * (pixels.ndim - 2))
    return np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)


def _instance(arrays, sample, row):
    if row['instance'] == '16-bit file':
        return arrays[f'in/{sample}/inst16'].astype(np.uint16)
    return arrays[f'in/{sample}/inst']


def _check_image_operations(path):
    arrays, rows = _golden(path)
    for row in rows:
        source, case = row['source'], row['case']
        example = Example(arrays[f'in/{source}/image'], arrays[f'in/{source}/label'])
        settings = row['mode'], row['load'], row['result_wh'], row['pos'], row['flip']
        result = _reference_transform(example, *settings)
        for name in ('image', 'label'):
            pixels = getattr(result, name)
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            assert digest == row[f'sha256_{name}'], (source, case, name)
            if f'out/{source}/{case}/{name}' in arrays:
                np.testing.assert_array_equal(pixels, arrays[f'out/{source}/{case}/{name}'])


def test_image_operations_equal_the_published_ones():
    _check_image_operations(GOLDEN / 'image_ops_synthetic.npz')


@pytest.mark.skipif(
    'SPADE_JAX_PARITY_DIR' not in os.environ,
    reason='set SPADE_JAX_PARITY_DIR to the directory of image_ops_coco.npz',
)
def test_image_operations_on_photos_equal_the_published_ones():
    _check_image_operations(pathlib.Path(os.environ['SPADE_JAX_PARITY_DIR']) / 'image_ops_coco.npz')


def test_most_golden_rows_are_free_of_the_reference_faults():
    """So that the golden numbers are about `transform`, and not about the test's own code."""
    _, rows = _golden(GOLDEN / 'image_ops_synthetic.npz')
    same = 0
    for row in rows:
        geometry = Geometry(row['mode'], row['load'], *row['result_wh'])
        reference = _reference_size(row['mode'], row['load'], geometry, *row['source_wh'])
        if reference == scaled_size(geometry, *row['source_wh']):
            offset = [max(0, side - row['result_wh'][i]) for i, side in enumerate(reference)]
            assert (
                geometry.mode not in CROPPING_MODES or offset == row['crop_offset_upper_bound_xy']
            )
            same += all(np.less_equal(row['result_wh'], reference))
    assert same > len(rows) / 2


def test_samples_equal_the_published_ones():
    arrays, rows = _golden(GOLDEN / 'dataset_pipeline.npz')
    for row in rows:
        key, sample, options = row['key'], row['sample'], row['options']
        image, label = (arrays[f'in/{sample}/{name}'] for name in ('img', 'lab'))
        *_, height, width = arrays[f'{key}/instance'].shape
        result = _reference_transform(
            Example(image, label, _instance(arrays, sample, row)),
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
        floats = (result.image.astype(np.float32) / 255 - 0.5) / 0.5
        np.testing.assert_array_equal(floats, image, err_msg=key)
        # 255 has become the number of classes there; here it stays until the device.
        label = arrays[f'{key}/label'][0]
        known = result.label != DONTCARE_ID
        np.testing.assert_array_equal(result.label[known], label[known], err_msg=key)
        assert len(np.unique(label[~known])) <= 1


@pytest.mark.parametrize(
    'mode, load_size, target, source, scaled',
    [
        ('resize_and_crop', 12, (8, 8), (20, 10), (12, 12)),
        # The aspect ratio is 2, so the scaled image has it as well.
        ('resize_and_crop', 12, (8, 4), (20, 20), (12, 6)),
        ('crop', 12, (8, 8), (20, 10), (20, 10)),
        ('scale_width', 12, (12, 6), (20, 10), (12, 6)),
        ('scale_width_and_crop', 12, (8, 4), (20, 11), (12, 6)),  # 6.6 rows: cut off, not rounded.
        ('scale_shortside', 12, (24, 12), (20, 10), (24, 12)),
        ('scale_shortside', 12, (12, 24), (10, 20), (12, 24)),
        ('scale_shortside', 12, (12, 20), (12, 20), (12, 20)),
        ('scale_shortside_and_crop', 12, (8, 8), (20, 10), (24, 12)),
        ('fixed', 1, (8, 4), (20, 10), (8, 4)),
        ('none', 1, (64, 32), (70, 20), (64, 32)),
    ],
)
def test_scaled_size(mode, load_size, target, source, scaled):
    assert scaled_size(Geometry(mode, load_size, *target), *source) == scaled


def test_transform_crops_and_mirrors_numbered_pixels():
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    geometry = Geometry('crop', 1, width=2, height=2)
    assert max_crop_offset(geometry, 4, 3) == (2, 1)
    cropped = transform(Example(None, label), geometry, (1, 1)).label
    np.testing.assert_array_equal(cropped, [[5, 6], [9, 10]])
    mirrored = transform(Example(None, label), geometry, (1, 1), flip=True).label
    np.testing.assert_array_equal(mirrored, [[6, 5], [10, 9]])


def test_transform_accepts_label_map_alone():
    result = transform(Example(None, np.zeros((4, 4), np.uint8)), Geometry('fixed', 1, 2, 2))
    assert result.image is None
    assert result.instance is None
    assert result.label.shape == (2, 2)


@pytest.mark.parametrize(
    'dtype, value', [(np.uint8, 255), (np.uint16, 40000), (np.int32, 2_000_000)]
)
def test_transform_keeps_ids_and_dtype(dtype, value):
    label = np.array([[0, value], [7, 255]], dtype)
    result = transform(Example(None, label), Geometry('fixed', 1, 4, 4)).label
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.kron(label, np.ones((2, 2), dtype)))


@pytest.mark.parametrize('size', [(72, 72), (100, 150), (57, 33)])
def test_resize_ids_takes_the_same_pixels_for_every_dtype(size):
    ids = np.arange(96 * 64).reshape(96, 64) % 256
    expected = resize_ids(ids.astype(np.uint8), size)
    for dtype in (np.uint16, np.int32):
        np.testing.assert_array_equal(resize_ids(ids.astype(dtype), size), expected)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_transform_keeps_all_parts_aligned(mode, flip):
    """The gray of a pixel is 8 times its id, in blocks so large that few pixels are at borders."""
    rng = np.random.default_rng(0)
    ids = np.kron(rng.integers(0, 30, (8, 8)), np.ones((32, 32))).astype(np.uint8)  # 256 x 256
    example = Example(np.repeat(ids[..., None] * 8, 3, -1), ids, ids.astype(np.int32) + 70000)
    target = 256 if mode == 'none' else 192
    load_size = 224 if mode in CROPPING_MODES else 192
    geometry = Geometry(mode, load_size, width=target, height=target)
    largest = max_crop_offset(geometry, 256, 256)
    result = transform(example, geometry, (largest[0], largest[1] // 3), flip)
    assert result.image.shape == (target, target, 3)
    np.testing.assert_array_equal(result.instance, result.label.astype(np.int32) + 70000)
    assert _aligned_fraction(result.image, result.label) > 0.7
    assert _aligned_fraction(result.image[:, ::-1], result.label) < 0.3  # The measure can tell.


def _aligned_fraction(image, label):
    return (np.abs(image[..., 0].astype(int) - 8 * label.astype(int)) <= 1).mean()


def _random_geometry(rng, mode, width, height):
    """A geometry of this mode that fits a width x height image, and a crop offset it allows."""
    if mode == 'resize_and_crop':
        result = [int(side) for side in rng.integers(1, 100, 2)]
        geometry = Geometry(mode, int(result[0] + rng.integers(0, 40)), *result)
    else:
        load_size = int(rng.integers(8, 150))
        geometry = Geometry(mode, load_size, *(int(side) for side in rng.integers(1, 100, 2)))
        scaled = scaled_size(geometry, width, height)
        result = [int(rng.integers(1, side + 1)) for side in scaled] if geometry.crops else scaled
        geometry = dataclasses.replace(geometry, width=result[0], height=result[1])
    largest = max_crop_offset(geometry, width, height)
    return geometry, tuple(int(rng.integers(0, side + 1)) for side in largest)


@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_maps_stay_aligned_and_images_equal_pillow_for_any_size(mode):
    """Every id is the index of the pixel it comes from."""
    rng = np.random.default_rng(PREPROCESS_MODES.index(mode))
    for case in range(40):
        width, height = (int(side) for side in rng.integers(20, 300, 2))
        geometry, offset = _random_geometry(rng, mode, width, height)
        flip = bool(rng.integers(2))
        pixel = np.arange(height * width).reshape(height, width)
        dtype, modulus = [(np.int32, 2**31), (np.uint16, 2**16), (np.uint8, 2**8)][case % 3]
        label = (pixel % modulus).astype(dtype)
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        example = Example(image, label, (pixel + 70000).astype(np.int32))
        result = transform(example, geometry, offset, flip)

        source = result.instance - 70000
        assert source.min() >= 0
        assert source.max() < pixel.size  # No id that was not in the file.
        np.testing.assert_array_equal(result.label, label.ravel()[source])
        _check_rows_and_columns(source // width, source % width, flip)

        size = scaled_size(geometry, width, height)
        window = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
        window = window[offset[1] :, offset[0] :][: geometry.height, : geometry.width]
        expected = window[:, ::-1] if flip else window
        description = f'{geometry} {width}x{height} {offset} {flip}'
        np.testing.assert_array_equal(result.image, expected, err_msg=description)
        assert all(part.flags.c_contiguous for part in result)


def _check_rows_and_columns(rows, columns, flip):
    """Rows stay rows, columns stay columns, and both stay in their order."""
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()
    assert (np.diff(rows[:, 0]) >= 0).all()
    assert ((-1 if flip else 1) * np.diff(columns[0]) >= 0).all()


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_rgb_condition_is_transformed_like_the_image(mode, flip):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 128, 3), np.uint8)
    geometry, offset = _random_geometry(rng, mode, 128, 96)
    result = transform(Example(image, image), geometry, offset, flip)
    assert result.label.shape == (geometry.height, geometry.width, 3)
    np.testing.assert_array_equal(result.label, result.image)


@pytest.mark.parametrize(
    'mode, load_size', [('crop', 1), ('resize_and_crop', 60), ('scale_width_and_crop', 40)]
)
def test_image_of_another_size_follows_its_label_map(mode, load_size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 96, 3), np.uint8)
    label = rng.integers(0, 19, (48, 48), np.uint8)
    geometry = Geometry(mode, load_size, 32, 24)
    size = scaled_size(geometry, 48, 48)
    result = transform(Example(image, label), geometry, (5, 3))
    np.testing.assert_array_equal(result.image, resize_image(image, size)[3:27, 5:37])
    np.testing.assert_array_equal(result.label, resize_ids(label, size)[3:27, 5:37])


@pytest.mark.parametrize('mode', PREPROCESS_MODES)
def test_scaling_beforehand_changes_nothing(mode):
    rng = np.random.default_rng(PREPROCESS_MODES.index(mode))
    for _ in range(10):
        width, height = (int(side) for side in rng.integers(20, 200, 2))
        geometry, offset = _random_geometry(rng, mode, width, height)
        example = Example(
            rng.integers(0, 256, (2 * height, 2 * width, 3), np.uint8),
            rng.integers(0, 9, (height, width), np.uint8),
            rng.integers(0, 60000, (height, width), np.uint16),
        )
        scaled = scale(example, geometry)
        prepared = dataclasses.replace(geometry, prescaled=True)
        assert {part.shape[1::-1] for part in scaled} == {scaled_size(geometry, width, height)}
        largest = max_crop_offset(geometry, width, height)
        assert max_crop_offset(prepared, *scaled.label.shape[::-1]) == largest
        for flip in (False, True):
            direct = transform(example, geometry, offset, flip)
            in_two_steps = transform(scaled, prepared, offset, flip)
            assert [part.dtype for part in direct] == [part.dtype for part in in_two_steps]
            for part, other in zip(direct, in_two_steps, strict=True):
                np.testing.assert_array_equal(part, other)


def test_transform_rejects_prepared_image_that_does_not_fit():
    geometry = Geometry('resize_and_crop', 72, 64, 64, prescaled=True)
    message = (
        'a prepared image of 60x72 does not fit preprocess_mode=resize_and_crop with a result of '
        '64x64; prepare'
    )
    with pytest.raises(UserError, match=message):
        transform(Example(None, np.zeros((72, 60), np.uint8)), geometry)


def test_mirroring_twice_changes_nothing():
    rng = np.random.default_rng(1)
    image, label = rng.integers(0, 256, (9, 7, 3), np.uint8), rng.integers(0, 5, (9, 7), np.uint8)
    geometry = Geometry('fixed', 1, 7, 9)
    once = transform(Example(image, label), geometry, flip=True)
    twice = transform(once, geometry, flip=True)
    assert (once.image != image).any()
    np.testing.assert_array_equal(twice.image, image)
    np.testing.assert_array_equal(twice.label, label)


@pytest.mark.parametrize(
    'mode, message',
    [
        (
            'crop',
            'an image of 40x30 is smaller than the crop of 64x64; use a smaller --crop_size or '
            '--preprocess_mode=resize_and_crop',
        ),
        (
            'scale_width_and_crop',
            'an image of 40x30 is scaled to 72x54, which is smaller than the crop of 64x64; use a '
            'larger --load_size',
        ),
        ('scale_width', 'scales this image of 40x30 to 72x54'),
        ('scale_shortside', 'scales this image of 40x30 to 96x72'),
        (
            'none',
            'scales this image of 40x30 to 32x32, but the configuration (crop_size, aspect_ratio) '
            'is for 64x64; use --preprocess_mode=fixed',
        ),
    ],
)
def test_transform_rejects_image_of_another_size(mode, message):
    geometry = Geometry.from_config(DataConfig(preprocess_mode=mode, load_size=72, crop_size=64))
    with pytest.raises(UserError) as error:
        transform(Example(None, np.zeros((30, 40), np.uint8)), geometry)
    assert message in str(error.value)


def test_transform_rejects_crop_outside_the_image():
    example = Example(None, np.zeros((8, 8), np.uint8))
    with pytest.raises(ValueError, match='outside'):
        transform(example, Geometry('crop', 1, 4, 4), crop_offset=(5, 0))
