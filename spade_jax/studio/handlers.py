"""What the server answers to requests that the guards admit."""

import asyncio
import base64
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

from tornado.web import HTTPError, RequestHandler

from spade_jax.errors import UserError
from spade_jax.studio import guards, time_lapse, uploads
from spade_jax.studio.examples import (
    list_examples,
    read_example,
    read_photo_file,
    thumbnail_of,
    type_of_photo,
)
from spade_jax.studio.label_imports import import_map
from spade_jax.studio.live import LiveHandler

STOPPING = 'the studio stops'
STATIC = pathlib.Path(__file__).with_name('static')
_TYPES = {
    '.css': 'text/css; charset=utf-8',
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.json': 'application/json',
    '.png': 'image/png',
    '.svg': 'image/svg+xml',
    '.txt': 'text/plain; charset=utf-8',
    '.woff2': 'font/woff2',
}


def static_files() -> dict[str, pathlib.Path]:
    """The files of the page by their addresses: no other path reaches the file system."""
    files = sorted(path for path in STATIC.rglob('*') if path.suffix in _TYPES)
    named = {f'/static/{path.relative_to(STATIC).as_posix()}': path for path in files}
    return {'/': STATIC / 'index.html', **named}


class Answer(RequestHandler):
    """A response with the headers of every response, and errors as {problem, remedy}."""

    @property
    def studio(self) -> Any:
        """The `server.Studio` of the application."""
        return self.application.settings['studio']

    def prepare(self) -> None:
        if self.studio.is_stopping:  # A request of a connection that was open before.
            self.refuse(503, STOPPING)

    def set_default_headers(self) -> None:
        self.clear_header('Server')
        for name, value in guards.response_headers(self.request.headers.get('Host', '')).items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **_) -> None:
        self.finish(dict(problem=self._reason, remedy=''))

    def refuse(self, status: int, problem: str, remedy: str = '') -> None:
        """Answer with an error."""
        self.set_status(status)
        self.finish(dict(problem=problem, remedy=remedy))

    async def answer(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Answer with what `work` returns in the thread that decodes files, or with its error."""
        try:
            self.finish(await self.in_thread(work, *arguments))
        except UserError as error:
            self.refuse(422, error.problem, error.remedy)

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of `work` in the thread that decodes files, one at a time."""
        call = functools.partial(work, *arguments)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.studio.decoder, call)
        except asyncio.CancelledError:
            raise HTTPError(503, reason=STOPPING) from None

    def argument(self, name: str, default: str = '', most: int = 200) -> str:
        """A value of the query, cut to `most` characters."""
        return self.get_query_argument(name, default)[:most]


class NotFound(Answer):
    """No address of the studio."""

    def prepare(self) -> None:
        self.refuse(404, 'there is nothing at this address')


class Page(Answer):
    """The files of the page."""

    def get(self) -> None:
        host, is_page = self.request.headers['Host'], self.request.path == '/'
        if is_page and self.studio.home and host.lower().startswith('localhost:'):
            self.redirect(self.studio.home, status=307)  # Drafts belong to one name of the server.
            return
        path = self.studio.files.get(self.request.path)
        if path is None or not path.is_file():
            self.refuse(404, 'there is nothing at this address')
            return
        self.set_header('Content-Type', _TYPES[path.suffix])
        self.finish(path.read_bytes())

    head = get


class Model(Answer):
    """What a page must know of the model."""

    def get(self) -> None:
        self.finish(self.studio.describe())

    head = get


class Examples(Answer):
    """The label maps with which a page can begin; with a number: that one, or its photo."""

    async def get(self, number: str = '', part: str = '') -> None:
        examples = self.studio.examples
        if not number:
            self.finish(list_examples(examples))
            return
        example = examples[int(number)] if int(number) < len(examples) else None
        if example is None or part and not example.photo:
            self.refuse(404, f'there is no example {number}')
        elif part == 'thumbnail':
            self.set_header('Content-Type', 'image/jpeg')
            await self.answer(thumbnail_of, example)
        elif part == 'photo':
            self.set_header('Content-Type', type_of_photo(example))
            await self.answer(read_photo_file, example)
        else:
            await self.answer(read_example, example, self.studio.run.config)

    head = get


class Import(Answer):
    """A label map of a file: its ids, and a report of what is unknown in it."""

    async def post(self) -> None:
        await self.answer(self._read)

    def _read(self) -> dict[str, Any]:
        name, config = self.argument('name') or 'the file', self.studio.run.config
        content = uploads.map_of(self.request.body, name)
        choices = self.argument('as', 'auto'), self.argument('fit', 'ask')
        return import_map(content, config, name, *choices)


class Style(Answer):
    """The latent of a photo, float32 in base64."""

    async def post(self) -> None:
        name = self.argument('name') or 'the photo'
        try:
            image = await self.in_thread(uploads.photo_of, self.request.body, name)
            latent = await self.studio.connections.encode(image)
        except UserError as error:
            self.refuse(422, error.problem, error.remedy)
            return
        self.finish(dict(latent=base64.b64encode(latent.astype('<f4').tobytes()).decode()))


class TimeLapse(Answer):
    """Images of a painting as an animation."""

    async def post(self) -> None:
        await self.answer(self._encode)

    def _encode(self) -> bytes:
        numbers = [self.argument(name) for name in ('width', 'height', 'milliseconds')]
        if not all(text.isascii() and text.isdecimal() and len(text) < 6 for text in numbers):
            problem = f'width, height, milliseconds={", ".join(numbers)} are no numbers'
            raise UserError(problem, 'send those of the images')
        width, height, milliseconds = map(int, numbers)
        format = self.argument('format')
        frames = time_lapse.read_frames(self.request.body, width, height)
        content = time_lapse.encode(frames, format, milliseconds)
        self.set_header('Content-Type', time_lapse.FORMATS[format][2])
        return content


class Live(Answer, LiveHandler):
    """The WebSocket, with the headers of all responses."""


class Token(Answer):
    """Exchanges the token of the printed address for a cookie."""

    def post(self) -> None:
        try:
            sent = json.loads(self.request.body)['token']
        except (ValueError, TypeError, KeyError, RecursionError):
            sent = None
        if not isinstance(sent, str):
            self.refuse(400, 'this is no token')
            return
        access = self.studio.access
        if not access.token:
            self.finish({})
            return
        if refusal := self.studio.attempts.check(sent, access):
            self.refuse(*refusal)
            return
        cookie = f'{access.cookie}={access.session}; Path=/; HttpOnly; SameSite=Strict'
        self.set_header('Set-Cookie', cookie)
        self.finish({})


ROUTES = [
    (r'/', Page),
    (r'/static/.*', Page),
    (r'/api/model', Model),
    (r'/api/examples', Examples),
    (r'/api/examples/(\d{1,4})', Examples),
    (r'/api/examples/(\d{1,4})/(photo|thumbnail)', Examples),
    (r'/api/import', Import),
    (r'/api/style', Style),
    (r'/api/timelapse', TimeLapse),
    (r'/api/token', Token),
    (guards.LIVE, Live),
]
