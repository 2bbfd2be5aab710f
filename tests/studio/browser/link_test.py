"""The page always asks for the image of the newest state, and survives its server."""

import random
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from playwright.sync_api import expect

import spade_jax
from spade_jax.studio import messages
from spade_jax.studio.sampler import Refused
from spade_jax.studio.style_messages import Seed
from tests.studio.serving import serving
from tests.studio.stand_in import StandIn, image_of

# In the page: what is shown, and the stand-in's image of a label map in the style of a seed.
WATCH = """async () => {
  const {state, subscribe, update} = await import('/static/js/state.js');
  const {edit, beginStroke, endStroke} = await import('/static/js/document.js');
  const images = [];
  subscribe('image', (image, changed) => {
    if ('rgb' in changed) images.push({revision: image.revision, seed: image.style.seed,
                                       rgb: image.rgb});
  });
  const imageOf = (ids, seed) => {
    const rgb = new Uint8Array(3 * ids.length);
    ids.forEach((id, i) => [17, 59, 113].forEach((factor, channel) => {
      rgb[3 * i + channel] = (factor * (id + 1) + 7 * seed) % 256;
    }));
    return rgb;
  };
  const paint = (id, left = 0, top = 0, right = 128, bottom = 128) => edit('Test', (target) => {
    const {ids, width} = state.document;
    for (let y = top; y < bottom; y++) ids.fill(id, y * width + left, y * width + right);
    target.changed = {left, top, right, bottom};
  }, id);
  window.test = {state, update, edit, beginStroke, endStroke, images, imageOf, paint};
}"""


class Controlled(StandIn):
    """A stand-in that tests hold: it waits for `go` before each image."""

    def __init__(self, **options):
        super().__init__(**options)
        self.go = threading.Event()
        self.go.set()

    def sample(self, ids, style):
        assert self.go.wait(20)
        return super().sample(ids, style)


@pytest.fixture(scope='module')
def running():
    with serving(sampler=Controlled()) as running:
        yield running


@pytest.fixture
def sampler(running):
    sampler = running.studio.connections.sampler
    yield sampler
    sampler.go.set()
    sampler.broken, sampler.delay, sampler.milliseconds = None, None, 1


@pytest.fixture
def open_studio(open_page):
    """A function (url) -> the page, when it shows its first image."""

    def open_studio(url, shown=True):
        page = open_page(url, reduced_motion='reduce')
        if shown:
            expect_newest(page)
        page.evaluate(WATCH)
        return page

    return open_studio


@pytest.fixture
def page(open_studio, running, sampler):
    return open_studio(running.url)


def expect_newest(page, timeout=10_000):
    """Wait until the image of the newest revision is shown, and nothing is asked for."""
    root = page.locator('html')
    expect(root).to_have_attribute('data-revision', re.compile('[1-9]'), timeout=timeout)
    expect(root).to_have_attribute('data-link', 'ready', timeout=timeout)
    newest = root.get_attribute('data-revision')
    expect(root).to_have_attribute('data-shown', newest, timeout=timeout)


def drop_connections(connections):
    """Cut the connections of all pages, as a broken network does."""
    for page in connections.pages:
        page.socket.ws_connection.stream.close()


def test_image_is_that_of_the_map(page):
    page.evaluate('test.paint(3, 10, 20, 60, 70)')
    expect_newest(page)
    ids, rgb = page.evaluate('[[...test.state.document.ids], [...test.state.image.rgb]]')
    expected = image_of(np.array(ids, np.uint8), Seed(2))
    np.testing.assert_array_equal(np.array(rgb).reshape(-1, 3), expected)


def test_frame_is_read_by_the_server(page):
    frame = page.evaluate("""async () => {
      const {mapFrame} = await import('/static/js/frames.js');
      const ids = Uint16Array.from({length: 12}, (_, i) => 99 * i);
      const style = {kind: 'seed', seed: 2 ** 32 - 1, truncation: 0.5};
      const fields = {op: 'sample', rev: 2 ** 53 - 1, style, quick: true};
      return [...mapFrame(fields, {ids: ids.subarray(4), width: 4, height: 2})];
    }""")
    request = messages.parse(bytes(frame))
    assert isinstance(request, messages.SampleRequest)
    assert (request.revision, request.style) == (2**53 - 1, Seed(2**32 - 1, 0.5))
    np.testing.assert_array_equal(request.ids, 99 * np.arange(4, 12).reshape(2, 4))


