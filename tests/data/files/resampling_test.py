"""Resizing of a window: by hand, and bit for bit against Pillow."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL
import pytest
from PIL import Image

import spade_jax
from spade_jax.data.files import compiled_resampling, resampling
from spade_jax.data.files.resampling import bicubic, nearest

CASES = 400
# Older versions order the two passes of some bicubic resizings differently.
RESIZES_LIKE_US = int(PIL.__version__.split('.')[0]) >= 13


def _whole(size):
    return (0, 0, *size)


def _random_resizing(rng, case):
    """Return source and target size (width, height), a window and a flip; with corner cases."""
    source, target = rng.integers(1, 500, 2).tolist(), rng.integers(1, 500, 2).tolist()
    match case % 10:
        case 0:
            target[0] = source[0]
        case 1:
            target[1] = source[1]
        case 2:
            source = rng.integers(1, 8, 2).tolist()
        case 3:
            target = rng.integers(1, 8, 2).tolist()
        case 4:
            source[0] = 1
        case 5:
            target = source
    width, height = (int(rng.integers(1, side + 1)) for side in target)
    left, top = (
        int(rng.integers(0, side - part + 1))
        for side, part in zip(target, (width, height), strict=True)
    )
    return tuple(source), tuple(target), (left, top, width, height), bool(rng.integers(2))


def _pillow(pixels, size, window, flip, resample):
    left, top, width, height = window
    window = np.asarray(
        Image.fromarray(pixels).resize(size, resample).crop((left, top, left + width, top + height))
    )
    return window[:, ::-1] if flip else window


def test_bicubic_equals_hand_computation():
    """Resizes 0 and 255 from two pixels to four.

    The kernel at the distances 0.25, 0.75 and 1.25 is 0.8671875, 0.2265625 and -0.0703125. The
    first pixel is 255 * -0.0703 / (0.8672 - 0.0703) = -22.5, clipped; the second is
    255 * 0.2266 / (0.8672 + 0.2266) = 52.8.
    """
    row = np.repeat(np.array([[0, 255]], np.uint8)[..., None], 3, -1)
    expected = [0, 53, 202, 255]
    for channel in range(3):
        np.testing.assert_array_equal(bicubic(row, (4, 1), _whole((4, 1)))[0, :, channel], expected)
        np.testing.assert_array_equal(
            bicubic(row, (4, 1), (1, 0, 2, 1))[0, :, channel], expected[1:3]
        )
        np.testing.assert_array_equal(
            bicubic(row, (4, 1), (1, 0, 3, 1), flip=True)[0, :, channel], expected[:0:-1]
        )
        np.testing.assert_array_equal(
            bicubic(row.transpose(1, 0, 2), (1, 4), _whole((1, 4)))[:, 0, channel], expected
        )


def test_nearest_equals_hand_computation():
    ids = np.array([[10, 20, 30, 40]], np.uint8)
    np.testing.assert_array_equal(
        nearest(ids, (2, 1), _whole((2, 1))), [[20, 40]]
    )  # Centers 1.0 and 3.0 are the first of pixels 1 and 3.
    np.testing.assert_array_equal(nearest(ids, (8, 1), (1, 0, 4, 1)), [[10, 20, 20, 30]])
    np.testing.assert_array_equal(nearest(ids, (8, 2), (1, 1, 4, 1), flip=True), [[30, 20, 20, 10]])


@pytest.mark.parametrize('source', [(1, 1), (5, 7), (300, 200)])
@pytest.mark.parametrize('target', [(1, 1), (33, 64), (250, 3)])
def test_bicubic_keeps_uniform_color(source, target):
    color = np.array([0, 100, 255], np.uint8)
    image = np.broadcast_to(color, (*source[::-1], 3))
    np.testing.assert_array_equal(
        bicubic(image, target, _whole(target)), np.broadcast_to(color, (*target[::-1], 3))
    )


@pytest.mark.skipif(
    not RESIZES_LIKE_US, reason='Pillow before 13 resizes some images in another order'
)
@pytest.mark.parametrize('form', ['compiled', 'plain'])
def test_bicubic_equals_pillow_bit_for_bit(form, monkeypatch):
    rng = np.random.default_rng(0)
    source = compiled_resampling if form == 'compiled' else resampling
    kernels = source.resize_rows_into, source.resize_columns_into
    monkeypatch.setattr(resampling, 'kernels', lambda: kernels)
    for case in range(CASES):
        source, target, window, flip = _random_resizing(rng, case)
        image = rng.integers(0, 256, (*source[::-1], 3), np.uint8)
        if rng.integers(2):
            image = np.where(image < 128, np.uint8(0), np.uint8(255))  # The largest overshoot.
        np.testing.assert_array_equal(
            bicubic(image, target, window, flip),
            _pillow(image, target, window, flip, Image.Resampling.BICUBIC),
            err_msg=f'case {case}: {source} to {target}, window {window}, flip {flip}',
        )


@pytest.mark.skipif(
    not RESIZES_LIKE_US, reason='Pillow before 13 resizes some images in another order'
)
@pytest.mark.parametrize(
    'source, target',
    [
        ((640, 480), (286, 286)),
        ((427, 640), (286, 286)),
        ((480, 640), (286, 286)),
        ((2048, 1024), (1024, 512)),
        ((3000, 2000), (286, 286)),
        ((2, 1500), (300, 7)),
        ((1500, 2), (7, 300)),
    ],
)
def test_bicubic_equals_pillow_at_data_set_sizes(source, target):
    """Includes 427x640, where Pillow begins with the rows, and 480x640, where it does not."""
    image = np.random.default_rng(1).integers(0, 256, (*source[::-1], 3), np.uint8)
    np.testing.assert_array_equal(
        bicubic(image, target, _whole(target)),
        _pillow(image, target, _whole(target), False, Image.Resampling.BICUBIC),
    )


def test_nearest_equals_pillow_for_every_type():
    rng = np.random.default_rng(2)
    for case in range(CASES):
        source, target, window, flip = _random_resizing(rng, case)
        ids = rng.integers(0, 256, source[::-1])
        for dtype in (np.uint8, np.int32):
            expected = _pillow(ids.astype(dtype), target, window, flip, Image.Resampling.NEAREST)
            np.testing.assert_array_equal(
                nearest(ids.astype(dtype), target, window, flip),
                expected,
                err_msg=f'case {case}: {source} to {target}, {window}',
            )
        for dtype in (np.uint8, np.uint16, np.int32):
            scaled = nearest(ids.astype(dtype), target, window, flip)
            assert scaled.dtype == dtype
            assert scaled.flags.c_contiguous
            np.testing.assert_array_equal(scaled, expected)


def test_bicubic_accepts_every_memory_layout():
    image = np.random.default_rng(3).integers(0, 256, (90, 70, 3), np.uint8)
    readonly = image.copy()
    readonly.setflags(write=False)
    expected = bicubic(image, (50, 40), (3, 4, 30, 20))
    assert expected.flags.c_contiguous
    assert expected.flags.writeable
    for same in (
        readonly,
        np.asfortranarray(image),
        np.repeat(image, 2, axis=1)[:, ::2],
        image[::-1].copy()[::-1],
    ):
        np.testing.assert_array_equal(bicubic(same, (50, 40), (3, 4, 30, 20)), expected)


@pytest.mark.parametrize('window', [(0, 0, 9, 4), (-1, 0, 4, 4), (0, 5, 4, 4), (0, 0, 0, 4)])
def test_resizing_rejects_window_outside_image(window):
    for scale, pixels in (
        (bicubic, np.zeros((6, 6, 3), np.uint8)),
        (nearest, np.zeros((6, 6), np.uint8)),
    ):
        with pytest.raises(ValueError, match='is not inside the resized image of 8x8'):
            scale(pixels, (8, 8), window)


@pytest.mark.parametrize(
    'image',
    [np.zeros((6, 6, 4), np.uint8), np.zeros((6, 6), np.uint8), np.zeros((6, 6, 3), np.float32)],
)
def test_bicubic_rejects_other_arrays(image):
    with pytest.raises(ValueError, match=r'must be \[H, W, 3\] uint8'):
        bicubic(image, (8, 8), (0, 0, 8, 8))


@pytest.mark.parametrize('module', ['spade_jax.main', 'spade_jax.data.pipeline.paired_transforms'])
def test_numba_is_imported_only_for_resizing(module):
    script = f'import sys, {module}; print("numba" in sys.modules, "llvmlite" in sys.modules)'
    assert subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True
    ).stdout.split() == ['False', 'False']


def test_compiled_code_is_kept_outside_of_the_package():
    package = pathlib.Path(spade_jax.__file__).parent
    for function in (compiled_resampling.resize_rows_into, compiled_resampling.resize_columns_into):
        assert package not in pathlib.Path(function.stats.cache_path).parents


@pytest.mark.parametrize(
    'obstacle',
    ['caching.tempfile.TemporaryFile = refuse', 'caching.IndexDataCacheFile._save_data = refuse'],
)
def test_resizing_works_without_numba_cache(obstacle, tmp_path):
    """Either no directory is writable, or the disk is full."""
    script = '\n'.join(
        [
            'import numpy as np',
            'from numba.core import caching',
            'def refuse(*args, **options): raise OSError("no room")',
            obstacle,
            'from spade_jax.data.files.resampling import bicubic',
            'print(bicubic(np.full((4, 6, 3), 7, np.uint8), (3, 2), (0, 0, 3, 2)).sum())',
        ]
    )
    result = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {'NUMBA_CACHE_DIR': str(tmp_path)},
    )
    assert int(result.stdout) == 3 * 2 * 3 * 7
