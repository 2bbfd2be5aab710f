"""Fingers and pens, through Chromium's own input events."""

import numpy as np
import pytest

from tests.studio.browser.pointer_test import SET, STATE, at, ids_of, painted, set_tool


class Hand:
    """Fingers and a pen on a page; points are pixels of the map at its first zoom."""

    def __init__(self, page):
        self.page = page
        self.session = page.context.new_cdp_session(page)

    def touch(self, kind, *points):
        """`kind`: Start, Move or End; all fingers that are down then, or those that remain."""
        made = [dict(x=x, y=y, id=k) for k, (x, y) in enumerate(at(*point) for point in points)]
        self.session.send('Input.dispatchTouchEvent', dict(type=f'touch{kind}', touchPoints=made))

    def tap(self, *points):
        for k in range(len(points)):
            self.touch('Start', *points[: k + 1])
        self.touch('End')

    def pen(self, kind, point, force=0.5):
        """`kind`: Pressed, Moved or Released."""
        x, y = at(*point)
        self.session.send(
            'Input.dispatchMouseEvent',
            dict(type=f'mouse{kind}', x=x, y=y, button='left', buttons=1, clickCount=1, force=force)
            | dict(pointerType='pen'),
        )


@pytest.fixture
def hand(open_map):
    page = open_map(has_touch=True)
    set_tool(page, size=8, first=4)
    return Hand(page)


def test_a_finger_paints(hand):
    way = [(20, 20), (60, 40), (70, 100)]
    hand.touch('Start', way[0])
    for point in way[1:]:
        hand.touch('Move', point)
    hand.touch('End')
    np.testing.assert_array_equal(ids_of(hand.page), painted(('stroke', 4, 'circle', 8, way)))


def test_pinch_zooms_and_two_fingers_move_without_a_stray_id(hand):
    hand.touch('Start', (40, 64))
    hand.touch('Start', (40, 64), (80, 64))
    for k in range(1, 11):
        hand.touch('Move', (40 - 2 * k, 64), (80 + 2 * k, 64))
    zoomed = hand.page.evaluate(STATE)
    for k in range(1, 11):
        hand.touch('Move', (20, 64 + 2 * k), (100, 64 + 2 * k))
    hand.touch('End', (20, 84))
    hand.touch('Move', (60, 90))
    hand.touch('End')
    assert not ids_of(hand.page).any()
    assert zoomed['zoom'] == pytest.approx(8, abs=0.5)
    moved = hand.page.evaluate(STATE)
    assert moved['y'] - zoomed['y'] > 40 and moved['zoom'] == pytest.approx(zoomed['zoom'])


def test_two_fingers_undo_and_three_redo(hand):
    hand.tap((30, 30))
    hand.tap((90, 90))
    one = painted(('stroke', 4, 'circle', 8, [(30, 30)]))
    both = painted(('stroke', 4, 'circle', 8, [(30, 30)]), ('stroke', 4, 'circle', 8, [(90, 90)]))
    np.testing.assert_array_equal(ids_of(hand.page), both)
    hand.tap((50, 50), (70, 50))
    np.testing.assert_array_equal(ids_of(hand.page), one)
    hand.tap((50, 50), (70, 50), (60, 70))
    np.testing.assert_array_equal(ids_of(hand.page), both)


def test_pressure_of_a_pen_sets_the_size_once_it_is_turned_on(hand):
    for is_felt, size in [(False, 8), (True, 5)]:
        set_tool(hand.page, pressure=is_felt)
        hand.pen('Pressed', (64, 64))
        hand.pen('Moved', (80, 64))
        hand.pen('Released', (80, 64))
        wanted = painted(('stroke', 4, 'circle', size, [(64, 64), (80, 64)]))
        np.testing.assert_array_equal(ids_of(hand.page), wanted)
        hand.page.keyboard.press('Control+z')


def test_a_palm_does_not_paint_after_a_pen_until_it_is_allowed(hand):
    hand.pen('Pressed', (20, 20))
    hand.touch('Start', (90, 90))  # The palm while the pen paints.
    hand.touch('Move', (95, 95))
    hand.touch('End')
    hand.pen('Released', (20, 20))
    hand.touch('Start', (90, 90))
    hand.touch('Move', (60, 100))
    hand.touch('End')
    dot = ('stroke', 4, 'circle', 8, [(20, 20)])
    np.testing.assert_array_equal(ids_of(hand.page), painted(dot))
    hand.page.evaluate(SET, ['tool', {'touchPaints': True}])
    hand.tap((90, 90))
    hand.pen('Pressed', (40, 20))
    hand.pen('Released', (40, 20))
    assert hand.page.evaluate(STATE)['touchPaints']
    dots = [('stroke', 4, 'circle', 8, [point]) for point in [(20, 20), (90, 90), (40, 20)]]
    np.testing.assert_array_equal(ids_of(hand.page), painted(*dots))