def test_newest_image_is_shown_after_random_edits(open_studio):
    """1,000 edits, with random delays and 5 % of the connections dropped: nothing stale stays."""
    rng = random.Random(0)

    def delay():
        if rng.random() < 0.05:
            connections.post(drop_connections, connections)
        return rng.uniform(0, 0.06)

    sampler = StandIn(delay=delay)
    with serving(sampler=sampler) as running:
        connections = running.studio.connections
        page = open_studio(running.url)
        before = sampler.sampled
        page.evaluate("""async () => {
          const {state, update, paint, images} = test;
          const maps = new Map();
          let seed = 1;  // A linear congruential generator.
          const below = (most) => (seed = (16807 * seed) % 2147483647) % most;
          for (let i = 0; i < 1000; i++) {
            const [left, top] = [below(100), below(100)];
            paint(below(13), left, top, left + 1 + below(28), top + 1 + below(28));
            if (below(20) === 0) {
              update('style', {current: {kind: 'seed', seed: below(1000), truncation: 1}});
            }
            maps.set(state.document.revision, state.document.ids.slice());
            await new Promise((resolve) => setTimeout(resolve, below(8)));
          }
          test.maps = maps;
        }""")
        expect_newest(page, 20_000)
        shown = page.evaluate("""() => test.images.map(({revision, seed, rgb}) => {
          const map = test.maps.get(revision);
          const expected = map && test.imageOf(map, seed);
          return [revision, !expected || expected.every((value, i) => value === rgb[i])];
        })""")
        seeds = page.evaluate('[test.images.at(-1).seed, test.state.style.current.seed]')
        newest = page.evaluate('test.state.document.revision')
    revisions = [revision for revision, _ in shown]
    assert revisions == sorted(revisions) and all(is_right for _, is_right in shown)
    assert seeds[0] == seeds[1] and revisions[-1] == newest
    assert len(shown) > 20 and sampler.sampled - before >= len(shown)


def test_newest_state_waits_while_an_image_is_sampled(page, sampler):
    sampler.go.clear()
    before = sampler.sampled
    page.evaluate("""async () => {
      for (let i = 0; i < 50; i++) {
        test.paint(i % 13);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }""")
    page.wait_for_timeout(200)
    # The second image does not need the page, which is busy.
    page.evaluate("""() => setTimeout(() => {
      const end = performance.now() + 2000;
      while (performance.now() < end);
    })""")
    sampler.go.set()
    deadline = time.monotonic() + 1
    while sampler.sampled < before + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sampler.sampled == before + 2
    expect_newest(page)


def test_each_stroke_waits_for_its_end(page, sampler):
    page.get_by_role('radio', name='Each stroke').click()
    before = sampler.sampled
    page.evaluate("""() => {
      test.beginStroke('Test', 4);
      test.state.document.ids.fill(4);
      test.update('document', {revision: test.state.document.revision + 1});
    }""")
    page.evaluate('() => new Promise((resolve) => requestIdleCallback(resolve))')
    assert sampler.sampled == before
    page.evaluate('test.endStroke()')
    expect_newest(page)
    assert sampler.sampled == before + 1


def test_on_demand_waits_for_the_button(page, sampler):
    page.evaluate("test.update('link', {mode: 'demand'})")
    before = sampler.sampled
    page.evaluate('test.paint(5)')
    page.evaluate('() => new Promise((resolve) => requestIdleCallback(resolve))')
    assert sampler.sampled == before
    page.get_by_role('button', name='Sample', exact=True).click()
    expect_newest(page)
    assert sampler.sampled == before + 1


def test_image_is_exact_when_the_style_rests(page, running, sampler):
    ids = page.evaluate('[...test.state.document.ids]')
    sampler.is_quick = True
    sampler.prepare(np.array(ids, np.uint8).reshape(128, 128))
    page.evaluate("""() => {
      test.images.length = 0;
      test.update('style', {current: {kind: 'seed', seed: 5, truncation: 1}});
    }""")
    expect(page.locator('html')).to_have_attribute('data-link', 'sampling')
    expect_newest(page)
    sampler.is_quick = False
    first, last = page.evaluate('test.images.map(({rgb}) => rgb[0])')
    exact = int(image_of(np.array(ids[:1]), Seed(5))[0, 0])
    assert (first, last) == ((exact - 1) % 256, exact)


