"""The connected pages: the newest request of each, and what it has not read yet.

Everything here runs in the thread of the event loop, but for the jobs, which run in the sampling
thread, and the loading of the model; they hand their answers back.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from spade_jax.errors import UserError
from spade_jax.studio import messages
from spade_jax.studio.messages import (
    Closing,
    Image,
    Progress,
    Refusal,
    SampleRequest,
    Variation,
    VariationsRequest,
    Waiting,
)
from spade_jax.studio.request_queue import Rank, RequestQueue
from spade_jax.studio.sampler import VARIATIONS_TOGETHER, Refused, Sampler

MOST_PAGES = 32
MOST_UNREAD = 8  # Messages that a page has not read; nothing is sampled for it meanwhile.
STILL = 0.3  # Seconds without a change of the label map after which it is prepared.
HEARTBEAT = 1.0  # Seconds between messages while the model is loaded and compiled.


class Socket(Protocol):
    """The WebSocket of a page."""

    def send(self, frame: bytes) -> asyncio.Future[None] | None:
        """Send a frame; the future is done when it is on its way. None: the page is gone."""

    def close(self, code: int, reason: str) -> None:
        """Close the connection."""


class Connections:
    """All connected pages, with the sampler and the two threads that use it.

    Args:
      sampler: It is loaded in a thread of its own. The sampling thread begins as soon as there can
        be images.
    """

    def __init__(self, sampler: Sampler):
        self.sampler, self.queue = sampler, RequestQueue()
        self.pages: set[Page] = set()
        self.progress, self._has_images = Progress('loading'), threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loading: threading.Thread | None = None
        self._started = 0.0

    def start(self) -> None:
        """Load the model, and start the sampling thread; the event loop is running."""
        self._loop, self._started = asyncio.get_running_loop(), time.monotonic()
        self._loading = threading.Thread(target=self._load, name='loading', daemon=True)
        self._loading.start()
        self.queue.start(self._has_images.wait)
        self._beat()

    def stop(self) -> None:
        """Close the pages and end the sampling thread, without waiting for its job."""
        for page in [*self.pages]:
            self.remove(page)
            page.socket.close(Closing.STOPPED, 'the server stops')
        self.queue.stop()
        self._has_images.set()

    @property
    def has_ended(self) -> bool:
        """Whether the threads have ended, after `stop`."""
        is_loading = self._loading is not None and self._loading.is_alive()
        return self.queue.stop() and not is_loading

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in the thread of the event loop, from another thread."""
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def add(self, page: Page) -> bool:
        """Add a page and tell it the progress; False if there are too many."""
        if len(self.pages) >= MOST_PAGES:
            return False
        self.pages.add(page)
        page.write(self._progress_now())
        return True

    def remove(self, page: Page) -> None:
        """Forget a page and its requests."""
        self.pages.discard(page)
        page.close()

    async def encode(self, image: np.ndarray) -> np.ndarray:
        """The latent [D] of an image [H, W, 3], in turn with the images of the pages."""
        return await asyncio.wrap_future(self.queue.submit(self.sampler.encode, image))

    def _load(self) -> None:
        """In a thread of its own: load the model, and report it to the pages."""

        def report(stage: str, done: int, of: int) -> None:
            milliseconds = self.sampler.milliseconds
            state = 'ready' if milliseconds else 'compiling' if done else 'loading'
            self._report(Progress(state, stage, done, of, milliseconds=milliseconds))

        try:
            self.sampler.load(report)
        except Exception as error:
            if not isinstance(error, UserError):
                logging.exception('the model cannot be loaded')
            self._report(Progress('failed', f'the model cannot be loaded: {error}'))
            return
        self._report(Progress('ready', milliseconds=self.sampler.milliseconds))
        self.post(self._prepare)

    def _report(self, progress: Progress) -> None:
        """In the loading thread: let all pages know the progress."""
        self.progress = progress
        if progress.state in ('ready', 'failed'):
            self._has_images.set()
        self.post(self._tell)

    def _prepare(self) -> None:
        """Prepare the label maps that could not be prepared while the rest was compiled."""
        for page in self.pages:
            page.prepare()

    def _tell(self) -> None:
        for page in [*self.pages]:
            page.write(self._progress_now())

    def _progress_now(self) -> Progress:
        seconds = round(time.monotonic() - self._started, 1)
        return dataclasses.replace(self.progress, seconds=seconds)

    def _beat(self) -> None:
        if self._loop and self.progress.state not in ('ready', 'failed'):
            self._tell()
            self._loop.call_later(HEARTBEAT, self._beat)


