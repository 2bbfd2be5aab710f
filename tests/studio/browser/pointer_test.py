"""The map under mouse and keys."""

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.studio import rasteriser

ZOOM, LEFT, TOP = 4, 20, 10  # Of paint.html, whose frame has 512 x 512 pixels.
IDS = "async () => [...(await import('/static/js/state.js')).state.document.ids]"
# After two frames: the browser hands on moves of a pointer with the next one.
STATE = """async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const {state: {view, tool, document: {revision}}} = await import('/static/js/state.js');
  const {name, held, size, first, second, mirrorX, mirrorY, touchPaints} = tool;
  const {zoom, x, y, fit, pointer, sketch} = view;
  return {
    zoom, x, y, fit, pointer, sketch, name, held, size, first, second, mirrorX, mirrorY,
    touchPaints, protected: [...tool.protected], revision};
}"""
SET = "async ([slice, fields]) => (await import('/static/js/state.js')).update(slice, fields)"


NAMES = ['brush', 'line', 'rectangle', 'polygon', 'fill', 'fill', 'pick', 'pan']  # By keys.


def ids_of(page, width=128):
    return np.array(page.evaluate(IDS)).reshape(-1, width)


def set_tool(page, **fields):
    page.evaluate(SET, ['tool', fields])


def at(x, y):
    """Where a point of the map is in the window."""
    return LEFT + ZOOM * x, TOP + ZOOM * y


def drag(page, points, button='left'):
    page.mouse.move(*at(*points[0]))
    page.mouse.down(button=button)
    for point in points[1:]:
        page.mouse.move(*at(*point))
    page.mouse.up(button=button)


def painted(*calls):
    """The map after calls of rasteriser.LabelMap: (name, *arguments)."""
    label_map = rasteriser.LabelMap(np.zeros((128, 128), np.uint8))
    for name, *arguments in calls:
        getattr(label_map, name)(*arguments)
    return label_map.ids


def test_mouse_paints_strokes_of_first_and_second_material(open_map):
    page = open_map()
    set_tool(page, size=9, first=4, second=7)
    left = [(10.25, 20.5), (60, 31.75), (64.5, 90.25), (-9, 110)]
    right = [(100, 100), (120.75, 3)]
    drag(page, left)
    drag(page, right, button='right')
    wanted = painted(('stroke', 4, 'circle', 9, left), ('stroke', 7, 'circle', 9, right))
    np.testing.assert_array_equal(ids_of(page), wanted)


def test_shift_joins_strokes_and_keeps_one_direction(open_map):
    page = open_map()
    set_tool(page, size=3, first=4)
    drag(page, [(10, 10), (20, 10)])
    page.keyboard.down('Shift')
    page.mouse.move(*at(40, 60))
    page.mouse.down()
    page.mouse.move(*at(60, 63))
    page.mouse.move(*at(100, 70))
    page.mouse.up()
    page.keyboard.up('Shift')
    line = [(10, 10), (20, 10), (40, 60), (60, 60), (100, 60)]
    np.testing.assert_array_equal(ids_of(page), painted(('stroke', 4, 'circle', 3, line)))


def test_escape_takes_the_stroke_back_and_blur_keeps_it(open_map):
    page = open_map()
    set_tool(page, first=4)
    page.mouse.move(*at(30, 30))
    page.mouse.down()
    page.mouse.move(*at(90, 90))
    page.keyboard.press('Escape')
    page.mouse.move(*at(90, 20))
    page.mouse.up()
    assert not ids_of(page).any()
    page.mouse.down()
    page.evaluate("() => window.dispatchEvent(new Event('blur'))")
    page.mouse.move(*at(5, 120))
    page.mouse.up()
    wanted = painted(('stroke', 4, 'circle', 12, [(90, 20)]))
    np.testing.assert_array_equal(ids_of(page), wanted)


def test_polygon_by_clicks_and_lasso_by_dragging(open_map):
    page = open_map()
    set_tool(page, name='polygon', first=4, second=5)
    corners = [(10, 10), (60, 12), (50, 70)]
    for corner in [*corners, corners[0]]:
        page.mouse.click(*at(*corner))
    lasso = [(80, 80), (120, 85), (100, 120)]
    drag(page, lasso, button='right')
    page.mouse.click(*at(20, 100))
    page.mouse.click(*at(40, 100))
    page.keyboard.press('Control+z')
    assert len(page.evaluate(STATE)['sketch']) == 1
    page.keyboard.press('Escape')
    wanted = painted(('polygon', 4, corners), ('polygon', 5, lasso))
    np.testing.assert_array_equal(ids_of(page), wanted)


@pytest.mark.parametrize('key', ['b', 'Backspace'])
def test_lasso_that_a_key_ends_has_no_more_corners(open_map, key):
    page = open_map()
    page.get_by_label('Label map').focus()
    set_tool(page, name='polygon', first=4)
    page.mouse.move(*at(10, 10))
    page.mouse.down()
    if key == 'b':
        for corner in [(60, 12), (50, 70)]:
            page.mouse.move(*at(*corner))
    page.keyboard.press(key)
    page.mouse.move(*at(90, 90))
    page.mouse.up()
    wanted = painted(('polygon', 4, [(10, 10), (60, 12), (50, 70)])) if key == 'b' else 0
    np.testing.assert_array_equal(ids_of(page), wanted)
    assert page.evaluate(STATE)['sketch'] is None


