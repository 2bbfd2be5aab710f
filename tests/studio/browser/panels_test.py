"""Style, snapshots and comparison as one uses them."""

import pathlib

import pytest
from playwright.sync_api import expect

from tests.studio.browser.accessibility_test import DESKTOP, open_studio
from tests.studio.small_demo import small_demo

STYLE = "async () => (await import('/static/js/state.js')).state.style.current"
SEED_2 = {'kind': 'seed', 'seed': 2, 'truncation': 1}


@pytest.fixture
def studio(open_page, served):
    """The page with an image."""
    page = open_studio(open_page, served.url, **DESKTOP)
    expect(image_of(page, 'seed 2')).to_be_visible()
    return page


def image_of(page, name):
    return page.get_by_role('img', name=f'Image: {name}')


def test_last_styles_are_gone_back_to(studio):
    studio.get_by_label('Seed', exact=True).fill('41')
    studio.keyboard.press('Enter')
    expect(image_of(studio, 'seed 41')).to_be_visible()
    studio.get_by_role('radio', name='Seed 5').click()
    studio.get_by_role('button', name='Style before').click()
    expect(image_of(studio, 'seed 41')).to_be_visible()
    studio.get_by_role('button', name='Style after').click()
    expect(image_of(studio, 'seed 5')).to_be_visible()


def test_a_bad_seed_is_named_and_changes_nothing(studio):
    field = studio.get_by_label('Seed', exact=True)
    for text in ('-3', '4294967296', '1.5'):
        field.fill(text)
        studio.keyboard.press('Enter')
        notice = studio.get_by_text('A seed is a whole number from 0 to 4294967295.')
        expect(notice.last).to_be_visible()
        expect(field).to_have_value('2')
        studio.evaluate("document.getElementById('notices').replaceChildren()")
    assert studio.evaluate(STYLE) == SEED_2


def test_enter_closes_the_polygon_after_a_material_is_chosen(studio):
    first = "async () => (await import('/static/js/state.js')).state.document.ids[64 * 128 + 64]"
    frame = studio.get_by_label('Label map, 128 by 128')
    box = frame.bounding_box()
    studio.keyboard.press('p')
    for x, y in [(0.3, 0.3), (0.7, 0.3), (0.5, 0.8)]:
        frame.click(position={'x': x * box['width'], 'y': y * box['height']})
    studio.get_by_role('radio', name='Rock', exact=True).click()
    studio.keyboard.press('Enter')
    chosen = "async () => (await import('/static/js/state.js')).state.tool.first"
    assert studio.evaluate(first) == studio.evaluate(chosen)


def test_variety_changes_the_style_without_a_step_back(studio):
    studio.get_by_role('slider', name='Variety').fill('0.5')
    assert studio.evaluate(STYLE) == SEED_2 | {'truncation': 0.5}
    expect(studio.get_by_role('button', name='Style before')).to_be_disabled()


def test_blend_goes_from_one_kept_style_to_the_other(studio):
    studio.get_by_role('button', name='Keep the current style as A').click()
    studio.get_by_role('radio', name='Seed 5').click()
    studio.get_by_role('button', name='Keep the current style as B').click()
    studio.get_by_role('slider', name='Blend from A to B').fill('0.35')
    expect(image_of(studio, 'blend 35 %')).to_be_visible()
    assert studio.evaluate(STYLE) == {
        'kind': 'blend', 'from': SEED_2, 'to': SEED_2 | {'seed': 5}, 'share': 0.35,
    }  # fmt: skip


def test_photo_gives_its_style_and_a_strength(studio):
    studio.get_by_role('radio', name='Style of landscape_00').click()
    expect(image_of(studio, 'style of a photo')).to_be_visible()
    studio.get_by_role('slider', name='Strength').fill('0.4')
    style = studio.evaluate(STYLE)
    assert (style['kind'], style['strength']) == ('photo', 0.4)


def test_photos_are_kept_for_the_model_without_those_of_examples(studio, served):
    presets = studio.locator('.presets .thumbnail')
    expect(presets).to_have_count(8)
    studio.get_by_role('radio', name='Style of landscape_00').click()
    expect(image_of(studio, 'style of a photo')).to_be_visible()
    photo = pathlib.Path(small_demo().workdir, 'photos', 'landscape_03.png')
    studio.locator('input[type=file][accept^="image/png"]').set_input_files(photo)
    expect(presets).to_have_count(9)
    studio.reload()
    expect(presets).to_have_count(9)
    expect(presets.first).to_have_accessible_name('Style of landscape_03.png')
    description = served.studio._description
    workdir = description['workdir']
    description['workdir'] = '/another'
    try:
        studio.reload()
        expect(presets).to_have_count(8)
    finally:
        description['workdir'] = workdir


def test_snapshot_brings_back_map_and_style(studio):
    ids = "async () => [...(await import('/static/js/state.js')).state.document.ids]"
    before = studio.evaluate(ids)
    studio.keyboard.press('n')
    studio.get_by_label('Label map, 128 by 128').click()
    studio.get_by_role('radio', name='Seed 5').click()
    assert studio.evaluate(ids) != before
    studio.get_by_role('button', name='Snapshot A').click()
    studio.get_by_role('menuitem', name='Go back to it').click()
    assert studio.evaluate(ids) == before
    assert studio.evaluate(STYLE) == SEED_2


def test_image_is_compared_with_the_one_before(studio):
    studio.get_by_role('radio', name='Seed 5').click()
    expect(image_of(studio, 'seed 5')).to_be_visible()
    studio.get_by_role('button', name='Compare').click()
    wipe = studio.get_by_role('slider', name='Before on the left up to')
    expect(wipe).to_be_focused()
    studio.keyboard.press('Home')
    expect(wipe).to_have_value('0')
    studio.get_by_role('button', name='End the comparison').click()
    expect(wipe).to_have_count(0)
