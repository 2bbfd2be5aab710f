"""Paint in the studio for a long time: do memory and rate stay what they are?

    python -m experiments.benchmarks.soak_studio --minutes=30

The brush is dragged over the map, in all materials, with undo and fills between the strokes. A line
an interval tells the images a second, the memory of the studio's process, and the memory of the
page's objects after a garbage collection. The last line compares the last interval with the third,
when all programs are compiled and all buffers allocated. Needs Linux, Playwright and Chromium.
"""

import time
from typing import NamedTuple

from absl import app, flags
from playwright.sync_api import CDPSession, Page

import spade_jax
from experiments.benchmarks.studio_page import box_of_map, move, opened, served
from spade_jax.errors import one_line_errors

INTERVALS_OF_START = 3

_WORKDIR = flags.DEFINE_string('workdir', spade_jax.DEMO, 'Work directory of the run.')
_MINUTES = flags.DEFINE_float('minutes', 30.0, 'Minutes of painting.', lower_bound=0.1)
_INTERVAL = flags.DEFINE_float('interval', 60.0, 'Seconds between two lines.', lower_bound=1)
_PORT = flags.DEFINE_integer('port', 8189, 'Port of the studio.', 1, 65535)
_CHROMIUM = flags.DEFINE_string('chromium', '/usr/bin/chromium', 'The browser.')


class Interval(NamedTuple):
    """What an interval measured."""

    images: int
    rate: float  # Images a second.
    resident: float  # MB of the studio's process.
    heap: float  # MB of the page's objects.

    def __str__(self) -> str:
        sizes = f'studio {self.resident:7.1f} MB, page {self.heap:6.2f} MB'
        return f'{self.images:6} images, {self.rate:5.1f}/s, {sizes}'


def main(argv: list[str]) -> None:
    """Print a line an interval, and the comparison."""
    with one_line_errors(argv):
        studio = served(_WORKDIR.value, _PORT.value)
        with studio as (url, process), opened(url, _CHROMIUM.value) as page:
            heap = page.context.new_cdp_session(page)
            intervals = []
            number = max(INTERVALS_OF_START + 1, round(60 * _MINUTES.value / _INTERVAL.value))
            for _ in range(number):
                intervals.append(painted(page, heap, process, _INTERVAL.value))
                print(intervals[-1], flush=True)
            print(comparison(intervals))


def painted(page: Page, heap: CDPSession, process: int, seconds: float) -> Interval:
    """Paint for some seconds."""
    box, stroke = box_of_map(page), 0
    first, start = page.evaluate('measured.images.length'), time.perf_counter()
    while time.perf_counter() - start < seconds:
        stroke += 1
        page.keyboard.press(str(1 + stroke % 9))
        page.keyboard.press('f' if stroke % 10 == 0 else 'b')  # Fill sometimes, else the brush.
        move(page, box, stroke)
        page.mouse.down()
        for step in range(40):
            move(page, box, stroke + step / 20)
            page.wait_for_timeout(16)
        page.mouse.up()
        if stroke % 7 == 0:
            page.keyboard.press('Control+z')
    elapsed = time.perf_counter() - start
    images = page.evaluate('measured.images.length') - first
    heap.send('HeapProfiler.collectGarbage')
    used = heap.send('Runtime.getHeapUsage')['usedSize'] / 1e6
    return Interval(images, images / elapsed, resident_megabytes(process), used)


def resident_megabytes(process: int) -> float:
    """The resident memory of a process."""
    with open(f'/proc/{process}/status', encoding='utf-8') as file:
        (line,) = (line for line in file if line.startswith('VmRSS:'))
    return int(line.split()[1]) / 1000


def comparison(intervals: list[Interval]) -> str:
    """The last interval, compared with the last of the start."""
    start, last = intervals[INTERVALS_OF_START - 1], intervals[-1]
    images = sum(interval.images for interval in intervals)
    return (
        f'{images} images; since interval {INTERVALS_OF_START}: '
        f'studio {last.resident - start.resident:+.1f} MB, '
        f'page {last.heap / start.heap:.2f} times, rate {last.rate / start.rate:.2f} times'
    )


if __name__ == '__main__':
    app.run(main)
