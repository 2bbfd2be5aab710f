import dataclasses
import html.parser
import os
import types
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.label_maps import LabelFolder
from spade_jax.data.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.sampling.choices import StyleChoice
from spade_jax.sampling.drawing import draw, output_files
from spade_jax.sampling.gallery import MOST_MAPS, Gallery, contact_sheet, fitted
from spade_jax.sampling.sizes import parse_size
from spade_jax.sampling.styles import NoStyles, RandomStyles
from spade_jax.sampling.trained_generator import _draw
from tests.sampling import tiny

SIZE = (32, 32)


@pytest.fixture(scope='module')
def plain():
    return tiny.generator(tiny.PLAIN)


@pytest.fixture(scope='module')
def styled():
    return tiny.generator(tiny.STYLED)


def pixels(path):
    return np.asarray(Image.open(path))


def test_pictures_keep_the_names_of_their_maps(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'b', 'a', 'town/c')
    paths = draw(plain, LabelFolder(tiny.PLAIN, str(labels)), str(tmp_path / 'out'), NoStyles(), size=SIZE)
    assert [os.path.relpath(path, tmp_path / 'out') for path in paths] == ['a.png', 'b.png', 'town/c.png']
    expected = plain(resize_ids(pixels(labels / 'town' / 'c.png'), SIZE))
    assert np.abs(pixels(paths[2]).astype(int) - expected).max() <= 1 and np.ptp(expected) > 20


