"""The WebSocket of a page: images, refusals, closing codes, fair turns, bounded memory."""

import asyncio
import random
import threading
import time

import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.studio import connections, messages
from spade_jax.studio.sampler import Refused
from spade_jax.studio.style_messages import Seed
from tests.studio.live_server import HELLO, SEED, Client, sample_frame, serve
from tests.studio.messages_test import is_read, mutated
from tests.studio.stand_in import StandIn, image_of

IDS = np.arange(128 * 128, dtype=np.int64).reshape(128, 128).astype(np.uint8) % 13


def with_server(test, sampler=None):
    """Run `test(connections, url)` in the event loop of a server."""

    async def run():
        async with serve(sampler or StandIn()) as (running, url):
            return await asyncio.wait_for(test(running, url), 60)

    return asyncio.run(run())


def variations_frame(rev, ids, styles):
    height, width = ids.shape
    header = dict(op='variations', rev=rev, width=width, height=height, dtype='uint8')
    return messages.join(header | {'styles': styles}, ids.tobytes())


def test_image_is_that_of_the_map_and_the_style():
    async def test(_, url):
        page = await Client.connect(url)
        header, payload = await page.ask(17, IDS)
        assert (header['rev'], header['width'], header['height']) == (17, 128, 128)
        assert payload == image_of(IDS, Seed(2)).tobytes()

    with_server(test)


def test_quick_image_of_a_prepared_map_is_told_to_be_one():
    async def test(running, url):
        page, sampler = await Client.connect(url), running.sampler
        sampler.is_quick = True
        assert (await page.ask(1, IDS, quick=True))[0]['exact'] is True
        sampler.prepare(IDS)
        header, payload = await page.ask(2, IDS, quick=True)
        assert header['exact'] is False and payload == (image_of(IDS, Seed(2)) - 1).tobytes()
        header, payload = await page.ask(3, IDS)
        assert header['exact'] is True and payload == image_of(IDS, Seed(2)).tobytes()

    with_server(test)


def test_stages_are_told_until_the_model_is_ready():
    is_loaded = threading.Event()

    class Slow(StandIn):
        def load(self, report):
            super().load(report)
            assert is_loaded.wait(20)

    async def test(running, url):
        page = await Client.connect(url)
        states = [(await page.read('state'))[0]]
        while states[-1]['stage'] != 'compile':
            states.append((await page.read('state'))[0])
        late = await Client.connect(url)
        assert (await late.read('state'))[0]['stage'] == 'compile'
        await page.send(sample_frame(1, IDS))  # It is answered when the model is loaded.
        is_loaded.set()
        header, _ = await page.read('image')
        assert header['rev'] == 1 and running.progress.state == 'ready'
        assert {state['state'] for state in states} <= {'loading', 'compiling'}

    with_server(test, Slow(stages=('load', 'compile')))


def test_images_come_while_it_still_compiles(monkeypatch):
    monkeypatch.setattr(connections, 'STILL', 60)
    is_loaded = threading.Event()

    class Slow(StandIn):
        def load(self, report):
            super().load(report)
            report('compiling styles', 2, 3)
            assert is_loaded.wait(20)

    async def test(running, url):
        page = await Client.connect(url)
        header, payload = await page.ask(1, IDS)
        assert header['op'] == 'image' and payload == image_of(IDS, Seed(2)).tobytes()
        state = running.progress
        assert (state.state, state.stage, state.milliseconds) == ('ready', 'compiling styles', 1)
        assert not running.sampler.prepared
        is_loaded.set()
        while (await page.read('state'))[0]['stage']:
            pass
        await page.ask(2, IDS)
        await page.ask(3, IDS)  # What was sampled before is prepared now.
        np.testing.assert_array_equal(running.sampler.prepared, [IDS])

    with_server(test, Slow())


