"""Import and export on the page, as one does it: menus, dialogs, downloads."""

import base64
import io
import json
import pathlib
import urllib.parse

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.files.palette import classes_of, rgb
from spade_jax.studio.correspondences import match, materials
from tests.studio.browser.accessibility_test import violations
from tests.studio.browser.conftest import watch
from tests.studio.browser.scripts import decoded, png
from tests.studio.label_imports_test import DEMO, EXAMPLES, FOREIGN, drawing, encoded
from tests.studio.serving import serving

NAMES = classes_of(DEMO.data).names
SEED = {'kind': 'seed', 'seed': 7, 'truncation': 1}


@pytest.fixture(scope='module')
def tab(browser, served):
    """A page of the demo that the tests of this module share."""
    page, problems = browser.new_page(), []
    watch(page, urllib.parse.urlsplit(served.url).netloc, problems)
    ready(page, served.url)
    yield page
    page.close()
    assert not [problem for problem in problems if '422' not in problem]


@pytest.fixture
def studio(tab):
    """The shared page, without what earlier tests left on it."""
    tab.evaluate("""async () => {
      document.getElementById('notices').replaceChildren();
      (await import('/static/js/state.js')).update('document', {name: 'Valley with lake'});
    }""")
    yield tab
    tab.evaluate("document.querySelectorAll('dialog[open]').forEach((one) => one.close())")


def ready(page, url):
    page.goto(url)
    page.wait_for_selector('html[data-link=ready]')
    expect_current(page)
    return page


def open_file(page, name, content):
    """Drop a file on the page."""
    dropped = page.evaluate_handle(
        """([name, text]) => {
          const dropped = new DataTransfer();
          const content = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          dropped.items.add(new File([content], name));
          return dropped;
        }""",
        [name, base64.b64encode(content).decode()],
    )
    page.dispatch_event('body', 'drop', {'dataTransfer': dropped})


def export(page, label):
    """Name and bytes of what an entry of the menu saves."""
    with page.expect_download() as download:
        choose_export(page, label)
    return download.value.suggested_filename, pathlib.Path(download.value.path()).read_bytes()


def choose_export(page, label):
    page.get_by_role('button', name='Export').click()
    page.get_by_role('menuitem', name=label, exact=True).click()


def ids_of(page):
    """The ids of the document, and what `state` is otherwise asked for."""
    text = page.evaluate("""async () => {
      const {state} = await import('/static/js/state.js');
      return [[...state.document.ids], state.document.width];
    }""")
    return np.array(text[0], np.uint8).reshape(-1, text[1])


def press(page, name):
    page.get_by_role('dialog').get_by_role('button', name=name, exact=True).click()


def test_examples_are_exported_unchanged(studio):
    for path in EXAMPLES:
        open_file(studio, path.name, path.read_bytes())
        expect(studio.locator('#notices')).to_contain_text(f'{path.name} is imported')
        assert export(studio, 'Label map') == (path.name, path.read_bytes())


def test_unknown_colors_become_what_one_chooses(studio):
    before = ids_of(studio)
    pixels, _ = drawing(128, FOREIGN[:2])
    open_file(studio, 'hill.png', encoded(pixels))
    dialog = studio.get_by_role('dialog', name='Import hill.png')
    expect(dialog).to_contain_text('2 unknown colors, 3 pixels (0.02 %)')
    row = dialog.locator('li[data-value="#ff00ff"]')
    expect(row).to_contain_text('2 pixels (0.01 %), first at 20, 0, nearest roof, 105 away')
    row.get_by_role('combobox').select_option(label='Water')
    np.testing.assert_array_equal(ids_of(studio), before)
    press(studio, 'Import')
    expect(dialog).to_be_hidden()
    assert [NAMES[number] for number in ids_of(studio)[0, 20:22]] == ['water', 'water']
    by_color = {rgb(one['color']): match(one['name'], NAMES).id for one in materials()}
    known = [by_color.get(tuple(color)) for color in pixels[64:, 0].tolist()]
    np.testing.assert_array_equal(ids_of(studio)[64:, 0], known)
    name = studio.get_by_label('Name', exact=True)
    expect(name).to_have_value('hill')
    studio.keyboard.press('Control+z')
    np.testing.assert_array_equal(ids_of(studio), before)
    expect(name).to_have_value('Valley with lake')
    studio.keyboard.press('Control+Shift+z')
    expect(name).to_have_value('hill')
    studio.keyboard.press('Control+z')


def test_files_are_chosen_in_the_menu(studio):
    with studio.expect_file_chooser() as chooser:
        studio.get_by_role('button', name='Studio: menu').click()
        studio.get_by_role('menuitem', name='Open').click()
    chooser.value.set_files(EXAMPLES[1])
    expect(studio.locator('#notices')).to_contain_text('landscape_01.png is imported')
    np.testing.assert_array_equal(ids_of(studio), decoded(EXAMPLES[1].read_bytes()))


