import html.parser
import json
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.errors import UserError
from spade_jax.sampling.gallery import MAX_MAPS, Gallery, contact_sheet, fit_into
from spade_jax.sampling.sample_files import SampleRequest, write_samples
from spade_jax.sampling.styles import NoStyles, RandomStyles
from tests.sampling import tiny
from tests.sampling.tiny import pixels

SIZE = (32, 32)
NAMES = ['a & <b>', 'c#1?', 'sub/d%20']  # Names that need escapes in HTML and in links.
PALETTE = '[[0, "sky <blue>", "#80c0ff"], [1, "sea", "#102030"], [2, "land", "#403020"]]'


class Page(html.parser.HTMLParser):
    """Images, links, texts and tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.text, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        if tag == 'img':
            self.images.append(attributes)
        if tag == 'a':
            self.links.append(attributes['href'])

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope='module')
def gallery(styled, tmp_path_factory):
    """The directory of a gallery of three maps, two samples each, with photos."""
    directory = tmp_path_factory.mktemp('gallery')
    labels = tiny.write_labels(directory / 'labels', *NAMES)
    photos = tiny.write_photos(directory / 'photos', *NAMES)
    config, out = tiny.STYLED.replace(palette=PALETTE), directory / 'out'
    maps = LabelFolder(config.data, str(labels), photo_dir=str(photos))
    request = SampleRequest(maps, RandomStyles(4, num_samples=2), SIZE)
    write_samples(styled, request, str(out), Gallery(config, maps, str(out), 2, 'my <run>'))
    return out


@pytest.fixture
def page(gallery):
    return Page((gallery / 'index.html').read_text())


def test_page_shows_label_map_samples_and_photo(gallery, page):
    captions = [image['alt'] for image in page.images]
    assert captions == ['label map', 'image 0', 'image 1', 'photo'] * 3
    for image in page.images:
        file = Image.open(gallery / urllib.parse.unquote(image['src']))
        assert file.size == (int(image['width']), int(image['height'])) == SIZE


def test_page_is_relative_and_lazy(page):
    assert [image['src'] for image in page.images] == page.links
    assert all(':' not in link for link in page.links)
    assert {image['loading'] for image in page.images} == {'lazy'}


def test_page_needs_no_network(gallery, page):
    text = (gallery / 'index.html').read_text()
    assert 'http' not in text
    assert 'script' not in page.tags
    assert 'prefers-color-scheme: dark' in text


def test_names_are_escaped(page):
    for text in (*NAMES, 'my <run>', 'sky <blue>'):
        assert text in page.text
    assert not {'b', 'run', 'blue'} & set(page.tags)


def test_label_maps_have_colors_of_palette(gallery):
    label = pixels(gallery / 'gallery' / 'labels' / 'c#1?.png')
    colors = {tuple(color) for color in label.reshape(-1, 3)}
    assert colors <= {(0x80, 0xC0, 0xFF), (0x10, 0x20, 0x30), (0x40, 0x30, 0x20)}


def test_color_masks_keep_colors_that_are_one_class(plain, tmp_path):
    colors = [[0x80, 0xC0, 0xFF], [0x10, 0x20, 0x30], [0x60, 0x90, 0xFF]]
    entries = [[0, 'sky', '#80c0ff'], [1, 'sea', '#102030'], [0, 'sky', '#6090ff']]
    entries += [[0, 'sky', '#aaaaaa']]
    drawing = np.array(colors, np.uint8)[np.arange(3).repeat(16)][:, None].repeat(48, axis=1)
    (tmp_path / 'labels').mkdir()
    Image.fromarray(drawing).save(tmp_path / 'labels' / 'a.png')
    config, out = tiny.PLAIN.replace(palette=json.dumps(entries)), tmp_path / 'out'
    maps = LabelFolder(config.data, str(tmp_path / 'labels'))
    gallery = Gallery(config, maps, str(out), 1, '')
    write_samples(plain, SampleRequest(maps, NoStyles(), SIZE), str(out), gallery)
    shown = pixels(out / 'gallery' / 'labels' / 'a.png')
    assert shown[[0, 16, 31], 0].tolist() == colors
    page = (out / 'index.html').read_text()
    boxes = '<i style="background: #80c0ff"></i><i style="background: #6090ff"></i>sky'
    assert boxes in page
    assert 'aaaaaa' not in page


def test_failed_samples_leave_no_gallery(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'a', num_classes=9)
    maps = LabelFolder(tiny.PLAIN.data, str(labels))
    request, out = SampleRequest(maps, NoStyles(), SIZE), tmp_path / 'out'
    with pytest.raises(UserError, match='label id'):
        write_samples(plain, request, str(out), Gallery(tiny.PLAIN, maps, str(out), 1, ''))
    assert not out.exists()


def test_contact_sheet_shows_samples(gallery):
    first_sample = pixels(gallery / 'a & <b>_0.png').repeat(4, axis=0).repeat(4, axis=1)
    np.testing.assert_array_equal(
        pixels(gallery / 'contact_sheet.png')[:128, 132:260], first_sample
    )


def test_only_own_page_is_overwritten(gallery, tmp_path):
    maps = LabelFolder(tiny.PLAIN.data, str(gallery.parent / 'labels'))
    Gallery(tiny.PLAIN, maps, str(gallery), 2, 'again')
    (tmp_path / 'index.html').write_text('<!doctype html>mine')
    with pytest.raises(UserError, match='index.html, which is another page; .*--nogallery'):
        Gallery(tiny.PLAIN, maps, str(tmp_path), 2, 'again')


def test_many_maps_without_photos(plain, tmp_path):
    names = [f'{number:02}' for number in range(MAX_MAPS + 6)]
    maps = LabelFolder(tiny.PLAIN.data, str(tiny.write_labels(tmp_path / 'labels', *names)))
    request = SampleRequest(maps, NoStyles(), SIZE)
    viewer = Gallery(tiny.PLAIN, maps, str(tmp_path), 1, 'run')
    write_samples(plain, request, str(tmp_path), viewer)
    page = Page((tmp_path / 'index.html').read_text())
    assert [image['alt'] for image in page.images] == ['label map', 'image'] * len(names)
    rows = -(-MAX_MAPS // 5)  # Five groups of two in a row.
    sheet = pixels(tmp_path / 'contact_sheet.png')
    assert sheet.shape == (rows * 132 - 4, 5 * (2 * 132 + 4) - 8, 3)


@pytest.mark.parametrize(
    'name, is_directory',
    [
        ('gallery', False),
        ('gallery/photos', False),
        ('index.html', True),
        ('contact_sheet.png', True),
    ],
)
def test_gallery_that_cannot_be_written_is_refused_at_the_start(tmp_path, name, is_directory):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if is_directory else path.write_text('')
    maps = LabelFolder(tiny.PLAIN.data, str(tiny.write_labels(tmp_path / 'labels', 'a')))
    with pytest.raises(UserError, match=f'{name}.*(cannot be used|is a directory)'):
        Gallery(tiny.PLAIN, maps, str(tmp_path), 1, '')


def test_directory_in_place_of_an_image_is_refused_at_the_start(plain, tmp_path):
    (tmp_path / 'out' / 'b.png').mkdir(parents=True)
    maps = LabelFolder(tiny.PLAIN.data, str(tiny.write_labels(tmp_path / 'labels', 'a', 'b')))
    with pytest.raises(UserError, match='out/b.png is a directory'):
        write_samples(plain, SampleRequest(maps, NoStyles(), SIZE), str(tmp_path / 'out'))
    assert not (tmp_path / 'out' / 'a.png').exists()


def test_map_named_as_contact_sheet_is_refused(plain, tmp_path):
    labels = tiny.write_labels(tmp_path / 'labels', 'contact_sheet')
    maps, out = LabelFolder(tiny.PLAIN.data, str(labels)), str(tmp_path / 'out')
    request = SampleRequest(maps, NoStyles(), SIZE)
    with pytest.raises(UserError, match='the contact sheet would overwrite the image of'):
        write_samples(plain, request, out, Gallery(tiny.PLAIN, maps, out, 1, 'run'))
    assert write_samples(plain, request, out)


def uniform(height, width, value):
    return np.full((height, width, 3), value, np.uint8)


def test_contact_sheet_fits_images_of_several_sizes():
    rows = [
        [uniform(512, 256, 1), uniform(512, 256, 2)],
        [uniform(256, 256, 3), uniform(64, 32, 4)],
    ]
    assert contact_sheet(rows).shape == (256, 2 * (2 * 132 + 4) - 8, 3)


def test_fit_into_centers_on_white():
    tile = fit_into(uniform(10, 20, 5), (10, 10))
    assert tile.shape == (10, 10, 3)
    filled = (tile == 5).all(axis=(1, 2))
    assert filled.nonzero()[0].tolist() == [2, 3, 4, 5, 6]
    assert np.all(tile[~filled] == 255)
