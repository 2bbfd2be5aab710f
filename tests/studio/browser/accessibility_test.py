"""The page for people who do not use a mouse, or do not see well."""

import itertools
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
DESKTOP = {'viewport': {'width': 1440, 'height': 900}}
TABLET = {'viewport': {'width': 820, 'height': 1180}, 'has_touch': True, 'is_mobile': True}
PHONE = {
    'viewport': {'width': 390, 'height': 844}, 'device_scale_factor': 3,
    'has_touch': True, 'is_mobile': True,
}  # fmt: skip
# Visible elements that take the focus with Tab, in the page or in the open dialog.
TABBABLE = """() => {
  const root = [...document.querySelectorAll('dialog[open]')].at(-1) ?? document.body;
  const all = root.querySelectorAll('a[href], button, input, select, [tabindex]');
  return [...all].filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility());
}"""


def open_studio(open_page, url, **options):
    """The page with a label map on it."""
    page = open_page(url, reduced_motion='reduce', **options)
    expect(page.locator('html')).to_have_attribute('data-revision', re.compile('[1-9]'))
    return page


def violations(page):
    found = Axe().run(page, options={'runOnly': RULES}).response['violations']
    return [(one['id'], [node['html'] for node in one['nodes']][:3]) for one in found]


@pytest.mark.parametrize('theme', ['dark', 'light'])
def test_axe_finds_nothing_at_the_start(open_page, served, theme):
    page = open_studio(open_page, served.url, color_scheme=theme, **DESKTOP)
    assert violations(page) == []


@pytest.mark.parametrize('theme', ['dark', 'light'])
def test_axe_finds_nothing_in_dialogs(open_page, served, theme):
    page = open_studio(open_page, served.url, color_scheme=theme, **DESKTOP)
    page.get_by_role('button', name='Protect').click()
    assert violations(page) == []
    page.keyboard.press('Escape')
    page.get_by_role('button', name='Studio: menu').click()
    assert violations(page) == []
    page.get_by_role('menuitem', name='New…').click()
    expect(page.get_by_role('dialog')).to_contain_text('Landscape 07')
    assert violations(page) == []


@pytest.mark.parametrize('theme', ['dark', 'light'])
def test_axe_finds_nothing_in_the_sheet_of_a_phone(open_page, served, theme):
    page = open_studio(open_page, served.url, color_scheme=theme, **PHONE)
    assert violations(page) == []
    page.get_by_role('button', name='Style and options').click()
    assert violations(page) == []


def test_every_control_is_reached_with_tab_and_shows_it(open_page, served):
    page = open_studio(open_page, served.url, **DESKTOP)
    wanted = page.evaluate(f'({TABBABLE})().length')
    reached = page.evaluate_handle('new Set()')
    for _ in range(wanted + 2):
        page.keyboard.press('Tab')
        outline = page.evaluate(
            """(reached) => {
              const one = document.activeElement;
              if (one !== document.body) reached.add(one);
              return one === document.body ? '2px' : getComputedStyle(one).outlineWidth;
            }""",
            reached,
        )
        assert outline == '2px'
    missing = (
        f'(reached) => ({TABBABLE})().filter((one) => !reached.has(one)).map((o) => o.outerHTML)'
    )
    assert page.evaluate(missing, reached) == []


@pytest.mark.parametrize(
    'options, least', [(DESKTOP, 24), (TABLET, 44), (PHONE, 44)], ids=['mouse', 'tablet', 'phone']
)
def test_targets_are_large_enough(open_page, served, options, least):
    page = open_studio(open_page, served.url, **options)
    sizes = """() => [...document.querySelectorAll('button, input, select')]
      .filter((one) => one.checkVisibility())
      .map((one) => one.closest('label') ?? one)
      .map((one) => [one.getAttribute('aria-label') ?? one.textContent,
        one.getBoundingClientRect().width, one.getBoundingClientRect().height])"""
    if options is PHONE:
        page.get_by_role('button', name='Style and options').click()
    small = [one for one in page.evaluate(sizes) if min(one[1:]) < least - 0.01]
    assert small == []


def test_arrows_choose_a_material_and_are_announced(open_page, served):
    page = open_studio(open_page, served.url, **DESKTOP)
    page.get_by_role('radio', name='Sky', exact=True).focus()
    page.keyboard.press('ArrowRight')
    expect(page.get_by_role('radio', name='Cloud', exact=True)).to_be_checked()
    expect(page.get_by_role('radio', name='Cloud', exact=True)).to_be_focused()
    expect(page.get_by_role('status')).to_have_text('Cloud')


def test_announcements_are_half_a_second_apart_and_the_newest_wins(page):
    times = page.evaluate("""async () => {
      const {announce} = await import('/static/js/announce.js');
      const region = document.createElement('div');
      region.id = 'announcements';
      document.body.append(region);
      const said = [];
      new MutationObserver(() => said.push([performance.now(), region.textContent]))
        .observe(region, {childList: true});
      for (let step = 0; step < 60; step++) {
        announce(`step ${step}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await new Promise((resolve) => setTimeout(resolve, 600));
      return said;
    }""")
    assert times[-1][1] == 'step 59'
    assert all(after[0] - before[0] >= 495 for before, after in itertools.pairwise(times))


def test_six_regions_are_drawn_with_the_keyboard_alone(open_page, served):
    page = open_studio(open_page, served.url, **DESKTOP)
    while page.evaluate("document.activeElement.id !== 'map'"):
        page.keyboard.press('Tab')
    keys = page.keyboard
    expected = np.zeros((128, 128), np.uint8)
    keys.press('r')
    for number, (left, top) in enumerate(itertools.product((0, 40, 80), (0, 64))):
        keys.press(str(number + 1))
        press(keys, 'Shift+ArrowLeft', 16, 'Shift+ArrowUp', 16)  # To the corner of the map.
        press(keys, 'Shift+ArrowRight', left // 8, 'Shift+ArrowDown', top // 8)
        keys.press('Enter')
        press(keys, 'Shift+ArrowRight', 6, 'Shift+ArrowDown', 8)  # Limited by the map.
        keys.press('Enter')
        expected[top : top + 65, left : left + 49] = number
    ids = page.evaluate("async () => [...(await import('/static/js/state.js')).state.document.ids]")
    np.testing.assert_array_equal(np.reshape(ids, (128, 128)), expected)


def press(keyboard, *keys_and_times):
    for key, times in zip(keys_and_times[::2], keys_and_times[1::2], strict=True):
        for _ in range(times):
            keyboard.press(key)
