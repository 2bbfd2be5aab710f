import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.data.pipeline.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.sampling.sample_files import draw, output_files
from spade_jax.sampling.sizes import parse_size
from spade_jax.sampling.styles import NoStyles, RandomStyles
from spade_jax.sampling.trained_generator import _draw
from tests.sampling import tiny
from tests.sampling.tiny import named_maps, pixels

SIZE = (32, 32)


def test_pictures_keep_the_names_of_their_maps(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'b', 'a', 'town/c')
    paths = draw(
        plain, LabelFolder(tiny.PLAIN, str(labels)), str(tmp_path / 'out'), NoStyles(), size=SIZE
    )
    assert [os.path.relpath(path, tmp_path / 'out') for path in paths] == [
        'a.png',
        'b.png',
        'town/c.png',
    ]
    expected = plain(resize_ids(pixels(labels / 'town' / 'c.png'), SIZE))
    assert np.abs(pixels(paths[2]).astype(int) - expected).max() <= 1 and np.ptp(expected) > 20


def test_every_size_is_compiled_once(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', *'abcde', size=(64, 32))
    tiny.write_labels(labels, 'f', 'g', size=(32, 64))
    _draw.clear_cache()
    paths = draw(
        plain,
        LabelFolder(tiny.PLAIN, str(labels)),
        str(tmp_path / 'out'),
        NoStyles(),
        size=None,
        batch_size=2,
    )
    assert [pixels(path).shape[:2] for path in paths] == [(64, 32)] * 5 + [(32, 64)] * 2
    assert _draw._cache_size() == 2  # the fifth map is alone in its batch


def test_another_size_than_that_of_the_training(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a')
    (path,) = draw(
        plain,
        LabelFolder(tiny.PLAIN, str(labels)),
        str(tmp_path / 'out'),
        NoStyles(),
        size=parse_size('96x64', tiny.PLAIN),
    )
    np.testing.assert_allclose(
        pixels(path), plain(resize_ids(pixels(labels / 'a.png'), (96, 64))), atol=1
    )


def test_the_style_of_a_map_is_not_that_of_its_batch(styled, tmp_path):
    maps = LabelFolder(tiny.STYLED, str(tiny.write_labels(tmp_path / 'labels', *'abc')))
    one, other = (
        draw(
            styled,
            maps,
            str(tmp_path / str(batch_size)),
            RandomStyles(4, seed=3, num_samples=2),
            size=SIZE,
            batch_size=batch_size,
        )
        for batch_size in (2, 5)
    )
    assert [os.path.basename(path) for path in one] == [
        'a_0.png',
        'a_1.png',
        'b_0.png',
        'b_1.png',
        'c_0.png',
        'c_1.png',
    ]
    for first, second in zip(one, other):
        np.testing.assert_allclose(pixels(first), pixels(second), atol=1)
    assert np.any(pixels(one[0]) != pixels(one[1]))


def test_names_of_style_pictures_but_for_the_suffixes(tmp_path):
    config = dataclasses.replace(tiny.STYLED, label_suffix='_ids', image_suffix='_photo')
    labels = tiny.write_labels(tmp_path / 'labels', 'a_ids', 'x/b_ids', 'c_ids')
    photos = tiny.write_photos(tmp_path / 'photos', 'a_photo', 'x/b', 'c_ids')
    maps = LabelFolder(config, str(labels), photo_dir=str(photos))
    assert maps.names == ['a_ids', 'c_ids', 'x/b_ids']
    for index, name in enumerate(('a_photo', 'c_ids', 'x/b')):
        np.testing.assert_array_equal(maps.read_photo(index), pixels(photos / f'{name}.jpg'))
    with pytest.raises(UserError, match='photo_dir=.*: no such directory'):
        LabelFolder(config, str(labels), photo_dir=str(tmp_path / 'none'))


def test_a_map_of_an_illegal_size_is_named(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a')
    with pytest.raises(
        UserError,
        match=r'labels/a.png: a label map of 48x40: its width is not divisible by 32 .*; use 32 or 64, .* \(--sample_size=training scales',
    ):
        draw(
            plain,
            LabelFolder(tiny.PLAIN, str(labels)),
            str(tmp_path / 'out'),
            NoStyles(),
            size=None,
        )


def test_colours_without_palette(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(
        UserError,
        match='a.png: the label map is a RGB picture, not one channel of ids; a colour mask needs a palette, --palette=FILE',
    ):
        LabelFolder(tiny.PLAIN, str(tmp_path)).read(0)


def test_pictures_replace_nothing():
    assert output_files(named_maps('labels', 'a.png'), 'pictures', 2) == [
        ['pictures/a_0.png', 'pictures/a_1.png']
    ]
    with pytest.raises(UserError, match='written over the label map'):
        output_files(named_maps('labels', 'a.png'), 'labels', 1)
    with pytest.raises(UserError, match='a.png would be written over that of labels/a.bmp'):
        output_files(named_maps('labels', 'a.bmp', 'a.png'), 'pictures', 1)
    with pytest.raises(
        UserError,
        match='the sheet would be written over that of labels/sheet.png .*; choose another output_dir, or --nogallery',
    ):
        output_files(
            named_maps('labels', 'sheet.png'), 'pictures', 1, {'pictures/sheet.png': 'the sheet'}
        )
