import dataclasses
import html.parser
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.errors import UserError
from spade_jax.sampling.gallery import MOST_MAPS, Gallery, contact_sheet, fitted
from spade_jax.sampling.sample_files import draw
from spade_jax.sampling.styles import NoStyles, RandomStyles
from tests.sampling import tiny
from tests.sampling.tiny import pixels

SIZE = (32, 32)


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
    labels, photos = (
        tiny.write_labels(tmp_path / 'labels', *names),
        tiny.write_photos(tmp_path / 'photos', *names),
    )
    config = dataclasses.replace(
        tiny.STYLED,
        palette='[[0, "sky <blue>", "#80c0ff"], [1, "sea", "#102030"], [2, "land", "#403020"]]',
    )
    maps, out = LabelFolder(config, str(labels), photo_dir=str(photos)), tmp_path / 'out'
    draw(
        styled,
        maps,
        str(out),
        RandomStyles(4, num_samples=2),
        size=SIZE,
        viewer=Gallery(config, maps, str(out), 2, 'my <run>'),
    )
    text = (out / 'index.html').read_text()
    page = Page(text)
    assert len(page.images) == len(page.links) == 3 * 4
    for image, link in zip(page.images, page.links):
        assert image['src'] == link and ':' not in link and image['loading'] == 'lazy'
        assert (
            Image.open(out / urllib.parse.unquote(link)).size
            == (int(image['width']), int(image['height']))
            == SIZE
        )
    assert [image['alt'] for image in page.images[:4]] == [
        'label map',
        'picture 0',
        'picture 1',
        'photograph',
    ]
    assert set(names) <= set(page.text) and 'my <run>' in page.text and 'sky <blue>' in page.text
    assert 'b' not in page.tags and 'run' not in page.tags and 'script' not in page.tags
    assert 'http' not in text and 'prefers-color-scheme: dark' in text
    colors = {
        tuple(color) for color in pixels(out / 'gallery' / 'labels' / 'c#1?.png').reshape(-1, 3)
    }
    assert colors <= {(0x80, 0xC0, 0xFF), (0x10, 0x20, 0x30), (0x40, 0x30, 0x20)}
    sheet = pixels(out / 'contact_sheet.png')
    np.testing.assert_array_equal(
        sheet[:128, 132:260], pixels(out / 'a & <b>_0.png').repeat(4, axis=0).repeat(4, axis=1)
    )
    # Again over its own page, but not over that of somebody else.
    Gallery(config, maps, str(out), 2, 'again')
    (out / 'index.html').write_text('<!doctype html>mine')
    with pytest.raises(
        UserError,
        match='index.html, which is another page; choose another output_dir, or --nogallery',
    ):
        Gallery(config, maps, str(out), 2, 'again')


def test_without_photographs_and_of_many_maps(plain, tmp_path):
    names = [f'{number:02}' for number in range(MOST_MAPS + 6)]
    maps, out = (
        LabelFolder(tiny.PLAIN, str(tiny.write_labels(tmp_path / 'labels', *names))),
        tmp_path / 'out',
    )
    draw(
        plain,
        maps,
        str(out),
        NoStyles(),
        size=SIZE,
        viewer=Gallery(tiny.PLAIN, maps, str(out), 1, 'run'),
    )
    page = Page((out / 'index.html').read_text())
    assert [image['alt'] for image in page.images] == ['label map', 'picture'] * len(names)
    rows = -(-MOST_MAPS // 5)  # five groups of two a row
    assert pixels(out / 'contact_sheet.png').shape == (rows * 132 - 4, 5 * (2 * 132 + 4) - 8, 3)


def test_a_map_called_as_the_contact_sheet(plain, tmp_path):
    maps = LabelFolder(tiny.PLAIN, str(tiny.write_labels(tmp_path / 'labels', 'contact_sheet')))
    with pytest.raises(UserError, match='the contact sheet would be written over that of'):
        draw(
            plain,
            maps,
            str(tmp_path / 'out'),
            NoStyles(),
            size=SIZE,
            viewer=Gallery(tiny.PLAIN, maps, str(tmp_path / 'out'), 1, 'run'),
        )
    assert draw(plain, maps, str(tmp_path / 'out'), NoStyles(), size=SIZE)


def test_pictures_of_several_sizes_on_one_sheet():
    def picture(height, width, value):
        return np.full((height, width, 3), value, np.uint8)

    sheet = contact_sheet(
        [[picture(512, 256, 1), picture(512, 256, 2)], [picture(256, 256, 3), picture(64, 32, 4)]]
    )
    assert sheet.shape == (256, 2 * (2 * 132 + 4) - 8, 3)
    tile = fitted(picture(10, 20, 5), (10, 10))
    assert tile.shape == (10, 10, 3) and (tile == 5).all(axis=(1, 2)).nonzero()[0].tolist() == [
        2,
        3,
        4,
        5,
        6,
    ]
