"""Serve the studio from a thread of this process, at a free port."""

import asyncio
import contextlib
import http.client
import json
import threading

from spade_jax.studio import description, guards, server
from tests.studio.small_demo import small_demo
from tests.studio.stand_in import StandIn


class Served:
    """A running server.

    Attributes:
      studio: The `server.Studio`.
      port: The port of 127.0.0.1.
      stop: Ends the server, from any thread.
    """

    def __init__(self, studio, port, stop):
        self.studio, self.port, self.stop = studio, port, stop
        self.url = f'http://127.0.0.1:{port}'

    def request(self, method, path, body=None, **headers):
        """Status, headers and body of a response; `Host_name` and the like set headers."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=20)
        named = {name.replace('_', '-'): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, path, body, kind='application/octet-stream', **headers):
        """As the page posts: status and the JSON, or the bytes, of the response."""
        own = {'Origin': self.url, 'X_Studio': '1', 'Content_Type': kind, **headers}
        status, received, content = self.request('POST', path, body, **own)
        is_json = received['Content-Type'].startswith('application/json')
        return status, json.loads(content) if is_json else content

    def get(self, path):
        """The JSON at an address."""
        status, _, content = self.request('GET', path)
        assert status == 200, content
        return json.loads(content)


@contextlib.contextmanager
def serving(workdir=None, *, access=None, sampler=None, port=0, **options):
    """A `Served` studio of a work directory, or of a small demo.

    `access` is made from the port, and `options` go to `server.serve`.
    """
    sockets = server.bind('127.0.0.1', port)
    port = sockets[0].getsockname()[1]
    made = (access or (lambda port: guards.Access.create('127.0.0.1', port)))(port)
    run = description.Run.open(workdir) if workdir else small_demo()
    home = f'http://127.0.0.1:{port}/'
    studio = server.Studio(run, made, sampler or StandIn(), home)
    started, ended = threading.Event(), []

    async def serve():
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        ended.append(lambda: loop.is_closed() or loop.call_soon_threadsafe(stop.set))
        await server.serve(studio, sockets, stop, on_ready=started.set, **options)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    try:
        yield Served(studio, port, ended[0])
    finally:
        ended[0]()
        thread.join(20)
        assert not thread.is_alive()