def test_progress_is_repeated_while_a_stage_takes_long(monkeypatch):
    monkeypatch.setattr(connections, 'HEARTBEAT', 0.02)
    is_loaded = threading.Event()

    class Slow(StandIn):
        def load(self, report):
            assert is_loaded.wait(20)

    async def test(_, url):
        page = await Client.connect(url)
        states = [(await page.read('state'))[0] for _ in range(4)]
        is_loaded.set()
        assert states[-1]['seconds'] >= states[0]['seconds']

    with_server(test, Slow())


@pytest.mark.parametrize('error', [UserError('no checkpoint', 'train'), ValueError('odd')])
def test_model_that_cannot_be_loaded_is_told(error):
    class Broken(StandIn):
        def load(self, report):
            raise error

    async def test(_, url):
        page = await Client.connect(url)
        while (state := (await page.read('state'))[0])['state'] != 'failed':
            pass
        assert str(error) in state['stage']
        header, _ = await page.ask(1, IDS)
        assert header['op'] == 'refused' and header['code'] == 'failed'

    with_server(test, Broken())


@pytest.mark.parametrize(
    'ids, error, code',
    [
        (IDS + 13, None, 'ids'),
        (IDS[:64], None, 'size'),
        (IDS, Refused('memory', 'too large', 'use a smaller one'), 'memory'),
        (IDS, RuntimeError('inside'), 'failed'),
    ],
)
def test_refusal_has_code_and_words_and_the_page_goes_on(ids, error, code):
    async def test(running, url):
        page = await Client.connect(url)
        running.sampler.broken = error
        header, _ = await page.ask(3, ids)
        assert (header['op'], header['rev'], header['code']) == ('refused', 3, code)
        assert header['problem'] and 'inside' not in header['problem']
        running.sampler.broken = None
        assert (await page.ask(4, IDS))[1] == image_of(IDS, Seed(2)).tobytes()

    with_server(test)


def test_variations_come_one_by_one_and_only_the_newest():
    async def test(running, url):
        page = await Client.connect(url)
        styles = [SEED | {'seed': seed} for seed in range(6)]
        await page.send(variations_frame(1, IDS, styles[:1]))
        await page.send(variations_frame(2, IDS, styles))
        images = {}
        while len(images) < 6:
            header, payload = await page.read('variation')
            if header['rev'] == 2:
                images[header['index']] = payload
        for seed in range(6):
            assert images[seed] == image_of(IDS, Seed(seed)).tobytes()
        await page.ask(3, IDS)
        assert running.sampler.sampled <= 8

    with_server(test)


