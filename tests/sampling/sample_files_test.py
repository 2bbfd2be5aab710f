import os
import pathlib
import types

import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.data.pipeline.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.sampling import jitted
from spade_jax.sampling.sample_files import SampleRequest, check_maps, output_files, write_samples
from spade_jax.sampling.styles import NoStyles, RandomStyles
from tests.sampling import tiny
from tests.sampling.tiny import named_maps, pixels

SIZE = (32, 32)
NO_STYLES = NoStyles()


def sample(generator, labels, output_dir, styles=NO_STYLES, size=SIZE, batch_size=8):
    """Paths of the samples of a directory of label maps."""
    maps = LabelFolder(generator.config.data, str(labels))
    request = SampleRequest(maps, styles, size, batch_size)
    return write_samples(generator, request, str(output_dir))


def test_map_on_its_own_has_the_image_of_a_call(tmp_path):
    generator = spade_jax.load(spade_jax.DEMO)
    ids = pixels(pathlib.Path(spade_jax.DEMO, 'labels', 'landscape_03.png'))
    labels = tmp_path / 'labels'
    labels.mkdir()
    Image.fromarray(ids).save(labels / 'a.png')
    for seed in (6, 7, 8):
        styles = RandomStyles(generator.latent_dim, seed=seed)
        (path,) = sample(generator, labels, tmp_path / str(seed), styles, size=None)
        np.testing.assert_array_equal(pixels(path), generator(ids, seed=seed))


def test_images_have_names_of_their_maps(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'b', 'a', 'town/c')
    paths = sample(plain, labels, tmp_path / 'out')
    names = [os.path.relpath(path, tmp_path / 'out') for path in paths]
    assert names == ['a.png', 'b.png', 'town/c.png']
    expected = plain(resize_ids(pixels(labels / 'town' / 'c.png'), SIZE))
    assert np.ptp(expected) > 20
    np.testing.assert_allclose(pixels(paths[2]), expected, atol=1)


def test_each_size_is_compiled_once(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', *'abcde', size=(64, 32))
    tiny.write_labels(labels, 'f', 'g', size=(32, 64))
    jitted.sample.clear_cache()
    paths = sample(plain, labels, tmp_path / 'out', size=None, batch_size=2)
    assert [pixels(path).shape[:2] for path in paths] == [(64, 32)] * 5 + [(32, 64)] * 2
    assert jitted.sample._cache_size() == 2  # The batch of the fifth map is padded.


def test_maps_are_resized_to_sample_size(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a')
    (path,) = sample(plain, labels, tmp_path / 'out', size=(96, 64))
    expected = plain(resize_ids(pixels(labels / 'a.png'), (96, 64)))
    np.testing.assert_allclose(pixels(path), expected, atol=1)


def test_style_of_map_does_not_depend_on_batch(styled, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', *'abc')
    styles = RandomStyles(4, seed=3, num_samples=2)
    two, five = (
        sample(styled, labels, tmp_path / str(size), styles, batch_size=size) for size in (2, 5)
    )
    names = [os.path.basename(path) for path in two]
    assert names == ['a_0.png', 'a_1.png', 'b_0.png', 'b_1.png', 'c_0.png', 'c_1.png']
    for first, second in zip(two, five, strict=True):
        np.testing.assert_allclose(pixels(first), pixels(second), atol=1)
    assert np.any(pixels(two[0]) != pixels(two[1]))


def test_photos_may_have_other_suffixes(tmp_path):
    config = tiny.STYLED.replace(label_suffix='_ids', image_suffix='_photo')
    labels = tiny.write_labels(tmp_path / 'labels', 'a_ids', 'x/b_ids', 'c_ids')
    photos = tiny.write_photos(tmp_path / 'photos', 'a_photo', 'x/b', 'c_ids')
    maps = LabelFolder(config.data, str(labels), photo_dir=str(photos))
    assert maps.names == ['a_ids', 'c_ids', 'x/b_ids']
    for index, name in enumerate(('a_photo', 'c_ids', 'x/b')):
        np.testing.assert_array_equal(maps.read_photo(index), pixels(photos / f'{name}.jpg'))


def test_missing_photo_dir_is_refused(tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a')
    with pytest.raises(UserError, match='photo_dir=.*: no such directory'):
        LabelFolder(tiny.STYLED.data, str(labels), photo_dir=str(tmp_path / 'none'))


def test_map_of_illegal_size_is_named(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a', size=(44, 52))
    with pytest.raises(UserError) as error:
        sample(plain, labels, tmp_path / 'out', size=None)
    assert 'labels/a.png: a label map of 52x44: its width is not divisible by 8' in str(error.value)
    assert '(--sample_size=training resizes every map to it)' in str(error.value)


def test_squeezed_map_is_named_with_a_size_that_keeps_its_shape(tmp_path, capsys):
    labels = tiny.write_labels(tmp_path, 'a', size=(32, 32))
    tiny.write_labels(labels, 'b', 'c', size=(32, 128))
    maps = LabelFolder(tiny.PLAIN.data, str(labels))
    check_maps(maps, tiny.PLAIN, SIZE, with_photos=False)
    assert capsys.readouterr().err == (
        f'warning: 2 of 3 label maps change their shape: {labels}/b.png: a map of 128x32 is '
        'squeezed to 32x32; cut it to the shape of 32x32, or use --sample_size=64x16\n'
    )
    (labels / 'a.png').unlink()
    maps = LabelFolder(tiny.PLAIN.data, str(labels))
    check_maps(maps, tiny.PLAIN, (64, 16), with_photos=False)
    assert capsys.readouterr().err == ''


def test_color_mask_without_palette_is_refused(tmp_path):
    Image.new('RGB', (32, 32), 'red').save(tmp_path / 'a.png')
    with pytest.raises(UserError, match='a.png: .*--palette=FILE'):
        LabelFolder(tiny.PLAIN.data, str(tmp_path)).read(0)


def test_unknown_id_of_map_has_a_remedy_for_trained_models(tmp_path):
    """The number of classes of a trained model is fixed, so it is not the remedy."""
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(UserError, match='label id 7 at pixel .*--label_remap') as error:
        LabelFolder(tiny.PLAIN.data, str(tmp_path)).read(0)
    assert 'num_classes' not in str(error.value)


def test_output_files_are_numbered():
    files = output_files(named_maps('labels', 'a.png'), 'images', 2, {})
    assert files == [['images/a_0.png', 'images/a_1.png']]


@pytest.mark.parametrize(
    'files, output_dir, others, message',
    [
        (['a.png'], 'labels', {}, 'the image of labels/a.png would overwrite the label map'),
        (['a.bmp', 'a.png'], 'images', {}, 'would overwrite the image of labels/a.bmp'),
        (
            ['sheet.png'],
            'images',
            {'images/sheet.png': 'the sheet'},
            'the sheet would overwrite the image of labels/sheet.png',
        ),
    ],
)
def test_output_files_overwrite_nothing(files, output_dir, others, message):
    with pytest.raises(UserError, match=message):
        output_files(named_maps('labels', *files), output_dir, 1, others)


@pytest.mark.parametrize('name', ['../a', '/a', 'b/../../a', '\ud800'])
def test_output_files_are_in_their_directory(name):
    """Names come from directories, but also from records and TFDS, which anybody can write."""
    maps = types.SimpleNamespace(names=[name], locations=['record 0'], paths=[])
    with pytest.raises(UserError, match='the image of record 0 would be outside of images'):
        output_files(maps, 'images', 1, {})
