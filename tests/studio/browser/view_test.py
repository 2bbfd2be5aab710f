"""What is on the screen: colors, zoom, photo, highlight, outlines."""

import pytest

from tests.studio.browser import operations
from tests.studio.browser.pointer_test import SET, STATE, at, drag, set_tool

FRAMES = '() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))'
# The color and opacity of a pixel of a canvas of the view.
PIXEL = """([name, x, y]) => [...document.querySelector(`.view-${name}`)
  .getContext('2d').getImageData(x, y, 1, 1).data]"""


def pass_frames(page):
    page.evaluate(FRAMES)


def test_canvas_shows_the_color_of_each_id_after_each_operation(open_map):
    page = open_map(96, 64)
    wrong = page.evaluate(
        """async (made) => {
          const {operate} = await import('/pages/operations.js');
          const {redo, undo} = await import('/static/js/document.js');
          const {state} = await import('/static/js/state.js');
          const context = document.querySelector('.view-map').getContext('2d');
          const frame = () => new Promise(requestAnimationFrame);
          const wrong = [];
          for (const [index, operation] of made.entries()) {
            operate(operation);
            if (index % 5 === 0) undo();
            if (index % 10 === 0) redo();
            await frame();
            const {data} = context.getImageData(0, 0, 96, 64);
            const isShown = (id, pixel) => {
              const color = [...state.model.classes[id].color, 255];
              return color.every((value, k) => data[4 * pixel + k] === value);
            };
            if (!state.document.ids.every(isShown)) wrong.push(index);
          }
          return wrong;
        }""",
        operations.make_operations(9, 96, 64, 13, 40),
    )
    assert wrong == []


def test_every_pixel_has_a_whole_number_of_device_pixels(open_map):
    page = open_map(device_scale_factor=3, viewport={'width': 390, 'height': 844})
    for size, zoom in [(299, 7), (298.667, 7), (298, 6), (384, 9), (40, 1 / 2)]:
        page.evaluate(f"() => {{ document.getElementById('map').style.width = '{size}px'; }}")
        pass_frames(page)
        width = page.evaluate(
            "() => document.querySelector('.view-map').getBoundingClientRect().width * 3"
        )
        view = page.evaluate(STATE)
        assert view['zoom'] == zoom if zoom >= 1 else view['zoom'] < 1, size
        assert width == pytest.approx(128 * view['zoom'], abs=0.05)


def test_wheel_zooms_in_whole_steps_around_the_pointer(open_map):
    page = open_map()
    page.mouse.move(*at(96, 32))
    for zoom in (5, 6, 7, 8):
        page.mouse.wheel(0, -100)
        while page.evaluate(STATE)['zoom'] < zoom:
            pass_frames(page)
        page.mouse.move(*at(96, 32))
        state = page.evaluate(STATE)
        assert state['zoom'] == zoom and not state['fit']
        assert state['pointer'] == {'x': 96, 'y': 32}
    page.keyboard.press('Home')
    assert page.evaluate(STATE)['zoom'] == 4


def test_photo_lies_under_the_map_which_lets_it_through(open_map):
    page = open_map()
    page.evaluate("""async () => {
      const {update} = await import('/static/js/state.js');
      const image = new ImageData(Uint8ClampedArray.from([9, 8, 7, 255]), 1, 1);
      update('view', {photo: {bitmap: await createImageBitmap(image), opacity: 0.25}});
    }""")
    pass_frames(page)
    assert page.evaluate(PIXEL, ['photo', 0, 0]) == [9, 8, 7, 255]
    styles = page.evaluate("""() => ['map', 'photo'].map((name) => {
      const {opacity, width, transform} = document.querySelector(`.view-${name}`).style;
      return {opacity, width, transform};
    })""")
    assert styles[0]['opacity'] == '0.75'
    assert styles[0]['width'] == styles[1]['width'] == '512px'
    assert styles[0]['transform'] == styles[1]['transform']


def test_highlight_dims_all_other_materials(open_map):
    page = open_map()
    set_tool(page, first=4)
    drag(page, [(20, 20)])
    page.evaluate(SET, ['view', {'highlight': 4}])
    pass_frames(page)
    assert page.evaluate(PIXEL, ['map', 20, 20]) == [12, 123, 0, 255]
    assert page.evaluate(PIXEL, ['map', 90, 90])[3] == 89


# Where the ring is on the frame, in CSS pixels, and its size without the line's width.
RING = """() => {
  const ring = document.querySelector('.view-ring');
  const {e, f} = new DOMMatrix(getComputedStyle(ring).transform);
  const {x, y, width, height} = ring.firstChild.getBBox();
  return getComputedStyle(ring).display === 'none' ? null : [e + x, f + y, width, height];
}"""


def test_ring_is_the_outline_of_what_is_painted(open_map):
    page = open_map()
    set_tool(page, name='brush', shape='circle', size=5)
    page.mouse.move(*at(100, 60))
    pass_frames(page)
    assert page.evaluate(RING) == [392, 232, 20, 20]
    set_tool(page, shape='bar')
    page.mouse.move(*at(20, 60))
    pass_frames(page)
    assert page.evaluate(RING) == [72, 240, 20, 4]
    page.evaluate(SET, ['view', {'zoom': 8, 'x': -40, 'y': 0}])
    pass_frames(page)
    left, top, width, height = page.evaluate(RING)
    assert (width, height) == (40, 8) and left % 8 == top % 8 == 0
    page.mouse.move(5, 5)
    pass_frames(page)
    assert page.evaluate(RING) is None
    page.mouse.move(*at(20, 60))
    set_tool(page, name='pan')
    pass_frames(page)
    assert page.evaluate(RING) is None


def test_overlay_has_outlines_grid_and_axis_only_when_they_are_wanted(open_map):
    page = open_map()
    set_tool(page, first=4, name='rectangle')
    drag(page, [(20, 20), (39, 39)])

    def opacity(x, y):
        pass_frames(page)
        return page.evaluate(PIXEL, ['overlay', x, y])[3]

    places = {'outline': (160, 100), 'axis': (256, 3)}
    shown = [{name: opacity(*place) > 0 for name, place in places.items()}]
    page.evaluate(SET, ['view', {'outlines': True}])
    set_tool(page, mirrorX=True)
    shown.append({name: opacity(*place) > 0 for name, place in places.items()})
    assert shown == [{'outline': False, 'axis': False}, {'outline': True, 'axis': True}]
    page.evaluate(SET, ['view', {'zoom': 8, 'x': 0, 'y': 0, 'outlines': False}])
    assert opacity(480, 300) > 0 and opacity(484, 300) == 0
    page.evaluate(SET, ['view', {'grid': False}])
    set_tool(page, mirrorX=False)
    assert opacity(480, 300) == 0  # The last of it is cleared.