def test_map_is_prepared_when_it_is_still(monkeypatch):
    monkeypatch.setattr(connections, 'STILL', 0.05)

    async def test(running, url):
        page = await Client.connect(url)
        for rev in range(5):  # No change is followed by a pause, but the last.
            await page.send(sample_frame(rev, IDS // (rev + 1)))
        await page.read('image')
        while not running.sampler.prepared:
            await asyncio.sleep(0)
        (prepared,) = running.sampler.prepared
        np.testing.assert_array_equal(prepared, IDS // 5)

    with_server(test)


@pytest.mark.parametrize(
    'frame, code',
    [
        ('text', 4400),
        (b'', 4400),
        (messages.join(HELLO), 4400),
        (sample_frame(1, IDS)[:-1], 4400),
        (bytes(messages.LARGEST_FRAME + 1), 4413),
    ],
)
def test_connection_is_closed_for_a_bad_message(frame, code, caplog):
    async def test(running, url):
        page = await Client.connect(url)
        await page.send(frame)
        assert (await page.read('image'))[0] == code
        assert not running.pages
        other = await Client.connect(url)
        assert (await other.ask(1, IDS))[1] == image_of(IDS, Seed(2)).tobytes()

    with_server(test)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    'hello, subprotocol, code',
    [
        (HELLO | {'version': '0'}, messages.SUBPROTOCOL, 4426),
        ({'op': 'sample'}, messages.SUBPROTOCOL, 4400),
        (None, None, 4400),
        (None, 'chat', 4400),
    ],
)
def test_connection_is_closed_for_another_page(hello, subprotocol, code):
    async def test(_, url):
        page = await Client.connect(url, hello, subprotocol)
        if hello is None and subprotocol:
            return
        assert (await page.read('image'))[0] == code

    with_server(test)


def test_request_before_hello_is_refused():
    async def test(_, url):
        page = await Client.connect(url, hello=None)
        assert (await page.ask(1, IDS))[0] == 4400

    with_server(test)


def test_one_page_too_many_is_told_so_and_the_others_stay():
    async def test(running, url):
        pages = [await Client.connect(url) for _ in range(connections.MOST_PAGES)]
        assert (await (await Client.connect(url)).read('state'))[0] == 4429
        assert (await pages[0].ask(1, IDS))[0]['op'] == 'image'
        pages[0].socket.close()
        while len(running.pages) == connections.MOST_PAGES:
            await asyncio.sleep(0)
        assert (await (await Client.connect(url)).ask(1, IDS))[0]['op'] == 'image'

    with_server(test)


def test_pages_are_told_that_the_server_stops():
    async def test(running, url):
        page = await Client.connect(url)
        await page.ask(1, IDS)
        running.stop()
        assert (await page.read('image'))[0] == 4503

    with_server(test)


def test_mutated_frames_make_no_image_and_change_none(caplog):
    """They close the connection; then the server samples the same bits as before."""
    rng, good = random.Random(0), sample_frame(1, IDS[:32, :32])
    frames = [frame for frame in (mutated(rng, good) for _ in range(30)) if not is_read(frame)]
    sampler = StandIn(32, 32)

    async def test(running, url):
        for frame in frames:
            page = await Client.connect(url)
            await page.send(frame)
            assert (await page.read('image', 'refused'))[0] == 4400
        assert not sampler.sampled and not running.pages
        page = await Client.connect(url)
        assert (await page.ask(1, IDS[:32, :32]))[1] == image_of(IDS[:32, :32], Seed(2)).tobytes()

    with_server(test, sampler)
    assert len(frames) > 10
    assert not [record for record in caplog.records if record.exc_info]


def test_four_painting_pages_get_equal_shares():
    async def test(running, url):
        pages = [await Client.connect(url) for _ in range(4)]
        counts = [0] * 4

        async def paint(number):
            while sum(counts) < 80:
                await pages[number].ask(counts[number], IDS)
                counts[number] += 1

        await asyncio.gather(*map(paint, range(4)))
        assert all(0.2 <= count / sum(counts) <= 0.3 for count in counts), counts

    with_server(test, StandIn(delay=lambda: 0.01))


def test_flooding_page_takes_no_more_than_its_turn():
    async def test(_, url):
        quiet, flood = await Client.connect(url), await Client.connect(url)
        is_over = asyncio.Event()

        async def send():
            while not is_over.is_set():
                await flood.send(sample_frame(1, IDS))
                await asyncio.sleep(0.001)

        async def seconds_of(images):
            start = time.monotonic()
            for rev in range(images):
                await quiet.ask(rev, IDS)
            return time.monotonic() - start

        await quiet.ask(0, IDS)
        alone = await seconds_of(15)
        sending = asyncio.create_task(send())
        together = await seconds_of(15)
        is_over.set()
        await sending
        assert alone / together >= 0.8 * 0.5

    with_server(test, StandIn(delay=lambda: 0.03))


def test_page_that_does_not_read_gets_no_more_images():
    """Its images would fill the memory of the server."""
    ids = np.zeros((512, 512), np.uint8)

    async def test(running, url):
        page, other = await Client.connect(url), await Client.connect(url)
        for rev in range(40):
            await page.send(sample_frame(rev, ids))
            await other.ask(rev, ids[:32, :32])  # Meanwhile the first one has had its turn.
        assert running.sampler.sampled < 40 + 30

    with_server(test, StandIn(fixed_size=False))
