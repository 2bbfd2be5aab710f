"""The server of the studio: it binds, prints its address, serves the page, then loads the model."""

import asyncio
import concurrent.futures
import contextlib
import errno
import http
import json
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application

from spade_jax.errors import UserError
from spade_jax.studio import guards
from spade_jax.studio.connections import Connections
from spade_jax.studio.description import Run, describe
from spade_jax.studio.examples import find_examples
from spade_jax.studio.handlers import ROUTES, NotFound, static_files
from spade_jax.studio.sampler import Sampler

MOST_CONNECTIONS = 64
_HEADER_SECONDS, _BODY_SECONDS, _PING_SECONDS = 10, 30, 20
_LINGER_SECONDS, _STOP_SECONDS = 5, 2
_PIECE = 1 << 16


class Studio:
    """What the handlers share.

    Attributes:
      run: The run whose model samples.
      access: Whom the server answers.
      home: The address that the page has; '' if it has several.
      examples: Label maps with which a page can begin.
      files: The files of the page by their addresses.
      decoder: The thread that decodes files, one at a time.
      connections: The pages, and the sampler with its thread.
      is_stopping: Whether nothing more is answered.
    """

    def __init__(
        self,
        run: Run,
        access: guards.Access,
        sampler: Sampler,
        home: str = '',
        command: Sequence[str] = (),
    ):
        self.run, self.access, self.home = run, access, home
        self.attempts = guards.TokenAttempts()
        self.examples, self.files = find_examples(run.workdir), static_files()
        self.decoder = concurrent.futures.ThreadPoolExecutor(1, 'studio-decoder')
        self.connections, self.is_stopping = Connections(sampler), False
        self._description = describe(run, [*command])

    def describe(self) -> dict[str, Any]:
        """What a page must know of the model; how long an image takes is 0 until it is known."""
        return self._description | dict(milliseconds=self.connections.sampler.milliseconds)


def application(studio: Studio) -> Application:
    """The application, without its guards."""
    return Application(
        ROUTES,
        studio=studio,
        default_handler_class=NotFound,
        log_function=lambda _: None,
        compress_response=True,
        websocket_ping_interval=_PING_SECONDS,
        websocket_ping_timeout=_PING_SECONDS,
    )


class GuardedServer(HTTPServer):
    """A server that asks `guards.check` before anything else sees a request."""

    def initialize(self, studio: Studio, header_seconds: float, body_seconds: float) -> None:
        """Make the server; slower requests are closed."""
        self._streams: dict[IOStream, None] = {}  # Of open connections, the oldest first.
        super().initialize(
            _Gate(studio.access, application(studio)),
            max_header_size=guards.MOST_HEADER_BYTES,
            max_body_size=max(upload.most_bytes for upload in guards.UPLOADS.values()),
            idle_connection_timeout=header_seconds,
            body_timeout=body_seconds,
            chunk_size=_PIECE,
        )

    def handle_stream(self, stream: IOStream, address: tuple) -> None:
        if len(self._streams) >= MOST_CONNECTIONS:  # Slow clients may not keep a page out.
            oldest = next(iter(self._streams))
            del self._streams[oldest]
            oldest.close()
        self._streams[stream] = None
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:
        super().on_close(server_conn)
        self._streams.pop(server_conn.stream, None)  # Of a page whose WebSocket is open, too.


class _Gate(HTTPServerConnectionDelegate):
    """Hands on what the guards admit."""

    def __init__(self, access: guards.Access, admitted: Application):
        self._access, self._admitted = access, admitted

    def start_request(self, server_conn, request_conn) -> HTTPMessageDelegate:
        inner = self._admitted.start_request(server_conn, request_conn)
        return _Guarded(self._access, request_conn, inner)


class _Guarded(HTTPMessageDelegate):
    """One request."""

    def __init__(self, access: guards.Access, connection: Any, inner: HTTPMessageDelegate):
        self._access, self._connection = access, connection
        self.data_received, self.finish = inner.data_received, inner.finish
        self.on_connection_close, self._inner = inner.on_connection_close, inner

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        method, target, _ = start_line
        refusal = guards.check(method, target, headers, self._access)
        if refusal is None:
            return self._inner.headers_received(start_line, headers)
        host = '' if refusal.status == 421 else headers['Host']
        return _refuse(self._connection.detach(), refusal, host, is_head=method == 'HEAD')


async def _refuse(stream: IOStream, refusal: guards.Refusal, host: str, *, is_head: bool) -> None:
    """Answer, and close the connection.

    What the client goes on sending is read first: closing at once would drop the answer.
    """
    body = json.dumps(dict(problem=refusal.problem, remedy=refusal.remedy)).encode()
    headers = {
        **guards.response_headers(host),
        'Content-Type': 'application/json',
        'Content-Length': len(body),
        'Connection': 'close',
    }
    lines = [f'HTTP/1.1 {refusal.status} {http.HTTPStatus(refusal.status).phrase}']
    lines += [f'{name}: {value}' for name, value in headers.items()]
    head = '\r\n'.join([*lines, '', '']).encode('latin-1')
    with contextlib.suppress(StreamClosedError, TimeoutError, OSError):
        async with asyncio.timeout(_LINGER_SECONDS):
            await stream.write(head if is_head else head + body)
            if stream.socket:
                stream.socket.shutdown(socket.SHUT_WR)
            while True:
                await stream.read_bytes(_PIECE, partial=True)
    stream.close()


def bind(address: str, port: int) -> list[socket.socket]:
    """Sockets that listen; port 0 is any free one.

    Raises:
      UserError: The address is none of this machine, or the port is taken.
    """
    try:
        return bind_sockets(port, address)
    except socket.gaierror as error:
        problem = f'address={address} is not an address of this machine ({error.strerror})'
        raise UserError(problem, 'use --address=127.0.0.1, or 0.0.0.0 for all') from None
    except OSError as error:
        remedy = 'choose another one, such as --port=8129'
        if error.errno == errno.EADDRINUSE:
            remedy = f'stop the other program, or {remedy}; drafts in the browser stay with {port}'
        if error.errno == errno.EADDRNOTAVAIL:
            remedy = 'use --address=127.0.0.1, or 0.0.0.0 for all'
        problem = f'address={address} port={port} cannot be used ({error.strerror})'
        raise UserError(problem, remedy) from None


async def serve(
    studio: Studio,
    sockets: list[socket.socket],
    stop: asyncio.Event,
    *,
    on_ready: Callable[[], object] = lambda: None,
    header_seconds: float = _HEADER_SECONDS,
    body_seconds: float = _BODY_SECONDS,
) -> None:
    """Serve until `stop` is set, then close everything.

    Args:
      studio: What is served.
      sockets: From `bind`.
      stop: Ends the server.
      on_ready: Called when the page is served, before the model is loaded.
      header_seconds: How long a request may take to arrive without its body; or be idle.
      body_seconds: How long its body may take.
    """
    logging.getLogger('tornado.general').setLevel(logging.ERROR)  # Others' malformed requests.
    server = GuardedServer(studio, header_seconds, body_seconds)
    server.add_sockets(sockets)
    on_ready()
    studio.connections.start()
    try:
        await stop.wait()
    finally:
        server.stop()
        studio.is_stopping = True
        studio.connections.stop()
        studio.decoder.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await server.close_all_connections()
        studio.connections.queue.stop(_STOP_SECONDS)


async def serve_until_signal(
    studio: Studio, sockets: list[socket.socket], on_ready: Callable[[], object]
) -> None:
    """Serve until the process is interrupted or asked to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await serve(studio, sockets, stop, on_ready=on_ready)
