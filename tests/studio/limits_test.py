"""Slow clients, many clients, and what their number costs a page that paints."""

import asyncio

import numpy as np

from spade_jax.studio.connections import MOST_PAGES
from spade_jax.studio.messages import Closing
from spade_jax.studio.server import MOST_CONNECTIONS
from spade_jax.studio.style_messages import Seed
from tests.studio.live_server import SEED, Client
from tests.studio.serving import serving
from tests.studio.stand_in import image_of

IDS, STYLE = np.zeros((128, 128), np.uint8), Seed(**{k: SEED[k] for k in ('seed', 'truncation')})
HEADER = b'GET /api/model HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ' + b'a' * 10_000
POST = (
    'POST /api/import HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\n'
    'X-Studio: 1\r\nContent-Type: image/png\r\nContent-Length: 10000\r\n\r\n'
)


async def trickle(port, start, rest):
    """Send `start`, then a byte at a time; the seconds until the server closes the connection."""
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    began = loop.time()
    try:
        writer.write(start)
        for byte in rest:
            writer.write(bytes([byte]))
            try:
                async with asyncio.timeout(0.1):
                    if not await reader.read(1000):
                        break
            except TimeoutError:
                continue
    except ConnectionError:
        pass
    finally:
        writer.close()
    return loop.time() - began


async def images_of(client, number):
    """Ask for some images, one after the other; all are those of the stand-in."""
    for revision in range(1, number + 1):
        _, rgb = await client.ask(revision, IDS)
        assert rgb == image_of(IDS, STYLE).tobytes()


def paint_beside(port, start, rest):
    async def run():
        url = f'ws://127.0.0.1:{port}/live'
        early = await Client.connect(url)
        slow = [asyncio.create_task(trickle(port, start, rest)) for _ in range(MOST_CONNECTIONS)]
        await images_of(early, 10)
        await images_of(await Client.connect(url), 10)
        return await asyncio.gather(*slow)

    return asyncio.run(run())


def test_slow_headers_are_closed_while_a_page_paints():
    with serving(header_seconds=0.5) as served:
        seconds = paint_beside(served.port, HEADER[:20], HEADER[20:])
    assert max(seconds) < 20  # Of a thousand that the bytes would take.


def test_slow_bodies_are_closed_while_a_page_paints():
    with serving(body_seconds=0.5) as served:
        seconds = paint_beside(served.port, POST.format(served.port).encode(), bytes(10_000))
    assert max(seconds) < 20


def test_an_upload_that_is_too_large_is_told_so():
    with serving() as served:
        status, error = served.post('/api/import', bytes(60 << 20))
        assert status == 413 and error['remedy'] == 'send at most 20971520 bytes'
        assert served.get('/api/model')


def test_one_page_too_many_is_told_so():
    async def run(url):
        clients = [await Client.connect(url) for _ in range(MOST_PAGES)]
        late = await Client.connect(url, hello=None)
        code, _ = await late.read('none')
        await images_of(clients[0], 2)
        await images_of(clients[-1], 2)
        return code

    with serving() as served:
        assert asyncio.run(run(f'ws://127.0.0.1:{served.port}/live')) == Closing.TOO_MANY


def test_stop_closes_pages_with_a_code():
    async def run(served):
        client = await Client.connect(f'ws://127.0.0.1:{served.port}/live')
        await images_of(client, 1)
        served.stop()
        code, _ = await client.read('none')
        return code

    with serving() as served:
        assert asyncio.run(run(served)) == Closing.STOPPED
