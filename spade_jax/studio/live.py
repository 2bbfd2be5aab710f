"""The WebSocket of a page: its requests in, images and progress out."""

from __future__ import annotations

import asyncio
import logging

from tornado.websocket import WebSocketClosedError, WebSocketHandler

import spade_jax
from spade_jax.studio import messages
from spade_jax.studio.connections import Connections, Page
from spade_jax.studio.messages import Closing
from spade_jax.studio.style_messages import BadMessage


class LiveHandler(WebSocketHandler):
    """A page that is connected; `settings['studio'].connections` are all of them."""

    page: Page | None = None
    is_known = False  # After its first message.

    @property
    def max_message_size(self) -> int:
        """A frame up to this size is read, so that a refusal can be sent for too large a one."""
        return 2 * messages.LARGEST_FRAME

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """The protocol of `messages`, if the page speaks it."""
        return messages.SUBPROTOCOL if messages.SUBPROTOCOL in subprotocols else None

    def open(self) -> None:
        """Add the page, unless there are too many."""
        connections: Connections = self.settings['studio'].connections
        if self.selected_subprotocol is None:
            self.close(Closing.BAD_MESSAGE, f'the subprotocol is not {messages.SUBPROTOCOL}')
            return
        self.set_nodelay(True)
        page = Page(connections, self)
        if not connections.add(page):
            self.close(Closing.TOO_MANY, 'too many pages are open')
            return
        self.page = page

    def on_message(self, message: str | bytes) -> None:
        """Take over a request; close the connection of a page that writes anything else."""
        if self.page is None:  # It is being closed.
            return
        if len(message) > messages.LARGEST_FRAME:
            self._reject(Closing.TOO_LARGE, 'the message is too large')
            return
        try:
            self._take(message)
        except BadMessage as error:
            logging.info('a page was closed: %s', error)
            self._reject(Closing.BAD_MESSAGE, 'the message is not understood')

    def on_close(self) -> None:
        """Forget the page."""
        if self.page is not None:
            self.settings['studio'].connections.remove(self.page)
            self.page = None

    def send(self, frame: bytes) -> asyncio.Future[None] | None:
        """Send a frame to the page; None if it is gone."""
        try:
            return self.write_message(frame, binary=True)
        except WebSocketClosedError:
            return None

    def _take(self, message: str | bytes) -> None:
        assert self.page is not None
        if isinstance(message, str):
            raise BadMessage('a message is text')
        request = messages.parse(message)
        if isinstance(request, messages.Hello) == self.is_known:
            raise BadMessage('hello is not the first message, or comes twice')
        if not isinstance(request, messages.Hello):
            self.page.receive(request)
        elif request.version == spade_jax.__version__:
            self.is_known = True
        else:
            self._reject(Closing.OTHER_VERSION, f'the server is version {spade_jax.__version__}')

    def _reject(self, code: int, reason: str) -> None:
        self.close(code, reason)
        self.on_close()
