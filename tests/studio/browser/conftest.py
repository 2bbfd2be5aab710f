"""A browser for tests of the page: Chromium, watched for errors and requests to other origins."""

import functools
import http.server
import pathlib
import re
import threading
import urllib.parse

import pytest

import spade_jax.studio

CHROMIUM = pathlib.Path('/usr/bin/chromium')
# Sandboxes need privileges that CI does not give; no name but that of this machine is resolved.
ARGUMENTS = [
    '--no-sandbox', '--disable-quic', '--disable-background-networking',
    '--disable-component-update', '--font-render-hinting=none', '--force-color-profile=srgb',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
]  # fmt: skip
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
STATIC = pathlib.Path(spade_jax.studio.__file__).parent / 'static'
PAGES = pathlib.Path(__file__).parent / 'pages'


class StaticFiles(http.server.SimpleHTTPRequestHandler):
    """The files of the page at /static, those of the tests at /pages, a blank page at /."""

    def translate_path(self, path):
        folder, _, name = urllib.parse.urlsplit(path).path.lstrip('/').partition('/')
        return str({'static': STATIC, 'pages': PAGES}.get(folder, PAGES) / (name or 'blank.html'))

    def end_headers(self):
        self.send_header('Content-Security-Policy', POLICY)
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope='session')
def static_url():
    """The address of a server of the page's static files, without the studio's server."""
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), StaticFiles) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.fixture(scope='module')
def browser():
    """One Chromium for the tests of a module."""
    if not CHROMIUM.exists():
        pytest.skip(f'{CHROMIUM} is missing: apt-get install chromium')
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # Machines of CI are busy.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def expected_problems():
    """Regular expressions of console errors that a test provokes: append to this list."""
    return []


@pytest.fixture
def open_page(browser, expected_problems):
    """A function (url, **options of the context) -> page, in a context of its own.

    Another page of the same context (another tab) is `open_page(url, context=page.context)`. After
    the test, console errors, violations of the policy, exceptions and requests to other origins
    fail it.
    """
    contexts, problems = [], []

    def open_page(url, context=None, **options):
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        watch(page, urllib.parse.urlsplit(url).netloc, problems)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    expected = functools.partial(re.search, '|'.join(expected_problems) or r'(?!)')
    assert not [problem for problem in problems if not expected(problem)]


def watch(page, host, problems):
    """Append console errors, exceptions and requests to other hosts to `problems`."""

    def add_request(request):
        url = urllib.parse.urlsplit(request.url)
        if url.scheme in ('http', 'https', 'ws', 'wss') and url.netloc != host:
            problems.append(f'request to {request.url}')

    def add_message(message):
        if message.type in ('error', 'assert'):
            problems.append(f'console: {message.text}')

    page.on('request', add_request)
    page.on('console', add_message)
    page.on('pageerror', lambda error: problems.append(f'exception: {error}'))


@pytest.fixture
def page(open_page, static_url):
    """A blank page that tests modules: `await import("/static/js/state.js")` in `evaluate`."""
    return open_page(static_url)


@pytest.fixture
def open_map(open_page, static_url):
    """A function (width, height, classes, **options) -> the page paint.html, with a map of id 0.

    At first a pixel of the map is 4 x 4 device pixels, and the corner of the map at (20, 10).
    """

    def open_map(width=128, height=128, classes=13, **options):
        query = f'width={width}&height={height}&classes={classes}'
        page = open_page(f'{static_url}/pages/paint.html?{query}', **options)
        page.wait_for_selector('html[data-ready]', state='attached')
        return page

    return open_map


@pytest.fixture(scope='module')
def tab(browser, static_url):
    """A blank page that the tests of modules share."""
    page, problems = browser.new_page(), []
    watch(page, urllib.parse.urlsplit(static_url).netloc, problems)
    page.goto(static_url)
    yield page
    page.close()
    assert not problems