def test_every_size_is_compiled_once(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', *'abcde', size=(64, 32))
    tiny.write_labels(labels, 'f', 'g', size=(32, 64))
    _draw.clear_cache()
    paths = draw(plain, LabelFolder(tiny.PLAIN, str(labels)), str(tmp_path / 'out'), NoStyles(), size=None, batch_size=2)
    assert [pixels(path).shape[:2] for path in paths] == [(64, 32)] * 5 + [(32, 64)] * 2
    assert _draw._cache_size() == 2  # the fifth map is alone in its batch


def test_another_size_than_that_of_the_training(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a')
    (path,) = draw(plain, LabelFolder(tiny.PLAIN, str(labels)), str(tmp_path / 'out'), NoStyles(), size=parse_size('96x64', tiny.PLAIN))
    np.testing.assert_allclose(pixels(path), plain(resize_ids(pixels(labels / 'a.png'), (96, 64))), atol=1)


@pytest.mark.parametrize('text, message', [
    ('100x64', 'sample_size=100x64: a label map of 100x64: its width is not divisible by 32 (5 upsamplings); use 96 or 128, or the training size, 32x32'),
    ('64x0', 'its height is not divisible by 32 (5 upsamplings); use 32'),
    ('64', 'sample_size=64 is no size; use training, native, or WIDTHxHEIGHT, for example 64x64'),
    ('big', 'sample_size=big is no size'),
])
def test_illegal_sizes(text, message):
    with pytest.raises(UserError) as error:
        parse_size(text, tiny.PLAIN)
    assert message in str(error.value)


def test_a_model_with_encoder_has_one_size():
    assert parse_size('32x32', tiny.STYLED) == parse_size('training', tiny.STYLED) == (32, 32)
    with pytest.raises(UserError, match='sample_size=64x64: .* with style encoder draws 32x32 alone, the size it was trained at; leave --sample_size out'):
        parse_size('64x64', tiny.STYLED)


def test_the_style_of_a_map_is_not_that_of_its_batch(styled, tmp_path):
    maps = LabelFolder(tiny.STYLED, str(tiny.write_labels(tmp_path / 'labels', *'abc')))
    one, other = (draw(styled, maps, str(tmp_path / str(batch_size)), RandomStyles(4, seed=3, num_samples=2), size=SIZE, batch_size=batch_size) for batch_size in (2, 5))
    assert [os.path.basename(path) for path in one] == ['a_0.png', 'a_1.png', 'b_0.png', 'b_1.png', 'c_0.png', 'c_1.png']
    for first, second in zip(one, other):
        np.testing.assert_allclose(pixels(first), pixels(second), atol=1)
    assert np.any(pixels(one[0]) != pixels(one[1]))


def choice(styled, tmp_path, **wanted):
    """The pictures [maps, samples, H, W, 3] of three equal label maps."""
    labels = tiny.write_labels(tmp_path / 'equal', 'a')
    for name in 'bc':
        (labels / f'{name}.png').write_bytes((labels / 'a.png').read_bytes())
    maps = LabelFolder(tiny.STYLED, str(labels))
    styles = StyleChoice(**wanted).styles(styled, maps)
    paths = draw(styled, maps, str(tmp_path / 'out'), styles, size=SIZE)
    return np.stack([pixels(path) for path in paths]).reshape(3, styles.num_samples, 32, 32, 3).astype(int)


def test_random_styles_differ_and_a_fixed_one_does_not(styled, tmp_path):
    free, fixed = choice(styled, tmp_path), choice(styled, tmp_path, fixed_style=True, num_samples=2)
    assert np.any(free[0] != free[1]) and np.any(fixed[0, 0] != fixed[0, 1])
    np.testing.assert_array_equal(fixed[0], fixed[1])
    np.testing.assert_array_equal(fixed[0], fixed[2])
    np.testing.assert_array_equal(fixed[0, 0], free[0, 0])
    assert np.any(choice(styled, tmp_path, seed=1) != free)


def test_the_style_of_a_picture_for_all_maps_or_of_one_for_each(styled, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'a', 'b', 'c', extension='.png')
    one = choice(styled, tmp_path, style_image=str(photos / 'b.png'))
    np.testing.assert_array_equal(one[0], one[2])
    each = choice(styled, tmp_path, style_image=str(photos))
    np.testing.assert_array_equal(each[1], one[1])
    assert np.any(each[0] != each[1]) and np.any(each[2] != each[1])
    label = pixels(tmp_path / 'equal' / 'a.png')
    expected = styled(resize_ids(label, SIZE), style=styled.encode(pixels(photos / 'b.png')))
    assert np.abs(one[0, 0] - expected).max() <= 1


def test_the_way_between_two_styles_starts_and_ends_there(styled, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'a', 'b')
    ends = [choice(styled, tmp_path, style_image=str(photos / f'{name}.jpg'))[:, 0] for name in 'ab']
    way = choice(styled, tmp_path, style_image=str(photos / 'a.jpg'), style_image_to=str(photos / 'b.jpg'), style_interpolation=3)
    np.testing.assert_allclose(way[:, [0, 2]], np.stack(ends, axis=1), atol=1)
    assert np.any(way[:, 1] != way[:, 0]) and np.any(way[:, 1] != way[:, 2])
    seeds = choice(styled, tmp_path, seed=1, seed_to=2, style_interpolation=4)
    np.testing.assert_allclose(seeds[:, [0, 3]], np.stack([choice(styled, tmp_path, seed=seed)[:, 0] for seed in (1, 2)], axis=1), atol=1)


def test_truncation_0_is_the_mean_style(styled, tmp_path):
    pictures = choice(styled, tmp_path, truncation=0.0, num_samples=2)
    assert np.all(pictures == pictures[0, 0])


@pytest.mark.parametrize('wanted, message', [
    (dict(truncation=2.0), 'truncation=2.0 is not in [0, 1]'),
    (dict(style_interpolation=3), 'give --style_image and --style_image_to, or --seed and --seed_to'),
    (dict(style_interpolation=3, style_image='a.jpg', seed_to=2), 'give --style_image and --style_image_to, or --seed and --seed_to'),
    (dict(style_interpolation=3, style_image='a.jpg'), 'give --style_image and --style_image_to'),
    (dict(style_interpolation=3, style_image='a.jpg', style_image_to='b.jpg', seed_to=1), 'of one kind'),
    (dict(style_interpolation=1, seed_to=2), 'has no two ends; use 2 or more'),
    (dict(style_interpolation=3, seed_to=2, num_samples=2), 'leave --num_samples out'),
    (dict(seed_to=2), 'seed_to is where an interpolation ends, and there is none; add --style_interpolation=N'),
    (dict(style_image_to='b.jpg'), 'style_image_to is where an interpolation ends'),
    (dict(style_image='a.jpg', num_samples=2), 'num_samples=2 with style_image=a.jpg: it is for random styles'),
    (dict(style_image='a.jpg', truncation=0.5), 'truncation=0.5 with style_image=a.jpg'),
    (dict(style_image='a.jpg', fixed_style=True), 'fixed_style=True with style_image=a.jpg'),
])
def test_choices_that_say_two_things(wanted, message):
    with pytest.raises(UserError) as error:
        StyleChoice(**wanted)
    assert message in str(error.value)


@pytest.mark.parametrize('wanted', [dict(style_image='a.jpg'), dict(num_samples=2), dict(truncation=0.5), dict(fixed_style=True), dict(style_interpolation=3, seed_to=2)])
def test_a_style_for_a_model_without_encoder(wanted, plain):
    with pytest.raises(UserError, match='has no style encoder and draws a map in one way only; leave --'):
        StyleChoice(**wanted).styles(plain, maps_of('labels', 'a.png'))
    assert StyleChoice(seed=3).styles(plain, maps_of('labels', 'a.png')).num_samples == 1  # flagfiles of training set it


def test_style_pictures_that_cannot_be_had(styled, tmp_path):
    maps = maps_of('labels', 'a.png', 'b.png', 'c.png', 'd.png', 'e.png')

    def refusal(path):
        with pytest.raises(UserError) as error:
            StyleChoice(style_image=str(path)).styles(styled, maps)
        return str(error.value)

    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    assert 'broken.jpg: the style picture cannot be read (not an image file); set --style_image' in refusal(tmp_path / 'broken.jpg')
    assert 'none.jpg: the style picture is gone' in refusal(tmp_path / 'none.jpg')
    photos = tiny.write_photos(tmp_path / 'photos', 'b')
    assert 'has no style picture for 4 of 5 label maps: a, c, d and 1 more; name each as its label map (a.png or .jpg)' in refusal(photos)
    tiny.write_photos(photos, *'abcde', extension='.png')
    assert 'has 2 files for the label map b' in refusal(photos)


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
    with pytest.raises(UserError, match=r'labels/a.png: a label map of 48x40: its width is not divisible by 32 .*; use 32 or 64, .* \(--sample_size=training scales'):
        draw(plain, LabelFolder(tiny.PLAIN, str(labels)), str(tmp_path / 'out'), NoStyles(), size=None)


def test_colours_without_palette(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(UserError, match='a.png: the label map is a RGB picture, not one channel of ids; a colour mask needs a palette, --palette=FILE'):
        LabelFolder(tiny.PLAIN, str(tmp_path)).read(0)


def maps_of(directory, *files):
    return types.SimpleNamespace(names=[os.path.splitext(file)[0] for file in files], paths=[f'{directory}/{file}' for file in files],
                                 locations=[f'{directory}/{file}' for file in files])


def test_pictures_replace_nothing():
    assert output_files(maps_of('labels', 'a.png'), 'pictures', 2) == [['pictures/a_0.png', 'pictures/a_1.png']]
    with pytest.raises(UserError, match='written over the label map'):
        output_files(maps_of('labels', 'a.png'), 'labels', 1)
    with pytest.raises(UserError, match='a.png would be written over that of labels/a.bmp'):
        output_files(maps_of('labels', 'a.bmp', 'a.png'), 'pictures', 1)
    with pytest.raises(UserError, match='the sheet would be written over that of labels/sheet.png .*; choose another output_dir, or --nogallery'):
        output_files(maps_of('labels', 'sheet.png'), 'pictures', 1, {'pictures/sheet.png': 'the sheet'})


class Page(html.parser.HTMLParser):
    """What a page shows and where it leads."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.text, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag == 'img':
            self.images.append(attributes)
        if tag == 'a':
            self.links.append(attributes['href'])

    def handle_data(self, data):
        self.text.append(data)


def test_the_gallery(styled, tmp_path):
    names = ['a & <b>', 'c#1?', 'sub/d%20']
    labels, photos = tiny.write_labels(tmp_path / 'labels', *names), tiny.write_photos(tmp_path / 'photos', *names)
    config = dataclasses.replace(tiny.STYLED, palette='[[0, "sky <blue>", "#80c0ff"], [1, "sea", "#102030"], [2, "land", "#403020"]]')
    maps, out = LabelFolder(config, str(labels), photo_dir=str(photos)), tmp_path / 'out'
    draw(styled, maps, str(out), RandomStyles(4, num_samples=2), size=SIZE, viewer=Gallery(config, maps, str(out), 2, 'my <run>'))
    text = (out / 'index.html').read_text()
    page = Page(text)
    assert len(page.images) == len(page.links) == 3 * 4
    for image, link in zip(page.images, page.links):
        assert image['src'] == link and ':' not in link and image['loading'] == 'lazy'
        assert Image.open(out / urllib.parse.unquote(link)).size == (int(image['width']), int(image['height'])) == SIZE
    assert [image['alt'] for image in page.images[:4]] == ['label map', 'picture 0', 'picture 1', 'photograph']
    assert set(names) <= set(page.text) and 'my <run>' in page.text and 'sky <blue>' in page.text
    assert 'b' not in page.tags and 'run' not in page.tags and 'script' not in page.tags
    assert 'http' not in text and 'prefers-color-scheme: dark' in text
    colors = {tuple(color) for color in pixels(out / 'gallery' / 'labels' / 'c#1?.png').reshape(-1, 3)}
    assert colors <= {(0x80, 0xc0, 0xff), (0x10, 0x20, 0x30), (0x40, 0x30, 0x20)}
    sheet = pixels(out / 'contact_sheet.png')
    np.testing.assert_array_equal(sheet[:128, 132:260], pixels(out / 'a & <b>_0.png').repeat(4, axis=0).repeat(4, axis=1))
    # Again over its own page, but not over that of somebody else.
    Gallery(config, maps, str(out), 2, 'again')
    (out / 'index.html').write_text('<!doctype html>mine')
    with pytest.raises(UserError, match='index.html, which is another page; choose another output_dir, or --nogallery'):
        Gallery(config, maps, str(out), 2, 'again')


def test_without_photographs_and_of_many_maps(plain, tmp_path):
    names = [f'{number:02}' for number in range(MOST_MAPS + 6)]
    maps, out = LabelFolder(tiny.PLAIN, str(tiny.write_labels(tmp_path / 'labels', *names))), tmp_path / 'out'
    draw(plain, maps, str(out), NoStyles(), size=SIZE, viewer=Gallery(tiny.PLAIN, maps, str(out), 1, 'run'))
    page = Page((out / 'index.html').read_text())
    assert [image['alt'] for image in page.images] == ['label map', 'picture'] * len(names)
    rows = -(-MOST_MAPS // 5)  # five groups of two a row
    assert pixels(out / 'contact_sheet.png').shape == (rows * 132 - 4, 5 * (2 * 132 + 4) - 8, 3)


def test_a_map_called_as_the_contact_sheet(plain, tmp_path):
    maps = LabelFolder(tiny.PLAIN, str(tiny.write_labels(tmp_path / 'labels', 'contact_sheet')))
    with pytest.raises(UserError, match='the contact sheet would be written over that of'):
        draw(plain, maps, str(tmp_path / 'out'), NoStyles(), size=SIZE, viewer=Gallery(tiny.PLAIN, maps, str(tmp_path / 'out'), 1, 'run'))
    assert draw(plain, maps, str(tmp_path / 'out'), NoStyles(), size=SIZE)


def test_pictures_of_several_sizes_on_one_sheet():
    def picture(height, width, value):
        return np.full((height, width, 3), value, np.uint8)

    sheet = contact_sheet([[picture(512, 256, 1), picture(512, 256, 2)], [picture(256, 256, 3), picture(64, 32, 4)]])
    assert sheet.shape == (256, 2 * (2 * 132 + 4) - 8, 3)
    tile = fitted(picture(10, 20, 5), (10, 10))
    assert tile.shape == (10, 10, 3) and (tile == 5).all(axis=(1, 2)).nonzero()[0].tolist() == [2, 3, 4, 5, 6]
