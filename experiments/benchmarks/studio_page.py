"""The studio as a program of its own, and its page in Chromium, for measurements."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
from playwright.sync_api import FloatRect, Page, sync_playwright

# In the page: keeps when each image came, and the milliseconds from the end of each stroke to the
# image of its map.
_WATCH = """async () => {
  const {state, subscribe, update} = await import('/static/js/state.js');
  update('link', {mode: 'live'});  // Also where the page has chosen another mode for itself.
  const measured = {images: [], strokes: [], state, update};
  let end = null;
  subscribe('link', (link, changed) => {
    if (changed.isStroke === false) end = {time: performance.now(), of: state.document.revision};
  });
  subscribe('image', (image, changed) => {
    if (!('rgb' in changed)) return;
    measured.images.push(performance.now());
    if (end && image.revision >= end.of) {
      measured.strokes.push(performance.now() - end.time);
      end = null;
    }
  });
  window.measured = measured;
}"""
_LONGEST_START = 300  # Seconds, compilation included.


@contextlib.contextmanager
def served(workdir: str, port: int, *options: str) -> Iterator[tuple[str, int]]:
    """The address of a studio of a work directory, and the number of its process."""
    command = [sys.executable, '-m', 'spade_jax.main', '--mode=studio', f'--workdir={workdir}']
    command += [f'--port={port}', '--noopen_browser', *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            lines = iter(process.stdout.readline, '')
            addresses = (re.search(r'http://\S+', line) for line in lines)
            address = next(filter(None, addresses), None)
            if address is None:
                raise RuntimeError(f'the studio has ended: {command}')
            yield address[0], process.pid
        finally:
            process.terminate()


@contextlib.contextmanager
def opened(url: str, chromium: str) -> Iterator[Page]:
    """The page, when it shows its first image; `measured` in it has what `_WATCH` keeps.

    The server may still compile what images do not need, see `wait_until_compiled`.
    """
    arguments = ['--no-sandbox', '--disable-quic', '--disable-background-networking']
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={'width': 1440, 'height': 900})
        page.goto(url)
        shown = 'html[data-link=ready][data-shown]'
        page.wait_for_selector(shown, timeout=1000 * _LONGEST_START)
        page.evaluate(_WATCH)
        yield page
        browser.close()


def wait_until_compiled(page: Page) -> None:
    """Wait until the server has compiled everything."""
    page.wait_for_selector('#status:not(:has-text("compiling"))', timeout=1000 * _LONGEST_START)


def label_map(page: Page) -> np.ndarray:
    """The label map on the page, [H, W] ids."""
    ids, width = page.evaluate('[[...measured.state.document.ids], measured.state.document.width]')
    return np.asarray(ids, np.uint8).reshape(-1, width)


def box_of_map(page: Page) -> FloatRect:
    """Where the label map is."""
    box = page.locator('#map').bounding_box()
    assert box
    return box


def stroke_of_finger(page: Page, box: FloatRect, angle: float, seconds: float) -> None:
    """A straight stroke across the middle of the map, which the browser itself makes.

    The page hears of 60 positions a second, as of a hand. Sending them with `Page.mouse.move` takes
    as much of a core as the page's own work.
    """
    x, y = 0.4 * box['width'] * np.cos(angle), 0.4 * box['height'] * np.sin(angle)
    stroke = {
        'x': round(box['x'] + box['width'] / 2 - x),
        'y': round(box['y'] + box['height'] / 2 - y),
        'xDistance': round(2 * x),
        'yDistance': round(2 * y),
        'speed': round(2 * np.hypot(x, y) / seconds),
        'gestureSourceType': 'touch',
        'preventFling': True,
    }
    session = page.context.new_cdp_session(page)
    session.send('Input.synthesizeScrollGesture', stroke)
    session.detach()


def move(page: Page, box: FloatRect, angle: float) -> None:
    """Move the pointer on a curve around the middle of the map."""
    x, y = 0.5 + 0.4 * np.cos(angle), 0.5 + 0.3 * np.sin(1.7 * angle)
    page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'])