def test_import_is_stopped_without_a_change(studio):
    before = ids_of(studio)
    open_file(studio, 'hill.png', encoded(drawing(512, FOREIGN)[0]))
    press(studio, 'Cancel')
    np.testing.assert_array_equal(ids_of(studio), before)


def test_size_and_meaning_are_chosen_in_the_dialog(studio):
    ids = np.zeros((256, 256), np.uint8)
    ids[::2, ::2] = 5
    open_file(studio, 'dots.png', png(ids))
    dialog = studio.get_by_role('dialog', name='Import dots.png')
    expect(dialog).to_contain_text('256 × 256 pixels, becomes 128 × 128')
    dialog.get_by_label('How it is scaled').select_option('majority')
    expect(dialog.get_by_label('How it is scaled')).to_have_value('majority')
    dialog.get_by_label('Taken for').select_option('gaugan')
    expect(dialog.get_by_label('Taken for')).to_have_value('ids')  # Grays are ids.
    press(studio, 'Import')
    expect(dialog).to_be_hidden()
    assert (ids_of(studio) == 0).all()


def test_numbers_without_class_need_a_choice(studio):
    ids = np.zeros((128, 128), np.uint8)
    ids[5, 7] = 200
    open_file(studio, 'odd.png', png(ids))
    dialog = studio.get_by_role('dialog', name='Import odd.png')
    press(studio, 'Import')
    expect(dialog).to_be_visible()
    expect(dialog).to_contain_text('1 unknown number, 1 pixel (< 0.01 %)')
    dialog.get_by_label('Class for 200').select_option(label='Tree')
    press(studio, 'Import')
    expect(dialog).to_be_hidden()
    assert NAMES[ids_of(studio)[5, 7]] == 'tree' and (ids_of(studio) > 0).sum() == 1


def test_files_are_pasted(studio):
    studio.evaluate(
        """(text) => {
          const clipboardData = new DataTransfer();
          const content = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          clipboardData.items.add(new File([content], 'pasted.png', {type: 'image/png'}));
          document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}));
        }""",
        base64.b64encode(EXAMPLES[2].read_bytes()).decode(),
    )
    expect(studio.locator('#notices')).to_contain_text('pasted.png is imported')
    np.testing.assert_array_equal(ids_of(studio), decoded(EXAMPLES[2].read_bytes()))


def test_choices_are_offered_again(studio):
    pixels = np.full((128, 128, 3), rgb('#5e5bc5'), np.uint8)  # bridge, here a road
    pixels[:5] = rgb('#7bc800')
    for expected in ('11', '9'):
        open_file(studio, 'bridge.png', encoded(pixels))
        field = studio.get_by_role('dialog').get_by_label('Class for Bridge')
        expect(field).to_have_value(expected)
        field.select_option(label='Water')
        press(studio, 'Import')
        expect(studio.get_by_role('dialog')).to_be_hidden()
        assert NAMES[ids_of(studio)[9, 9]] == 'water'


@pytest.mark.parametrize('theme', ['dark', 'light'])
def test_axe_finds_nothing_in_the_dialogs(studio, theme):
    studio.emulate_media(color_scheme=theme, reduced_motion='reduce')
    open_file(studio, 'hill.png', encoded(drawing(512, FOREIGN)[0]))
    dialog = studio.get_by_role('dialog', name='Import hill.png')
    dialog.get_by_text('as they are').click()
    assert violations(studio) == []
    press(studio, 'Import')
    expect(dialog).to_be_hidden()
    choose_export(studio, 'Copy command')
    expect(studio.get_by_role('dialog', name='Command')).to_be_visible()
    assert violations(studio) == []


def test_dialog_fits_on_a_phone(studio):
    studio.set_viewport_size({'width': 320, 'height': 568})
    open_file(studio, 'hill.png', encoded(drawing(512, FOREIGN)[0]))
    dialog = studio.get_by_role('dialog', name='Import hill.png')
    expect(dialog.get_by_label('Class for #ff00ff')).to_be_visible()
    body = dialog.locator('.dialog-body').evaluate('(one) => [one.scrollWidth, one.clientWidth]')
    assert body[0] <= body[1]
    press(studio, 'Cancel')
    studio.set_viewport_size({'width': 1280, 'height': 720})


