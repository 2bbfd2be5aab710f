"""Drafts outlive tabs that are closed or crash; without storage the page goes on."""

import contextlib

import numpy as np
import pytest
from playwright.sync_api import Error, expect

from tests.studio.browser.pointer_test import SET, drag, ids_of, painted, set_tool

LEFT = """async () => {
  const {leftDrafts} = await import('/static/js/drafts.js');
  return (await leftDrafts()).map(({name, ids}) => ({name, ids: [...ids]}));
}"""
NO_LOCKS = "Object.defineProperty(navigator, 'locks', {value: undefined})"
PROBLEM = 'Drafts cannot be kept'


def paint(page, *points, label=4):
    set_tool(page, first=label)
    drag(page, points)


def left_drafts(page, count):
    """The ids of `count` drafts by name, once their tabs are gone."""
    for _ in range(100):
        drafts = page.evaluate(LEFT)
        if len(drafts) == count:
            break
        page.wait_for_timeout(100)
    return {draft['name']: np.reshape(draft['ids'], (128, 128)) for draft in drafts}


def wait_until(page, saved):
    page.wait_for_selector(f'html[data-saved={saved}]', state='attached')


def notice(page, text):
    return page.locator('#notices').get_by_text(text)


def open_draft(page):
    revision = page.locator('html').get_attribute('data-revision')
    page.get_by_role('button', name='Show').click()
    page.get_by_role('button', name='Open “Test”').click()
    # The dialog closes before the draft is read.
    page.wait_for_selector(f'html[data-revision]:not([data-revision="{revision}"])')


@pytest.mark.parametrize('pause', [0, 50, 300])
def test_stroke_just_before_a_reload_is_kept(open_map, pause):
    page = open_map()
    paint(page, (10, 10), (50, 90))
    expected = ids_of(page)
    page.wait_for_timeout(pause)
    page.reload()
    page.wait_for_selector('html[data-ready]', state='attached')
    np.testing.assert_array_equal(left_drafts(page, 1)['Test'], expected)


@pytest.mark.parametrize('end', ['close', 'crash', 'crash without locks'])
def test_draft_of_a_lost_tab_is_offered_and_has_the_last_stroke(open_map, end):
    page = open_map()
    context = page.context
    if end.endswith('locks'):
        context.add_init_script(NO_LOCKS)
        page.reload()
        page.wait_for_selector('html[data-ready]', state='attached')
    other = open_map(context=context)
    strokes = []
    for number, way in enumerate([[(10, 10), (50, 90)], [(100, 20), (70, 70)]]):
        page.bring_to_front()
        paint(page, *way, label=number + 4)
        strokes.append(('stroke', number + 4, 'circle', 12, way))
        wait_until(page, 'saved')
    if end == 'close':
        page.close()
    else:
        with contextlib.suppress(Error):
            page.goto('chrome://crash')
    if end.endswith('locks'):
        other.evaluate('() => { const now = Date.now; Date.now = () => now() + 20000; }')
    drafts = left_drafts(other, 1)
    np.testing.assert_array_equal(drafts['Test'], painted(*strokes))


def test_draft_is_offered_at_the_next_start_and_opened_only_when_asked(open_map):
    page = open_map()
    styles = {end: {'kind': 'seed', 'seed': seed, 'truncation': 1} for seed, end in enumerate('ab')}
    page.evaluate(SET, ['style', styles])
    paint(page, (10, 10), (50, 90))
    wait_until(page, 'saved')
    next_page = open_map(context=page.context)
    expect(notice(next_page, 'Kept from before')).to_have_count(0)  # Its tab is still open.
    page.close()
    left_drafts(next_page, 1)
    next_page.reload()
    expect(notice(next_page, 'Kept from before: “Test”, just now.')).to_be_visible()
    assert not ids_of(next_page).any()
    open_draft(next_page)
    wanted = painted(('stroke', 4, 'circle', 12, [(10, 10), (50, 90)]))
    np.testing.assert_array_equal(ids_of(next_page), wanted)
    ends = "async () => { const {a, b} = (await import('/static/js/state.js')).state.style; "
    assert next_page.evaluate(f'{ends} return {{a, b}}; }}') == styles
    paint(next_page, (90, 90), label=5)
    wait_until(next_page, 'saved')
    assert next_page.evaluate(LEFT) == []


def test_earlier_versions_are_kept_apart_and_open_as_maps_of_their_own(open_map):
    page = open_map()
    later = '() => { const now = Date.now; Date.now = () => now() + 31000; }'
    for number in range(12):
        paint(page, (10 + 8 * number, 60), label=4)
        wait_until(page, 'saved')
        page.evaluate(later)
        if number < 2:
            paint(page, (10, 10 + 8 * number), label=5)  # At once: no version of its own.
            wait_until(page, 'saved')
    newest = ids_of(page)
    page.evaluate("""() => {
      import('/static/js/recovery.js').then(({showDrafts}) => { showDrafts(); });
    }""")
    page.get_by_text('Earlier versions of this map').click()
    buttons = page.get_by_role('button', name='Open “Test”')
    expect(buttons).to_have_count(10)
    expect(buttons.last).to_have_accessible_name('Open “Test”, 5 minutes ago')
    buttons.last.click()
    expect(page.get_by_role('dialog')).to_have_count(0)
    assert (ids_of(page) == 4).sum() < (newest == 4).sum()
    drafts = left_drafts(page, 1)  # The newer map is kept.
    np.testing.assert_array_equal(drafts['Test'], newest)


