"""Measure the studio's page in Chromium against the bare generator, in the same process.

    python -m experiments.benchmarks.benchmark_studio --seconds=6 --strokes=50

Times are compared to those of `generator(labels, style=latent)`, measured before and after, so that
the ratios hold on busy machines. Needs Playwright and Chromium.
"""

import asyncio
import contextlib
import functools
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from absl import app, flags
from playwright.sync_api import FloatRect, Page, sync_playwright

import spade_jax
from spade_jax.errors import one_line_errors
from spade_jax.sampling import TrainedGenerator
from spade_jax.studio import description, guards, server
from spade_jax.studio.sampler import GeneratorSampler

_WORKDIR = flags.DEFINE_string('workdir', spade_jax.DEMO, 'Work directory of the run.')
_SECONDS = flags.DEFINE_float('seconds', 6.0, 'Seconds of each measured drag.', lower_bound=1)
_STROKES = flags.DEFINE_integer('strokes', 50, 'Measured strokes.', lower_bound=2)
_CHROMIUM = flags.DEFINE_string('chromium', '/usr/bin/chromium', 'The browser.')

# In the page: `strokes` has the milliseconds from the end of each stroke to the image of its map.
_WATCH = """async () => {
  const {state, subscribe, update} = await import('/static/js/state.js');
  update('link', {mode: 'live'});  // Also where the page has chosen another mode for itself.
  const measured = {images: 0, strokes: [], state, update};
  let end = null;
  subscribe('link', (link, changed) => {
    if (changed.isStroke === false) end = {time: performance.now(), of: state.document.revision};
  });
  subscribe('image', (image, changed) => {
    if (!('rgb' in changed)) return;
    measured.images++;
    if (end && image.revision >= end.of) {
      measured.strokes.push(performance.now() - end.time);
      end = null;
    }
  });
  window.measured = measured;
}"""
_SLIDE = """(seconds) => new Promise((resolve) => {
  const {state, update} = measured;
  const [start, images] = [performance.now(), measured.images];
  const step = () => {
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed > seconds) return resolve((measured.images - images) / elapsed);
    update('style', {current: {kind: 'seed', seed: 2, truncation: (elapsed / 2) % 1}});
    requestAnimationFrame(step);
  };
  step();
})"""


def main(argv: list[str]) -> None:
    """Print the figures of the bare generator and of the page."""
    with one_line_errors(argv):
        generator = spade_jax.load(_WORKDIR.value)
        with _served(generator) as url, _opened(url) as page:
            bare = functools.partial(bare_seconds, generator, label_map(page))
            print(f'bare generator: {1000 * bare():.0f} ms an image')
            rate, seconds = _measured(lambda: painting_rate(page, _SECONDS.value), bare)
            print(f'painting: {rate:.1f} images/s, {rate * seconds:.2f} of the bare rate')
            delays, seconds = _measured(lambda: stroke_delays(page, _STROKES.value), bare)
            median, late = statistics.median(delays), statistics.quantiles(delays, n=20)[-1]
            print(
                f'end of a stroke to its image: median {median:.0f} ms, '
                f'of 2 bare + 60 = {2000 * seconds + 60:.0f}; '
                f'95 % {late:.0f} ms, of 3 bare + 120 = {3000 * seconds + 120:.0f}'
            )
            page.evaluate(_SLIDE, 2)  # Meanwhile the label map is prepared.
            rate, seconds = _measured(lambda: page.evaluate(_SLIDE, _SECONDS.value), bare)
            print(f'style slider: {rate:.1f} images/s, {rate * seconds:.2f} of the bare rate')


def label_map(page: Page) -> np.ndarray:
    """The label map on the page. One with fewer regions would take less time to sample."""
    ids, width = page.evaluate('[[...measured.state.document.ids], measured.state.document.width]')
    return np.asarray(ids, np.uint8).reshape(-1, width)


def bare_seconds(generator: TrainedGenerator, ids: np.ndarray) -> float:
    """The median time of 20 images of a label map."""
    dim = generator.latent_dim
    instances = ids if generator.config.data.instance_edges else None
    style = None if dim is None else np.zeros(dim, np.float32)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        generator(ids, instances, style=style)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def painting_rate(page: Page, seconds: float) -> float:
    """Images a second while the brush is dragged over the map."""
    box = page.locator('#map').bounding_box()
    assert box
    page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    page.mouse.down()
    first, start = page.evaluate('measured.images'), time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        _move(page, box, 3 * elapsed)
        page.wait_for_timeout(8)  # A mouse tells about 100 positions a second.
    images = page.evaluate('measured.images') - first
    elapsed = time.perf_counter() - start
    page.mouse.up()
    return images / elapsed


def stroke_delays(page: Page, count: int) -> list[float]:
    """Milliseconds from the end of each of some strokes to its image."""
    box = page.locator('#map').bounding_box()
    assert box
    page.evaluate('measured.strokes.length = 0')
    for number in range(count):
        page.keyboard.press(str(1 + number % 9))  # Another material: each stroke changes the map.
        _move(page, box, number)
        page.mouse.down()
        for step in range(8):
            _move(page, box, number + step / 8)
        page.mouse.up()
        page.wait_for_selector('html[data-link=ready]', state='attached')
    return page.evaluate('measured.strokes')


def _move(page: Page, box: FloatRect, angle: float) -> None:
    """Move the pointer on a curve around the middle of the map."""
    x, y = 0.5 + 0.4 * np.cos(angle), 0.5 + 0.3 * np.sin(1.7 * angle)
    page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'])


def _measured(measure: Callable, bare: Callable[[], float]) -> tuple:
    """What is measured, and the seconds of an image of the bare generator around it."""
    before = bare()
    result = measure()
    return result, (before + bare()) / 2


@contextlib.contextmanager
def _served(generator: TrainedGenerator) -> Iterator[str]:
    """The address of a server in a thread of this process."""
    sockets = server.bind('127.0.0.1', 0)
    port = sockets[0].getsockname()[1]
    run = description.Run.open(_WORKDIR.value)
    sampler = GeneratorSampler(lambda: generator)
    studio = server.Studio(run, guards.Access.create('127.0.0.1', port), sampler)
    stops: list[Callable[[], object]] = []

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stops.append(functools.partial(loop.call_soon_threadsafe, stop.set))
        await server.serve(studio, sockets, stop)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield f'http://127.0.0.1:{port}/'
    finally:
        stops[0]()
        thread.join()


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Page]:
    """The page, when it shows its first image."""
    arguments = ['--no-sandbox', '--disable-quic', '--disable-background-networking']
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM.value, args=arguments)
        page = browser.new_page(viewport={'width': 1440, 'height': 900})
        page.goto(url)
        page.wait_for_selector('html[data-link=ready][data-shown]', timeout=300_000)
        page.evaluate(_WATCH)
        yield page
        browser.close()


if __name__ == '__main__':
    app.run(main)
