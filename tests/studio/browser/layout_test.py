"""The page at all sizes: nothing overflows, and pixels of the map are whole device pixels."""

import re

import pytest
from playwright.sync_api import expect

# width, height, device pixels a CSS pixel, touch; device pixels a pixel of the demo's map.
SIZES = {
    'desktop': ((1440, 900, 1, False), 4),
    'tablet': ((820, 1180, 1, False), 3),
    'phone': ((390, 844, 3, True), 7),
    'short': ((1024, 600, 1, False), 2),
    'small phone': ((320, 568, 2, True), 2),
    'phone held sideways': ((844, 390, 3, True), 6),
}


def open_at(open_page, url, width, height, ratio, is_touch, **options):
    page = open_page(
        url, viewport={'width': width, 'height': height}, device_scale_factor=ratio,
        has_touch=is_touch, is_mobile=is_touch, reduced_motion='reduce', **options,
    )  # fmt: skip
    expect(page.locator('html')).to_have_attribute('data-revision', re.compile('[1-9]'))
    return page


@pytest.mark.parametrize('name', SIZES)
def test_page_fits_its_window(open_page, served, name):
    size, scale = SIZES[name]
    page = open_at(open_page, served.url, *size)
    width, height, ratio, _ = size
    assert (
        page.evaluate(
            """() => [document.documentElement, document.body].map(
             (one) => [one.scrollWidth, one.scrollHeight])"""
        )
        == [[width, height]] * 2
    )
    panes = [page.locator(f'#{one}-pane .frame').bounding_box() for one in ('map', 'image')]
    for pane in panes:
        assert pane['width'] * ratio == pytest.approx(128 * scale, abs=0.1)
        assert pane['height'] * ratio == pytest.approx(128 * scale, abs=0.1)
        assert pane['x'] >= 0 and pane['x'] + pane['width'] <= width
        assert pane['y'] >= 0 and pane['y'] + pane['height'] <= height
    outside = """([width, height]) => [...document.querySelectorAll('button, input')]
      .filter((one) => one.checkVisibility() && !one.closest('.side, .options'))
      .map((one) => [one.getAttribute('aria-label'), one.getBoundingClientRect()])
      .filter(([, box]) => box.left < 0 || box.right > width || box.bottom > height)"""
    assert page.evaluate(outside, [width, height]) == []


def test_button_on_the_image_is_readable_under_the_pointer(open_page, served):
    page = open_at(open_page, served.url, 390, 844, 1, False, color_scheme='light')
    button = page.get_by_role('button', name='One pane large, or both')
    button.hover()
    expect(button).to_have_css('background-color', 'rgba(16, 18, 20, 0.94)')
    expect(button).to_have_css('color', 'rgb(236, 239, 242)')


def test_one_pane_is_large_on_a_phone_and_a_tap_exchanges_them(open_page, served):
    page = open_at(open_page, served.url, 390, 844, 3, True)
    widths = """() => ['map', 'image'].map((name) =>
      document.querySelector(`#${name}-pane .frame`).getBoundingClientRect().width)"""
    page.get_by_role('button', name='One pane large, or both').tap()
    label_map, image = page.evaluate(widths)
    assert image > 300 > 100 > label_map
    page.get_by_role('button', name='Enlarge the label map').tap()
    assert page.evaluate(widths) == [image, label_map]
    page.get_by_role('button', name='One pane large, or both').tap()
    first, second = page.evaluate(widths)
    assert first == second == pytest.approx(7 * 128 / 3, abs=0.1)


def test_sheet_of_a_phone_closes_with_back_and_puts_the_panels_back(open_page, served):
    page = open_at(open_page, served.url, 390, 844, 3, True)
    page.get_by_role('button', name='Style and options').tap()
    sheet = page.get_by_role('dialog', name='Style and options')
    expect(sheet.get_by_role('button', name='Roll')).to_be_visible()
    page.go_back()
    expect(sheet).to_have_count(0)
    assert page.evaluate("document.getElementById('style').parentElement.className") == 'side'
    assert page.evaluate("document.getElementById('options').parentElement.tagName") == 'BODY'


def test_theme_follows_the_system_until_one_is_chosen(open_page, served):
    page = open_at(open_page, served.url, 1440, 900, 1, False, color_scheme='light')
    light = 'rgb(244, 242, 238)'
    expect(page.locator('body')).to_have_css('background-color', light)
    page.emulate_media(color_scheme='dark')
    expect(page.locator('body')).to_have_css('background-color', 'rgb(16, 18, 20)')
    page.get_by_role('button', name='Theme').click()
    expect(page.locator('body')).to_have_css('background-color', light)
    page.reload()
    expect(page.locator('body')).to_have_css('background-color', light)


@pytest.mark.parametrize(
    'room, expected',
    [
        ({'width': 1040, 'height': 664}, {'columns': 2, 'scale': 4}),
        ({'width': 740, 'height': 877}, {'columns': 1, 'scale': 3}),
        ({'width': 700, 'height': 700, 'mapWidth': 512}, {'columns': 1, 'scale': 1}),
        ({'width': 960, 'height': 600, 'mapWidth': 256, 'mapHeight': 256},
         {'columns': 2, 'scale': 1.75}),
        ({'width': 700, 'height': 700, 'mapWidth': 2048, 'mapHeight': 1024},
         {'columns': 1, 'scale': 1 / 4}),
        ({'width': 378, 'height': 608, 'ratio': 3, 'below': 0, 'gap': 8},
         {'columns': 1, 'scale': 7}),
    ],
)  # fmt: skip
def test_panes_are_as_large_as_whole_pixels_allow(page, room, expected):
    room = {'mapWidth': 128, 'mapHeight': 128, 'ratio': 1, 'gap': 16, 'below': 30} | room
    arranged = page.evaluate(
        "async (room) => (await import('/static/js/layout.js')).arrange(room)", room
    )
    assert arranged == pytest.approx(expected)
