"""Interpolated label maps are told from honest ones: landscapes, streets, facades, outlines."""

import functools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from spade_jax import landscapes
from spade_jax.data.validation.interpolation import interpolated_ids

NEAREST, BILINEAR, BICUBIC = (Image.Resampling[name] for name in ('NEAREST', 'BILINEAR', 'BICUBIC'))


@functools.cache
def landscape(seed):
    return landscapes.render_scene(seed, 128, 128).label


def street(seed):
    """As in Cityscapes: layers, and poles (17), signs and riders thinly between them."""
    random, image = np.random.default_rng(seed), Image.new('L', (256, 128), 23)
    draw = ImageDraw.Draw(image)
    for x in range(0, 256, 32):
        draw.rectangle((x, int(random.integers(5, 50)), x + 40, 80), fill=(11, 21, 12)[x % 3])
    draw.polygon([(0, 80), (256, 80), (256, 128), (0, 128)], fill=7)
    draw.polygon([(0, 80), (256, 80), (256, 86), (0, 96)], fill=8)
    for _ in range(10):
        x, top = int(random.integers(0, 256)), int(random.integers(10, 60))
        draw.rectangle((x, top, x + int(random.integers(0, 2)), 88), fill=17)
        draw.rectangle((x - 2, top, x + 3, top + 5), fill=20)
    return np.asarray(image)


def facade(seed):
    """Windows (2) with frames, sills (5) and cornices (11) of one or two pixels."""
    random, image = np.random.default_rng(seed), Image.new('L', (160, 160), 0)
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, 150, 160), fill=1)
    for y in range(20, 140, 36):
        draw.rectangle((10, y - 6, 150, y - 5), fill=4)
        for x in range(20, 130, 28):
            draw.rectangle((x, y, x + 16, y + 20), fill=2)
            draw.rectangle((x - 1, y + 21, x + 17, y + 22), fill=5)
            draw.line((x - 1, y - 1, x + 17, y - 1), fill=11)
            if random.random() < 0.4:
                draw.rectangle((x - 2, y + 16, x + 18, y + 24), fill=7)
    return np.asarray(image)


@functools.cache
def cells(seed, num_classes=4):
    """Classes next to each other in all pairs."""
    random = np.random.default_rng(seed)
    y, x = np.indices((128, 128))[..., None]
    centers = random.integers(0, 128, (2, 40))
    nearest = np.argmin((y - centers[0]) ** 2 + (x - centers[1]) ** 2, axis=-1)
    return random.integers(0, num_classes, 40)[nearest].astype(np.uint8)


def outlined(label, value, width=2):
    label = label.copy()
    edges = np.zeros(label.shape, bool)
    edges[:, 1:] |= np.diff(label.astype(int), axis=1) != 0
    edges[1:] |= np.diff(label.astype(int), axis=0) != 0
    for _ in range(width - 1):
        edges[1:] |= edges[:-1]
        edges[:, 1:] |= edges[:, :-1]
    label[edges] = value
    return label


def scaled(label, factor, method):
    image = Image.fromarray(label)
    size = [round(side * factor) for side in image.size]
    return np.asarray(image.resize(size, method))


MAPS = [landscape, street, facade, cells]


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('make', MAPS)
def test_interpolated_maps_are_found(make, seed):
    for factor, method in ((0.5, BILINEAR), (1.3, BILINEAR), (2, BILINEAR), (3, BILINEAR)):
        assert interpolated_ids(scaled(make(seed), factor, method)), factor
    assert interpolated_ids(scaled(make(seed), 1.3, BICUBIC))


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('make', MAPS)
@pytest.mark.parametrize('factor', [0.3, 1, 1.3, 4])
def test_honest_maps_are_not_found(make, seed, factor):
    assert not interpolated_ids(scaled(make(seed), factor, NEAREST))


@pytest.mark.parametrize('width', [1, 2, 3])
@pytest.mark.parametrize('value', [0, 3, 6, 255])
def test_outlines_are_not_found(width, value):
    assert not interpolated_ids(outlined(cells(0, num_classes=7), value, width))


def test_thin_layers_between_two_classes_are_not_found():
    layers = np.repeat([0, 1, 2, 3], [50, 2, 2, 50]).astype(np.uint8)
    assert not interpolated_ids(np.tile(layers, (60, 1)))


@pytest.mark.parametrize('factor', [0.5, 1.3, 2, 3])
@pytest.mark.parametrize('ids', [(0, 255), (0, 5), (0, 128, 255), (1, 4, 9)])
def test_interpolated_maps_of_few_ids_are_found(ids, factor):
    label = np.array(ids, np.uint8)[cells(0, len(ids))]
    assert interpolated_ids(scaled(label, factor, BILINEAR))


@pytest.mark.parametrize('width', [1, 2, 3])
def test_many_thin_layers_between_two_classes_are_not_found(width):
    layers = np.repeat(np.arange(9), [50, *[width] * 7, 50]).astype(np.uint8)
    assert not interpolated_ids(np.tile(layers, (60, 1)))


def test_noise_is_not_found():
    for num_classes in (3, 13, 60):
        noise = np.random.default_rng(0).integers(0, num_classes, (128, 128)).astype(np.uint8)
        assert not interpolated_ids(noise)


def test_made_up_pixels_are_counted_by_id():
    label = np.tile(np.kron([0, 9, 2, 7, 0, 5], np.ones(10, int)), (60, 1)).astype(np.uint8)
    ramps = scaled(label, 2, BILINEAR)
    expected = [value for value in np.unique(ramps) if value not in (0, 9)]
    pixels = interpolated_ids(ramps)
    assert sorted(pixels) == expected
    assert sum(pixels.values()) == 10 * len(ramps)  # Two for each of five borders.