def test_stroke_begins_beside_the_map(open_map):
    page = open_map()
    set_tool(page, size=5, first=4)
    page.get_by_label('Label map').focus()
    stroke = [(-3.5, 40), (30, 44)]
    drag(page, stroke)
    np.testing.assert_array_equal(ids_of(page), painted(('stroke', 4, 'circle', 5, stroke)))
    expect(page.get_by_label('Label map')).to_be_focused()


def test_corners_beside_the_map_reach_its_borders(open_map):
    page = open_map()
    set_tool(page, name='polygon', first=4)
    corners = [(90.25, 60), (130.5, 126.75), (127.75, 131), (-2.25, 129), (-3.5, 30.5)]
    for corner in corners:
        page.mouse.click(*at(*corner))
    page.keyboard.press('Enter')
    wanted = painted(('polygon', 4, corners))
    np.testing.assert_array_equal(ids_of(page), wanted)
    assert wanted[127, [0, 127]].all()


def test_polygon_has_the_last_material_and_ends_with_another_tool(open_map):
    page = open_map()
    set_tool(page, name='polygon', first=4)
    corners = [(10, 10), (60, 12), (50, 70)]
    for corner in corners:
        page.mouse.click(*at(*corner))
    set_tool(page, first=6)
    page.keyboard.press('b')
    np.testing.assert_array_equal(ids_of(page), painted(('polygon', 6, corners)))
    page.keyboard.press('Control+z')
    assert not ids_of(page).any()


def test_keys_choose_tools_sizes_and_materials(open_map):
    page = open_map()
    set_tool(page, digits=[3, 5, 8], first=1, second=2, size=12)

    def state():
        return page.evaluate(STATE)

    for key, name in zip('blrpfgih', NAMES, strict=True):
        page.keyboard.press(key)
        assert state()['name'] == name
    page.keyboard.press('2')
    page.keyboard.press('x')
    page.keyboard.press(']')
    page.keyboard.press('Shift+]')
    page.keyboard.press('m')
    assert [state()[key] for key in ('first', 'second', 'size')] == [2, 5, 21]
    assert state()['mirrorX'] and not state()['mirrorY']
    page.keyboard.down('Alt')
    assert state()['held'] == 'pick'
    page.keyboard.up('Alt')
    assert state()['held'] is None
    page.mouse.move(*at(3, 3))
    page.keyboard.press('k')
    assert state()['protected'] == [0]
    page.keyboard.press('Shift+K')
    assert state()['protected'] == []


@pytest.mark.parametrize(
    'event, size, first',
    [
        (dict(code='Digit2', key='é'), 12, 5),  # A French keyboard.
        (dict(code='Digit8', key='[', modifierAltGraph=True, ctrlKey=True, altKey=True), 11, 1),
        (dict(code='Numpad2', key='2'), 12, 5),
        (dict(code='Numpad2', key='ArrowDown'), 12, 1),  # Without NumLock.
    ],
)
def test_keys_are_what_the_keyboard_makes_of_them(open_map, event, size, first):
    page = open_map()
    set_tool(page, digits=[3, 5, 8, 0, 0, 0, 0, 7], first=1, size=12)
    page.evaluate(
        "(event) => document.body.dispatchEvent(new KeyboardEvent('keydown', event))",
        event | {'bubbles': True},
    )
    assert [page.evaluate(STATE)[key] for key in ('size', 'first')] == [size, first]


def test_letters_are_text_in_fields_and_can_be_turned_off(open_map):
    page = open_map()
    page.get_by_label('Field').focus()
    page.keyboard.type('f2')
    assert page.get_by_label('Field').input_value() == 'f2'
    assert page.evaluate(STATE)['name'] == 'brush'
    page.get_by_label('Label map').focus()
    size = page.evaluate(STATE)['size']
    page.evaluate(SET, ['view', {'letters': False}])
    page.keyboard.press('f')
    page.keyboard.press('Shift+]')
    assert page.evaluate(STATE)['name'] == 'brush' and page.evaluate(STATE)['size'] == size


def test_keyboard_alone_paints_and_undoes(open_map):
    page = open_map()
    set_tool(page, size=1, first=4)
    page.get_by_label('Label map').focus()
    for key in ['ArrowLeft', 'Enter', 'Shift+ArrowRight', 'ArrowDown', 'Enter', 'ArrowDown']:
        page.keyboard.press(key)
    wanted = painted(('stroke', 4, 'square', 1, [(63, 64), (71, 64), (71, 65)]))
    np.testing.assert_array_equal(ids_of(page), wanted)
    page.keyboard.press('Control+z')
    assert not ids_of(page).any()
    page.keyboard.press('Control+Shift+z')
    np.testing.assert_array_equal(ids_of(page), wanted)