class Page:
    """A connected page.

    Args:
      connections: To which it belongs.
      socket: Of the page.
    """

    def __init__(self, connections: Connections, socket: Socket):
        self._connections, self.socket = connections, socket
        self._queue, self._sampler = connections.queue, connections.sampler
        self._newest: SampleRequest | None = None
        self._variations: VariationsRequest | None = None  # The newest, and what of it is next.
        self._next: int | None = None
        self._ids: np.ndarray | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread, self._is_closed = 0, False

    def receive(self, request: SampleRequest | VariationsRequest) -> None:
        """Take over a request in place of an older one."""
        if isinstance(request, VariationsRequest):
            self._variations, self._next = request, 0
        else:
            self._newest = request
            self._prepare_when_still(request.ids)
        self._put_waiting()

    def write(self, answer: messages.Answer) -> None:
        """Send an answer."""
        sent = None if self._is_closed else self.socket.send(messages.frame_of(answer))
        if sent is not None:
            self._unread += 1
            sent.add_done_callback(self._read)

    def prepare(self) -> None:
        """Prepare the label map of the newest request, in turn."""
        if self._ids is not None and not self._is_closed:
            self._queue.put(self, Rank.PREPARATION, functools.partial(self._prepare, self._ids))

    def close(self) -> None:
        """Forget its requests."""
        self._is_closed, self._newest, self._variations, self._next = True, None, None, None
        if self._timer:
            self._timer.cancel()
        self._queue.drop(self)

    def _read(self, sent: asyncio.Future[None]) -> None:
        if not sent.cancelled():
            sent.exception()  # The socket hears that the page is gone; the log does not.
        self._unread -= 1
        self._put_waiting()

    def _put_waiting(self) -> None:
        """Put what is wanted into the queue, unless the page reads too slowly."""
        if self._unread >= MOST_UNREAD:
            return
        if request := self._newest:
            self._newest = None
            job = functools.partial(self._sample, request, time.monotonic())
            if before := self._queue.put(self, Rank.IMAGE, job):
                self.write(Waiting(request.revision, before))
        if self._variations and self._next is not None:
            job, self._next = functools.partial(self._vary, self._variations, self._next), None
            self._queue.put(self, Rank.VARIATIONS, job)

    def _prepare_when_still(self, ids: np.ndarray) -> None:
        """Prepare a label map when it has not changed for a while: styles may come next."""
        if self._ids is not None and np.array_equal(ids, self._ids):
            return
        self._ids = ids
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(STILL, self.prepare)

    def _sample(self, request: SampleRequest, since: float) -> None:
        """In the sampling thread: sample an image."""
        start = time.monotonic()
        image = self._attempt(request, self._image, request)
        if image is not None:
            rgb, exact = image
            waited, took = (round(1000 * x) for x in (start - since, time.monotonic() - start))
            self._post(self.write, Image(request.revision, rgb, exact, took, waited))

    def _image(self, request: SampleRequest) -> tuple[np.ndarray, bool]:
        """The image of a request, and whether it is exact."""
        wanted = request.ids, request.style
        quick = self._sampler.quick(*wanted) if request.quick else None
        return (self._sampler.sample(*wanted), True) if quick is None else (quick, False)

    def _vary(self, request: VariationsRequest, first: int) -> None:
        """In the sampling thread: sample some variations."""
        styles = request.styles[first : first + VARIATIONS_TOGETHER]
        images = self._attempt(request, self._sampler.variations, request.ids, styles)
        if images is not None:
            for index, rgb in enumerate(images, first):
                self._post(self.write, Variation(request.revision, index, rgb))
            self._post(self._go_on, request, first + len(styles))

    def _go_on(self, request: VariationsRequest, first: int) -> None:
        """Continue with the variations from the `first` on, if there is no newer request."""
        if request is self._variations and first < len(request.styles):
            self._next = first
            self._put_waiting()

    def _prepare(self, ids: np.ndarray) -> None:
        """In the sampling thread: prepare a label map; its image reports an error."""
        try:
            self._sampler.prepare(ids)
        except UserError:
            pass

    def _attempt(
        self, request: SampleRequest | VariationsRequest, function: Callable[..., Any], *args: Any
    ) -> Any:
        """The result, or None after a refusal."""
        try:
            if self._connections.progress.state == 'failed':
                raise Refused('failed', self._connections.progress.stage)
            return function(*args)
        except UserError as error:
            code = error.code if isinstance(error, Refused) else 'failed'
            refusal = Refusal(request.revision, code, error.problem, error.remedy)
        except Exception:
            logging.exception('an image could not be sampled')
            remedy = 'the log of the server says why'
            refusal = Refusal(request.revision, 'failed', 'the image could not be sampled', remedy)
        self._post(self.write, refusal)
        return None

    def _post(self, function: Callable[..., Any], *args: Any) -> None:
        self._connections.post(function, *args)
