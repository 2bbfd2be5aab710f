"""A server of the WebSocket alone, and a client that speaks to it, in the event loop of a test."""

import asyncio
import contextlib
import types

from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import websocket_connect

import spade_jax
from spade_jax.studio import messages
from spade_jax.studio.connections import Connections
from spade_jax.studio.live import LiveHandler

SEED = {'kind': 'seed', 'seed': 2, 'truncation': 1}
HELLO = {'op': 'hello', 'version': spade_jax.__version__}


def sample_frame(rev, ids, style=SEED, **changes):
    """The frame that a page sends for an image."""
    height, width = ids.shape
    header = dict(op='sample', rev=rev, width=width, height=height, dtype=str(ids.dtype))
    return messages.join(header | {'style': style, 'quick': False} | changes, ids.tobytes())


@contextlib.asynccontextmanager
async def serve(sampler, port=0):
    """The connections of a running server, and the address of its WebSocket."""
    connections = Connections(sampler)
    studio = types.SimpleNamespace(connections=connections)
    server = HTTPServer(Application([('/live', LiveHandler)], studio=studio))
    socket, port = bind_unused_port()
    server.add_socket(socket)
    connections.start()
    try:
        yield connections, f'ws://127.0.0.1:{port}/live'
    finally:
        connections.stop()
        server.stop()
        await server.close_all_connections()
        connections.queue.stop(10)


class Client:
    """A page without a browser."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def connect(cls, url, hello=HELLO, subprotocol=messages.SUBPROTOCOL):
        request = HTTPRequest(url, headers={'Origin': url.replace('ws', 'http').rstrip('/live')})
        protocols = [subprotocol] if subprotocol else None
        client = cls(await websocket_connect(request, subprotocols=protocols))
        if hello:
            await client.send(messages.join(hello))
        return client

    async def send(self, frame):
        await self.socket.write_message(frame, binary=isinstance(frame, bytes))

    async def read(self, *ops):
        """The header and payload of the next message, or of the next with one of `ops`.

        At the end of the connection: its closing code and reason.
        """
        while True:
            frame = await asyncio.wait_for(self.socket.read_message(), 20)
            if frame is None:
                return self.socket.close_code, self.socket.close_reason
            header, payload = messages.split(frame)
            if not ops or header['op'] in ops:
                return header, bytes(payload)

    async def ask(self, rev, ids, style=SEED, **changes):
        """The answer to a request of an image."""
        await self.send(sample_frame(rev, ids, style, **changes))
        return await self.read('image', 'refused')
