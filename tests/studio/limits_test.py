"""Slow clients, many clients and what their number costs, and requests while the server stops."""

import asyncio
import http.client
import threading

import numpy as np

from spade_jax.studio import handlers
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


def test_requests_of_open_connections_are_refused_while_the_server_stops(monkeypatch):
    reading, go_on = threading.Event(), threading.Event()

    def read_slowly(*_):
        reading.set()
        assert go_on.wait(20)
        return {}

    def status_of(connection, path='/api/examples/0/photo'):
        try:
            connection.request('GET', path)
            return connection.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            return None  # Closed already.

    monkeypatch.setattr(handlers, 'read_example', read_slowly)
    with serving() as served:
        address = '127.0.0.1', served.port
        busy, *opened = [http.client.HTTPConnection(*address, timeout=20) for _ in 'abcde']
        assert [status_of(connection) for connection in opened] == [200] * 4
        slow = threading.Thread(target=status_of, args=(busy, '/api/examples/0'))
        slow.start()
        assert reading.wait(20)
        served.stop()
        while not served.studio.is_stopping:
            pass
        try:
            assert {status_of(connection) for connection in opened} <= {503, None}
        finally:
            go_on.set()
            slow.join(20)
