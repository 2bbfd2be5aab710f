"""Screenshots of the page against golden ones, which a person looks at when they change.

A golden screenshot that is deleted is made anew by the next run, which fails then.
"""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import spade_jax
from spade_jax.data.files.palette import classes_of
from spade_jax.studio.description import Run
from tests.studio.browser.layout_test import SIZES, open_at
from tests.studio.serving import serving
from tests.studio.stand_in import StandIn, rotation

GOLDEN = pathlib.Path(__file__).parent / 'golden'
MOST_DIFFERENT, LEVELS = 0.002, 16


class Evening(StandIn):
    """An image is its label map in the colors of the classes, darker with each seed."""

    def sample(self, ids, style):
        colors = classes_of(Run.open(spade_jax.DEMO).config.data).colors
        return (colors[ids] * (0.9 - 0.08 * rotation(style))).astype(np.uint8)


@pytest.fixture(scope='module')
def evening():
    with serving(sampler=Evening()) as running:
        yield running


def screenshot(page):
    """The page at rest, [H, W, 3]: without times, which differ."""
    expect(page.locator('.badge')).to_have_text('Live')
    if page.locator('.variations').is_visible():
        expect(page.locator('.variations canvas:visible')).to_have_count(6)
        expect(page.locator('.presets .thumbnail')).to_have_count(8)
    page.evaluate("""async () => {
      const {update} = await import('/static/js/state.js');
      update('image', {milliseconds: 56});
      await document.fonts.ready;
      const images = [...document.images].filter((image) => image.checkVisibility());
      await Promise.all(images.map((image) => image.decode()));
    }""")
    png = page.screenshot(animations='disabled', caret='hide', scale='css')
    return np.asarray(Image.open(io.BytesIO(png)).convert('RGB')).astype(int)


@pytest.mark.parametrize('name', ['desktop', 'tablet', 'phone'])
@pytest.mark.parametrize('theme', ['dark', 'light'])
def test_page_looks_as_it_did(open_page, evening, name, theme):
    page = open_at(open_page, evening.url, *SIZES[name][0], color_scheme=theme)
    shown = screenshot(page)
    path = GOLDEN / f'{name}_{theme}.webp'
    if not path.exists():
        Image.fromarray(shown.astype(np.uint8)).save(path, lossless=True, method=6)
        pytest.fail(f'{path.name} was missing and is made: look at it')
    expected = np.asarray(Image.open(path).convert('RGB')).astype(int)
    assert shown.shape == expected.shape
    different = np.abs(shown - expected).max(-1) > LEVELS
    assert different.mean() <= MOST_DIFFERENT