def test_image_and_command_are_copied(studio):
    studio.context.grant_permissions(['clipboard-read', 'clipboard-write'])
    choose_export(studio, 'Copy the image')
    expect(studio.locator('#notices')).to_contain_text('in the clipboard')
    copied = studio.evaluate("""async () => {
      const [item] = await navigator.clipboard.read();
      const blob = await item.getType('image/png');
      const {toBase64} = await import('/static/js/bytes.js');
      return toBase64(new Uint8Array(await blob.arrayBuffer()));
    }""")
    expected = decoded(export(studio, 'Image')[1])
    np.testing.assert_array_equal(decoded(base64.b64decode(copied))[..., :3], expected)
    choose_export(studio, 'Copy command')
    command = studio.get_by_role('dialog').get_by_label('Command').input_value()
    assert studio.evaluate('navigator.clipboard.readText()') == command
    flags = '--label_dir=Valley_with_lake.png --seed=2 --fixed_style --output_dir=images'
    assert command.endswith(flags)
    press(studio, 'OK')


def test_photos_are_refused_in_a_sentence_and_can_lie_under_the_map(studio):
    photo = encoded(drawing(64)[0], 'JPEG')
    open_file(studio, 'photo.jpg', photo)
    dialog = studio.get_by_role('dialog', name='photo.jpg is not imported')
    expect(dialog).to_contain_text('photo.jpg is a JPEG file: its colors are inexact')
    press(studio, 'Lay it under the map')
    expect(dialog).to_be_hidden()
    assert studio.evaluate("""async () => {
      const {state} = await import('/static/js/state.js');
      return state.view.photo.bitmap.width;
    }""") == 64  # fmt: skip


def test_gaugan_drawings_come_back_byte_for_byte(studio):
    content = encoded(drawing(1024)[0])
    open_file(studio, 'hill.png', content)
    press(studio, 'Import')
    expect(studio.locator('#notices')).to_contain_text('hill.png is imported')
    assert export(studio, 'GauGAN drawing') == ('hill.gaugan.png', content)


def test_drawing_of_which_a_class_is_changed_is_no_more_the_file(studio):
    content = encoded(drawing(1024)[0])
    open_file(studio, 'hill.png', content)
    dialog = studio.get_by_role('dialog', name='Import hill.png')
    dialog.get_by_text('as they are').click()
    dialog.get_by_label('Class for Sky').select_option(label='Water')
    press(studio, 'Import')
    expect(studio.locator('#notices')).to_contain_text('hill.png is imported')
    name, exported = export(studio, 'GauGAN drawing')
    colors = {tuple(color) for color in decoded(exported).reshape(-1, 3)}
    by_name = {entry['name']: rgb(entry['color']) for entry in materials()}
    assert name == 'hill.gaugan.png'
    assert by_name['sky'] not in colors and by_name['water'] in colors


def test_gaugan_export_asks_for_materials_that_it_lacks(studio):
    ids = np.full((128, 128), NAMES.index('tree'), np.uint8)
    ids[:9, :9] = NAMES.index('sun')
    open_file(studio, 'sun.png', png(ids))
    expect(studio.locator('#notices')).to_contain_text('sun.png is imported')
    choose_export(studio, 'GauGAN drawing')
    dialog = studio.get_by_role('dialog', name='GauGAN drawing')
    expect(dialog).to_contain_text('Sun81 pixels')
    expect(dialog.get_by_label('Material for Sun')).to_have_value('sky')
    dialog.get_by_label('Material for Sun').select_option('clouds')
    with studio.expect_download() as download:
        press(studio, 'Export')
    pixels = decoded(pathlib.Path(download.value.path()).read_bytes())
    colors = {entry['name']: rgb(entry['color']) for entry in materials()}
    assert pixels.shape == (1024, 1024, 3)
    assert tuple(pixels[0, 0]) == tuple(pixels[71, 71]) == colors['clouds']
    assert tuple(pixels[72, 71]) == tuple(pixels[-1, -1]) == colors['tree']


def paint(page):
    """Replace the map by another one that no file holds."""
    page.evaluate("""async () => {
      const [{state}, {replaceIds}] = await Promise.all(
        ['state', 'document'].map((name) => import(`/static/js/${name}.js`)));
      replaceIds(state.document.ids.slice().reverse());
    }""")
    expect_current(page)


def expect_current(page):
    """Wait until the image is that of the map."""
    revision = page.locator('html').get_attribute('data-revision')
    page.wait_for_selector(f'html[data-shown="{revision}"]')