def test_hidden_page_asks_for_nothing(page, sampler):
    hide = """(value) => {
      Object.defineProperty(document, 'hidden', {value, configurable: true});
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)
    before = sampler.sampled
    page.evaluate('for (let i = 0; i < 9; i++) test.paint(i)')
    page.evaluate('() => new Promise((resolve) => requestIdleCallback(resolve))')
    assert sampler.sampled == before
    page.evaluate(hide, False)
    expect_newest(page)
    assert sampler.sampled == before + 1


def test_slow_model_samples_each_stroke_until_the_user_chooses(open_studio, running, sampler):
    sampler.milliseconds = 900
    connections = running.studio.connections
    connections.progress = messages.Progress('ready', milliseconds=900)
    try:
        page = open_studio(running.url)
        assert page.evaluate('test.state.link.mode') == 'strokes'
        expect(page.locator('.notice', has_text='An image takes 0.9 s')).to_be_visible()
        page.evaluate("test.update('link', {mode: 'live'})")
        page.evaluate('test.paint(6)')
        expect_newest(page)
        assert page.evaluate('test.state.link.mode') == 'live'
    finally:
        connections.progress = messages.Progress('ready', milliseconds=1)


def test_refusal_is_told_and_painting_goes_on(page, sampler):
    sampler.channels = 12
    try:
        page.evaluate('test.paint(12)')
        expect(page.locator('.notice', has_text='id 12; use 0 to 11')).to_be_visible()
        page.evaluate('test.paint(11)')
        expect_newest(page)
    finally:
        sampler.channels = 13


def test_page_says_how_many_are_before_it(page, open_studio, running, sampler):
    other = open_studio(running.url)
    sampler.go.clear()
    page.evaluate('test.paint(1)')
    expect(page.locator('html')).to_have_attribute('data-link', 'sampling')
    other.evaluate('test.paint(2)')
    other.evaluate('test.painting = setInterval(() => test.paint(Math.random() * 13 | 0), 30)')
    expect(other.get_by_text('1 before you').first).to_be_visible()
    other.evaluate('clearInterval(test.painting)')
    sampler.go.set()
    expect_newest(page)
    expect_newest(other)
    expect(other.get_by_text('1 before you').first).not_to_be_visible()


def test_slow_model_shows_images_while_one_paints(page, sampler):
    sampler.delay = lambda: 2.5  # Meanwhile the page asks for more than a hundred.
    shown = page.evaluate("""async () => {
      const before = test.images.length;
      let id = 0;
      const painting = setInterval(() => test.paint(++id % 13), 10);
      await new Promise((resolve) => setTimeout(resolve, 6000));
      clearInterval(painting);
      return test.images.length - before;
    }""")
    assert shown >= 1
    sampler.delay = None
    expect_newest(page, 20_000)


def test_variations_are_of_the_seeds_below_them(page, sampler):
    others = page.get_by_role('button', name='Six other variations')
    others.click()
    sampler.go.clear()
    others.click()
    others.click()  # While those of the former seeds are sampled.
    sampler.go.set()
    last = page.get_by_role('radio', name='Seed 23')
    expect(last.locator('canvas')).to_be_visible()
    ids = page.evaluate('[...test.state.document.ids]')
    pixels = last.locator('canvas').evaluate(
        '(canvas) => [...canvas.getContext("2d").getImageData(0, 0, 1, 1).data]'
    )
    assert pixels[:3] == image_of(np.array(ids[:1]), Seed(23))[0].tolist()


def test_variations_are_those_of_the_map(page):
    images = page.evaluate("""async () => {
      const {requestVariations} = await import('/static/js/link.js');
      const styles = [4, 5].map((seed) => ({kind: 'seed', seed, truncation: 1}));
      const first = requestVariations(styles).catch((error) => error.message);
      const images = await requestVariations(styles);
      return [await first, ...images.map((rgb) => [...rgb.subarray(0, 3)])];
    }""")
    ids = page.evaluate('[...test.state.document.ids.subarray(0, 1)]')
    expected = [image_of(np.array(ids), Seed(seed))[0].tolist() for seed in (4, 5)]
    assert images == ['other variations are asked for', *expected]


def test_page_of_another_version_is_told_to_reload(open_studio, running, monkeypatch):
    monkeypatch.setattr(spade_jax, '__version__', '99.0')
    page = open_studio(running.url, shown=False)
    expect(page.get_by_text('A newer studio is running').first).to_be_visible()
    assert page.evaluate('test.state.link.state') == 'refused'


def test_another_model_after_a_restart_is_told(page, running):
    description, connections = running.studio._description, running.studio.connections
    classes = description['classes']
    description['classes'] = classes[:-1]
    try:
        connections.post(drop_connections, connections)
        expect(page.locator('html')).to_have_attribute('data-link', 'refused')
        assert 'another model' in page.evaluate('test.state.link.refused.problem')
    finally:
        description['classes'] = classes


def test_another_model_is_told_to_a_page_that_was_never_ready(open_page):
    stages = threading.Event()

    class Loading(StandIn):
        def load(self, report):
            assert stages.wait(60)

    with serving(sampler=Loading()) as running:
        page = open_page(running.url, reduced_motion='reduce')
        expect(page.locator('html')).to_have_attribute('data-link', 'warming')
        description, connections = running.studio._description, running.studio.connections
        description['width'] = 64
        connections.post(drop_connections, connections)
        expect(page.locator('html')).to_have_attribute('data-link', 'refused')
        expect(page.get_by_text('The server has another model').first).to_be_visible()
        stages.set()


class Compiling(StandIn):
    """A stand-in that samples while it compiles each of `stages` until its event is set."""

    def __init__(self, *stages, **options):
        super().__init__(**options)
        self.compiled = {stage: threading.Event() for stage in stages}
        self.requests = 0

    def load(self, report):
        super().load(report)
        for stage, is_compiled in self.compiled.items():
            report(f'compiling {stage}', 2, 9)
            assert is_compiled.wait(60)

    def sample(self, ids, style):
        self.requests += 1
        return super().sample(ids, style)


def test_page_samples_while_the_rest_is_compiled(open_page):
    sampler = Compiling('styles')
    with serving(sampler=sampler) as running:
        page = open_page(running.url, reduced_motion='reduce')
        expect(page.locator('html')).to_have_attribute('data-link', 'ready')
        expect(page.locator('html')).to_have_attribute('data-shown', re.compile(r'\d+'))
        expect(page.locator('#status')).to_contain_text('compiling styles')
        sampler.compiled['styles'].set()
        expect(page.locator('#status')).not_to_contain_text('compiling')
        expect(page.locator('html')).to_have_attribute('data-link', 'ready')
        page.close()  # It may still load thumbnails.


@pytest.mark.parametrize('is_compiled', [False, True])
def test_images_that_are_slow_by_compilation_do_not_end_live_mode(open_studio, is_compiled):
    sampler = Compiling('styles', delay=lambda: 0.45)
    if is_compiled:
        sampler.compiled['styles'].set()
    with serving(sampler=sampler) as running:
        page = open_studio(running.url)
        for number in range(4):
            page.evaluate('(id) => test.paint(id)', 3 + number)
            expect_newest(page)
        assert page.evaluate('test.state.link.mode') == ('strokes' if is_compiled else 'live')
        sampler.compiled['styles'].set()
        page.close()


def test_refused_image_is_not_asked_for_again_at_each_stage(open_page):
    sampler = Compiling('label maps', 'styles')
    sampler.broken = Refused('memory', 'too large a map', 'use a smaller one')
    with serving(sampler=sampler) as running:
        page = open_page(running.url, reduced_motion='reduce')
        expect(page.get_by_text('too large a map').first).to_be_visible()
        sampler.compiled['label maps'].set()
        expect(page.locator('#status')).to_contain_text('compiling styles')
        sampler.compiled['styles'].set()
        expect(page.locator('#status')).not_to_contain_text('compiling')
        page.wait_for_timeout(300)  # What was asked for at the stages would be sampled now.
        assert sampler.requests == 1
        page.close()


SERVER = """
import sys, threading
from tests.studio.serving import serving
with serving(port=int(sys.argv[1])) as running:
    print(running.port, flush=True)
    threading.Event().wait()
"""


def start_server(port=0):
    """A server in a process of its own, and its port."""
    process = subprocess.Popen(
        [sys.executable, '-c', SERVER, str(port)], stdout=subprocess.PIPE, text=True
    )
    return process, int(process.stdout.readline())


def test_page_goes_on_when_the_server_is_killed(open_studio, expected_problems):
    expected_problems.append('ERR_CONNECTION_REFUSED|WebSocket connection|Failed to load')
    process, port = start_server()
    try:
        page = open_studio(f'http://127.0.0.1:{port}/')
        process.kill()
        process.wait()
        page.evaluate('test.paint(7)')
        bar = page.locator('.notice', has_text='The server is not there')
        expect(bar).to_be_visible(timeout=3000)
        page.evaluate('test.paint(8, 0, 0, 64, 64)')
        assert page.evaluate('[test.state.document.ids[0], test.state.document.ids[70]]') == [8, 7]
        process, _ = start_server(port)
        expect_newest(page, 5000)
        expect(bar).to_have_count(0)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