def test_a_stroke_is_saved_when_the_tab_closes_or_another_document_opens(open_map):
    page = open_map()
    other = open_map(context=page.context)
    page.bring_to_front()
    paint(page, (10, 10))
    page.evaluate("""async () => {
      const {openDocument} = await import('/static/js/document.js');
      openDocument({ids: new Uint8Array(16384), width: 128, height: 128, name: 'Second'});
    }""")
    paint(page, (90, 90))
    page.evaluate("() => window.dispatchEvent(new Event('pagehide'))")
    wait_until(page, 'saved')
    page.close()
    drafts = left_drafts(other, 2)
    for name, point in [('Test', (10, 10)), ('Second', (90, 90))]:
        wanted = painted(('stroke', 4, 'circle', 12, [point]))
        np.testing.assert_array_equal(drafts[name], wanted)


@pytest.mark.parametrize(
    'obstacle',
    [
        "Object.defineProperty(window, 'indexedDB', {value: undefined})",
        """IDBFactory.prototype.open = () => {
          throw new DOMException('', 'SecurityError');
        }""",
        """IDBObjectStore.prototype.put = function () {
          this.transaction.abort();
          throw new DOMException('', 'QuotaExceededError');
        }""",
    ],
    ids=['no database', 'forbidden', 'full'],
)
def test_painting_goes_on_without_storage_and_the_notice_stays(open_map, obstacle):
    context = open_map().context
    context.add_init_script(obstacle)
    page = open_map(context=context)
    paint(page, (10, 10), (50, 90))
    wait_until(page, 'failed')
    expect(notice(page, PROBLEM)).to_be_visible()
    paint(page, (90, 90), label=5)
    wanted = painted(
        ('stroke', 4, 'circle', 12, [(10, 10), (50, 90)]), ('stroke', 5, 'circle', 12, [(90, 90)])
    )
    np.testing.assert_array_equal(ids_of(page), wanted)
    expect(notice(page, PROBLEM)).to_have_count(1)


def test_draft_of_another_model_is_opened_by_the_names_of_its_materials(open_map):
    page = open_map()
    paint(page, (10, 10), label=2)
    paint(page, (90, 90), label=12)
    wait_until(page, 'saved')
    other = open_map(96, 64, 12, context=page.context)
    page.close()
    left_drafts(other, 1)
    other.reload()
    other.evaluate("""async () => {
      const {state, update} = await import('/static/js/state.js');
      const {classes} = state.model;
      update('model', {classes: classes.map(({id, ...rest}) => ({...rest, id: 11 - id}))});
    }""")
    kept = left_drafts(other, 1)['Test']
    open_draft(other)
    expect(notice(other, 'This model has no class 12')).to_be_visible()
    expect(notice(other, 'scaled from 128 × 128 to 96 × 64 pixels')).to_be_visible()
    ids = ids_of(other, 96)
    assert ids.shape == (64, 96)
    assert ids[5, 7] == 9 and ids[45, 67] == 11 and ids[60, 5] == 11
    paint(other, (30, 30), label=3)
    wait_until(other, 'saved')
    np.testing.assert_array_equal(left_drafts(other, 1)['Test'], kept)  # Not overwritten.


def test_ids_and_background_are_translated_by_number_and_name(page):
    translated = page.evaluate("""async () => {
      const {translate} = await import('/static/js/recovery.js');
      const classes = (...names) => names.map((name, id) => ({id, name}));
      const draft = {ids: [0, 1, 2, 3], background: 3, classes: classes('sky', 'x', 'x', 'lake')};
      const same = translate(draft, {classes: draft.classes});
      const other = translate(draft, {classes: classes('lake', 'sky')});
      return [same, other].map(({ids, background, lost}) => [[...ids], background, lost]);
    }""")
    assert translated == [[[0, 1, 2, 3], 3, []], [[1, 0, 0, 0], 0, ['x', 'x']]]


def test_map_is_resized_from_the_nearest_pixels(page):
    assert page.evaluate("""async () => {
      const {resize} = await import('/static/js/recovery.js');
      return [...resize(Uint8Array.from([1, 2, 3, 4]), 2, 2, 4, 3)];
    }""") == [1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]


@pytest.mark.parametrize('code', ['throw new Error("lost")', 'Promise.reject(new Error("lost"))'])
def test_an_error_of_the_page_is_told_and_painting_goes_on(open_map, expected_problems, code):
    expected_problems.append('exception: lost')
    page = open_map()
    page.evaluate(f'() => {{ setTimeout(() => {{ {code}; }}); }}')
    expect(notice(page, 'The page has an error')).to_be_visible()
    paint(page, (10, 10))
    assert ids_of(page).any()
