"""Measure the studio's page in Chromium against the bare generator.

    python -m experiments.benchmarks.benchmark_studio --seconds=6 --strokes=50

The studio is a process of its own. Times are compared to those of `generator(labels, style=latent)`
in this one, measured before and after while the studio waits, so that the ratios hold on busy
machines; each time with the label map that is on the page then, since what was painted has more
edges and takes longer. Needs Playwright and Chromium.
"""

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags
from playwright.sync_api import Page

import spade_jax
from experiments.benchmarks.studio_page import (
    box_of_map,
    label_map,
    move,
    opened,
    served,
    stroke_of_finger,
    wait_until_compiled,
)
from spade_jax.errors import UserError, one_line_errors
from spade_jax.sampling import TrainedGenerator

_WORKDIR = flags.DEFINE_string('workdir', spade_jax.DEMO, 'Work directory of the run.')
_SECONDS = flags.DEFINE_float('seconds', 6.0, 'Seconds of each measured drag.', lower_bound=1)
_STROKES = flags.DEFINE_integer('strokes', 50, 'Measured strokes.', lower_bound=2)
_PORT = flags.DEFINE_integer('port', 8188, 'Port of the studio.', 1, 65535)
_CHROMIUM = flags.DEFINE_string('chromium', '/usr/bin/chromium', 'The browser.')

_DRAGS = 3
_NUMBERS = itertools.count()  # Of the drags.
_GOLDEN_ANGLE = 2.4  # Radians between them: no two are the same.

_SLIDE = """(seconds) => new Promise((resolve) => {
  const {state, update} = measured;
  const [start, images] = [performance.now(), measured.images.length];
  const step = () => {
    const elapsed = (performance.now() - start) / 1000;
    if (elapsed > seconds) return resolve((measured.images.length - images) / elapsed);
    update('style', {current: {kind: 'seed', seed: 2, truncation: (elapsed / 2) % 1}});
    requestAnimationFrame(step);
  };
  step();
})"""
# Keeps the milliseconds from each motion of the pointer to its frame, and those of long tasks.
_WATCH_FRAMES = """() => {
  const {port1, port2} = new MessageChannel();
  let motions = [];
  port1.onmessage = () => {
    measured.frames.push(...motions.map((time) => performance.now() - time));
    motions = [];
  };
  document.getElementById('map').addEventListener('pointermove', ({timeStamp}) => {
    motions.push(timeStamp);
    if (motions.length === 1) requestAnimationFrame(() => port2.postMessage(null));
  }, {capture: true});
  new PerformanceObserver((list) => {
    measured.tasks.push(...list.getEntries().map(({duration}) => duration));
  }).observe({type: 'longtask'});
}"""
_BYTES = """() => ['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))
  .reduce((sum, {encodedBodySize}) => sum + encodedBodySize, 0)"""


def main(argv: list[str]) -> None:
    """Print the figures of the bare generator and of the page."""
    with one_line_errors(argv):
        with tempfile.TemporaryDirectory() as cache:
            for state in ('compiled at the first start', 'with the compiled programs of the first'):
                answer, image, size = start_seconds(cache)
                print(f'{state}: page {answer:.1f} s, first image {image:.1f} s after the start')
            print(f'the page loads {size / 1000:.0f} kB')
        generator = spade_jax.load(_WORKDIR.value)
        studio = served(_WORKDIR.value, _PORT.value)
        with studio as (url, _), opened(url, _CHROMIUM.value) as page:
            bare = functools.partial(bare_seconds, generator, page)
            wait_until_compiled(page)
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
            page.evaluate(_WATCH_FRAMES)
            for mode in ('demand', 'live'):
                late, longest = frame_delays(page, mode, _SECONDS.value)
                print(
                    f'mode {mode}: 95 % of the motions of the brush are on the map within '
                    f'{late:.0f} ms; the longest task takes {longest:.0f} ms'
                )
            page.evaluate(_SLIDE, 2)  # Meanwhile the label map is prepared.
            rate, seconds = _measured(lambda: page.evaluate(_SLIDE, _SECONDS.value), bare)
            print(f'style slider: {rate:.1f} images/s, {rate * seconds:.2f} of the bare rate')


def start_seconds(cache_dir: str) -> tuple[float, float, int]:
    """Seconds from a start to the page's address and to its first image; bytes of the page."""
    start = time.perf_counter()
    options = f'--compilation_cache_dir={cache_dir}'
    with served(_WORKDIR.value, _PORT.value, options) as (url, _):
        answer = time.perf_counter() - start
        with opened(url, _CHROMIUM.value) as page:
            return answer, time.perf_counter() - start, page.evaluate(_BYTES)


def frame_delays(page: Page, mode: str, seconds: float) -> tuple[float, float]:
    """Milliseconds within which 95 % of motions are on the map, and those of the longest task."""
    page.evaluate('(mode) => measured.update("link", {mode})', mode)
    page.evaluate('Object.assign(measured, {frames: [], tasks: []})')
    drag(page, seconds)
    delays, tasks = page.evaluate('[measured.frames, measured.tasks]')
    return statistics.quantiles(delays, n=20)[-1], max(tasks, default=0)


def bare_seconds(generator: TrainedGenerator, page: Page) -> float:
    """The median time of 20 images of the label map on the page."""
    ids, dim = label_map(page), generator.latent_dim
    instances = ids if generator.config.data.instance_edges else None
    style = None if dim is None else np.zeros(dim, np.float32)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        generator(ids, instances, style=style)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def drag(page: Page, seconds: float) -> list[list[float]]:
    """Drag the brush across the map some times; returns when the images of each came, in ms."""
    box, times = box_of_map(page), []
    for number in itertools.islice(_NUMBERS, _DRAGS):
        page.keyboard.press(str(1 + number % 9))  # Another material: each drag changes the map.
        first = page.evaluate('measured.images.length')
        stroke_of_finger(page, box, _GOLDEN_ANGLE * number, seconds)
        times.append(page.evaluate('(first) => measured.images.slice(first)', first))
    return times


def painting_rate(page: Page, seconds: float) -> float:
    """Images a second while the brush is dragged."""
    drags = [times for times in drag(page, seconds) if len(times) > 1]
    if not drags:
        problem = f'no drag of {seconds} seconds had two images'
        raise UserError(problem, 'drag longer with --seconds')
    elapsed = sum(times[-1] - times[0] for times in drags) / 1000
    return sum(len(times) - 1 for times in drags) / elapsed


def stroke_delays(page: Page, count: int) -> list[float]:
    """Milliseconds from the end of each of some strokes to its image."""
    box = box_of_map(page)
    page.evaluate('measured.strokes.length = 0')
    for number in range(count):
        page.keyboard.press(str(1 + number % 9))  # Another material: each stroke changes the map.
        move(page, box, number)
        page.mouse.down()
        for step in range(8):
            move(page, box, number + step / 8)
        page.mouse.up()
        page.wait_for_selector('html[data-link=ready]', state='attached')
    return page.evaluate('measured.strokes')


def _measured(measure: Callable, bare: Callable[[], float]) -> tuple:
    """What is measured, and the seconds of an image of the bare generator around it."""
    before = bare()
    result = measure()
    return result, (before + bare()) / 2


if __name__ == '__main__':
    app.run(main)