def test_image_and_pair_have_the_shown_pixels(studio):
    paint(studio)
    shown = base64.b64decode(
        studio.evaluate("""async () => {
          const [{state}, {toBase64}] = await Promise.all(
            ['state', 'bytes'].map((name) => import(`/static/js/${name}.js`)));
          return toBase64(state.image.rgb);
        }""")
    )
    image = np.frombuffer(shown, np.uint8).reshape(128, 128, 3)
    colors = classes_of(DEMO.data).colors[ids_of(studio)]
    for label, expected in [
        ('Image', image),
        ('Image, twice as large', image.repeat(2, 0).repeat(2, 1)),
        ('Label map in colors', colors),
        ('Label map and image side by side', np.concatenate([colors, image], axis=1)),
    ]:
        np.testing.assert_array_equal(decoded(export(studio, label)[1]), expected)
    name, content = export(studio, 'Label map')
    assert name == 'Valley_with_lake.png'
    np.testing.assert_array_equal(LabelReader(DEMO.data).read(io.BytesIO(content)), ids_of(studio))


def test_projects_come_back_equal(studio):
    paint(studio)
    studio.get_by_role('button', name='Keep a snapshot').click()
    studio.get_by_role('button', name='Roll', exact=True).click()
    expect_current(studio)
    name, project = export(studio, 'Project')
    assert name == 'Valley_with_lake.studio.json'
    ids, (_, image) = ids_of(studio), export(studio, 'Image')
    for file in (project, image):
        open_file(studio, EXAMPLES[0].name, EXAMPLES[0].read_bytes())
        expect(studio.locator('#notices')).to_contain_text('is imported')
        studio.get_by_role('button', name='Roll', exact=True).click()
        open_file(studio, 'x.png' if file is image else 'x.json', file)
        expect(studio.locator('#notices')).to_contain_text('The project Valley with lake is open')
        np.testing.assert_array_equal(ids_of(studio), ids)
        expect_current(studio)
        if file is project:
            assert export(studio, 'Project')[1] == project
        assert export(studio, 'Image')[1] == image


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'{}', 'this is no project of the studio'),
        (b'{"format": "spade_jax.studio", "version": 2}', 'the project has version 2'),
        (b'{"format": "spade_jax.studio", "version": 1}', 'the project is damaged'),
    ],
)
def test_other_projects_are_refused(studio, content, reason):
    before = ids_of(studio)
    open_file(studio, 'x.json', content)
    expect(studio.locator('#notices')).to_contain_text(reason)
    np.testing.assert_array_equal(ids_of(studio), before)


@pytest.mark.parametrize(
    'style',
    [
        {'kind': 'seed', 'seed': -1, 'truncation': 1},
        {'kind': 'seed', 'seed': 1, 'truncation': 'x'},
        {'kind': 'photo', 'latent': 'AAA=', 'strength': 1},
        {'kind': 'blend', 'from': SEED, 'to': SEED, 'share': 2},
        None,
    ],
)
def test_project_with_a_style_that_no_page_writes_is_refused(studio, style):
    before, project = ids_of(studio), json.loads(export(studio, 'Project')[1])
    project['style']['current'] = style
    open_file(studio, 'x.json', json.dumps(project).encode())
    expect(studio.locator('#notices')).to_contain_text('the project is damaged (style)')
    np.testing.assert_array_equal(ids_of(studio), before)


def test_project_sets_no_more_than_styles(studio):
    project = json.loads(export(studio, 'Project')[1])
    project['style'] |= {'presets': None, 'a': SEED | {'x': 1}}
    open_file(studio, 'x.json', json.dumps(project).encode())
    expect(studio.locator('#notices')).to_contain_text('The project Valley with lake is open')
    style = studio.evaluate("async () => (await import('/static/js/state.js')).state.style")
    assert len(style['presets']) == 8 and style['a'] == SEED


def test_time_lapse_ends_with_the_image(studio):
    for _ in range(2):
        paint(studio)
    name, content = export(studio, 'Time-lapse as WebP')
    assert name == 'Valley_with_lake.webp'
    with Image.open(io.BytesIO(content)) as animation:
        animation.seek(animation.n_frames - 1)
        last = np.asarray(animation.convert('RGB'))
    np.testing.assert_array_equal(last, decoded(export(studio, 'Image')[1]))


def test_everything_but_imports_works_without_the_server(browser):
    page = browser.new_page()
    with serving() as served:
        ready(page, served.url)
        paint(page)
    names = [
        export(page, label)[0]
        for label in (
            *('Image', 'Label map', 'Label map in colors', 'GauGAN drawing', 'Project'),
            'Label map and image side by side',
        )
    ]
    assert len({*names}) == 6
    _, content = export(page, 'Label map')
    np.testing.assert_array_equal(LabelReader(DEMO.data).read(io.BytesIO(content)), ids_of(page))
    open_file(page, 'x.png', EXAMPLES[0].read_bytes())
    expect(page.get_by_role('dialog')).to_contain_text('the server is not there')
    press(page, 'OK')
    _, project = export(page, 'Project')
    open_file(page, 'x.json', project)
    expect(page.locator('#notices')).to_contain_text('The project Landscape 03 is open')
