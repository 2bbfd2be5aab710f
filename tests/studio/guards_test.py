"""Which requests are answered, over a real connection: raw bytes in, status and headers out."""

import socket

import pytest

from spade_jax.studio import guards
from tests.studio.serving import serving

SECURE = {
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    'permissions-policy': 'camera=(), microphone=(), geolocation=()',
}
GET = ('GET', '/api/model', {})
BODY = b'{"token": "a"}'  # Any, where none is needed.
PAGE = {'Origin': 'http://{host}', 'X-Studio': '1', 'Content-Length': str(len(BODY))}
POST = {**PAGE, 'Content-Type': 'application/json'}
SOCKET = {
    'Origin': 'http://{host}',
    'Connection': 'Upgrade',
    'Upgrade': 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': 'spade-studio.1',
}
MISSING = object()


def answer(port, method, target, headers, body=b''):
    """Status and headers of the response to a request; None if there is none."""
    host = f'127.0.0.1:{port}'
    lines = [f'{method} {target.format(host=host)} HTTP/1.1']
    for name, values in ({'Host': '{host}'} | headers).items():
        for value in values if isinstance(values, list) else [values]:
            if value is not MISSING:
                lines.append(f'{name}: {value.format(host=host, port=port)}')
    with socket.create_connection(('127.0.0.1', port), timeout=20) as connection:
        connection.sendall('\r\n'.join([*lines, '', '']).encode('latin-1') + body)
        content = b''
        while b'\r\n\r\n' not in content and (piece := connection.recv(65536)):
            content += piece
    head, *fields = content.partition(b'\r\n\r\n')[0].decode('latin-1').split('\r\n')
    received = dict(field.lower().split(': ', 1) for field in fields)
    return int(head.split()[1]), received


def without(headers, name):
    return {key: value for key, value in headers.items() if key != name}


# (status, method, target, headers): the first faults of a request decide.
TABLE = {
    'host': (200, *GET),
    'host localhost': (200, 'GET', '/api/model', {'Host': 'localhost:{port}'}),
    'host of IPv6': (200, 'GET', '/api/model', {'Host': '[::1]:{port}'}),
    'host in capitals': (200, 'GET', '/api/model', {'Host': 'LOCALHOST:{port}'}),
    'no host': (421, 'GET', '/api/model', {'Host': MISSING}),
    'empty host': (421, 'GET', '/api/model', {'Host': ''}),
    'two hosts': (421, 'GET', '/api/model', {'Host': ['{host}', '{host}']}),
    'two hosts in one': (421, 'GET', '/api/model', {'Host': '{host}, {host}'}),
    'host of another site': (421, 'GET', '/', {'Host': 'evil.example:{port}'}),
    'host that looks like ours': (421, 'GET', '/', {'Host': '127.0.0.1.evil.example:{port}'}),
    'host with user': (421, 'GET', '/', {'Host': 'a@127.0.0.1:{port}'}),
    'host without port': (421, 'GET', '/', {'Host': '127.0.0.1'}),
    'host with another port': (421, 'GET', '/', {'Host': '127.0.0.1:1'}),
    'host of all networks': (421, 'GET', '/', {'Host': '0.0.0.0:{port}'}),
    'host with final dot': (421, 'GET', '/static/app.css', {'Host': 'localhost.:{port}'}),
    'absolute address': (400, 'GET', 'http://{host}/api/model', {}),
    'absolute address of another': (400, 'GET', 'http://evil.example/', {}),
    'two slashes': (400, 'GET', '//evil.example/', {}),
    'parent': (404, 'GET', '/static/../handlers.py', {}),
    'encoded parent': (404, 'GET', '/static/%2e%2e/handlers.py', {}),
    'encoded slash': (404, 'GET', '/static/..%2f..%2fhandlers.py', {}),
    'encoded name': (404, 'GET', '/static/js%2Fstate.js', {}),
    'unknown file': (404, 'GET', '/static/none.js', {}),
    'unknown address': (404, 'GET', '/none', {}),
    'unknown example': (404, 'GET', '/api/examples/99', {}),
    'long address': (414, 'GET', '/' + 'a' * 3000, {}),
    'body of GET': (400, 'GET', '/api/model', {'Content-Length': '2'}),
    'chunked body of GET': (400, 'GET', '/api/model', {'Transfer-Encoding': 'chunked'}),
    'HEAD': (200, 'HEAD', '/api/model', {}),
    'OPTIONS': (403, 'OPTIONS', '/api/import', {'Origin': 'http://evil.example'}),
    'PUT': (405, 'PUT', '/api/import', POST),
    'DELETE': (405, 'DELETE', '/', {}),
    'TRACE': (405, 'TRACE', '/', {}),
    'POST to the page': (405, 'POST', '/', POST),
    'GET of an upload': (405, 'GET', '/api/import', {}),
    'post': (200, 'POST', '/api/token', POST),
    'post of another site': (403, 'POST', '/api/token', POST | {'Origin': 'http://evil.example'}),
    'post of another port': (403, 'POST', '/api/token', POST | {'Origin': 'http://127.0.0.1:1'}),
    'post of https': (403, 'POST', '/api/token', POST | {'Origin': 'https://{host}'}),
    'post of the other name': (
        *(403, 'POST', '/api/token'),
        POST | {'Origin': 'http://localhost:{port}'},
    ),
    'post of no site': (403, 'POST', '/api/token', POST | {'Origin': 'null'}),
    'post without origin': (403, 'POST', '/api/token', without(POST, 'Origin')),
    'post of two origins': (403, 'POST', '/api/token', POST | {'Origin': ['http://{host}'] * 2}),
    'post fetched here': (200, 'POST', '/api/token', POST | {'Sec-Fetch-Site': 'same-origin'}),
    'post fetched elsewhere': (403, 'POST', '/api/token', POST | {'Sec-Fetch-Site': 'cross-site'}),
    'post fetched beside': (403, 'POST', '/api/token', POST | {'Sec-Fetch-Site': 'same-site'}),
    'post of a form': (403, 'POST', '/api/token', without(POST, 'X-Studio')),
    'post of plain text': (415, 'POST', '/api/token', POST | {'Content-Type': 'text/plain'}),
    'post of any type': (415, 'POST', '/api/token', PAGE),
    'post of two types': (
        *(415, 'POST', '/api/token'),
        POST | {'Content-Type': ['application/json', 'text/plain']},
    ),
    'post compressed': (415, 'POST', '/api/token', POST | {'Content-Encoding': 'gzip'}),
    'post without length': (411, 'POST', '/api/token', without(POST, 'Content-Length')),
    'post in chunks': (411, 'POST', '/api/token', POST | {'Transfer-Encoding': 'chunked'}),
    'post of negative length': (400, 'POST', '/api/token', POST | {'Content-Length': '-1'}),
    'post of signed length': (400, 'POST', '/api/token', POST | {'Content-Length': '+2'}),
    'post of two lengths': (400, 'POST', '/api/token', POST | {'Content-Length': ['2', '3']}),
    'post too large': (413, 'POST', '/api/token', POST | {'Content-Length': '1025'}),
    'import too large': (
        *(413, 'POST', '/api/import'),
        POST | {'Content-Type': 'image/png', 'Content-Length': str(60 << 20)},
    ),
    'post too large for a number': (
        *(413, 'POST', '/api/token'),
        POST | {'Content-Length': '9' * 400},
    ),
    'socket': (101, 'GET', '/live', SOCKET),
    'no socket': (400, 'GET', '/live', {'Origin': 'http://{host}'}),
    'socket without origin': (403, 'GET', '/live', without(SOCKET, 'Origin')),
    'socket of another site': (403, 'GET', '/live', SOCKET | {'Origin': 'http://evil.example'}),
    'socket fetched elsewhere': (403, 'GET', '/live', SOCKET | {'Sec-Fetch-Site': 'cross-site'}),
    'socket of another host': (421, 'GET', '/live', SOCKET | {'Host': 'evil.example:{port}'}),
}


@pytest.mark.parametrize('case', TABLE)
def test_requests_have_their_status_and_headers(case, served):
    status, method, target, headers = TABLE[case]
    body = BODY if status == 200 and method == 'POST' else b''
    found, received = answer(served.port, method, target, headers, body)
    assert found == status
    assert SECURE.items() <= received.items()
    policy = received['content-security-policy']
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    assert 'access-control-allow-origin' not in received and 'server' not in received


@pytest.fixture(scope='module')
def with_token():
    """A server as at an address of the network, which needs a token."""
    with serving(access=lambda port: guards.Access.create('0.0.0.0', port, ['Box.lan'])) as running:
        yield running


@pytest.mark.parametrize('path', ['/api/model', '/api/examples', '/api/examples/0', '/live'])
def test_a_token_is_needed_but_for_the_page(path, with_token):
    status, received = answer(with_token.port, 'GET', path, SOCKET if path == '/live' else {})
    assert status == 401 and SECURE.items() <= received.items()
    assert answer(with_token.port, 'GET', '/static/js/state.js', {})[0] == 200


def test_a_token_is_exchanged_for_a_cookie(with_token):
    access = with_token.studio.access
    body = f'{{"token": "{access.token}"}}'
    headers = {'Origin': with_token.url, 'X_Studio': '1', 'Content_Type': 'application/json'}
    status, received, _ = with_token.request('POST', '/api/token', body, **headers)
    cookie = received['Set-Cookie']
    assert status == 200 and 'HttpOnly' in cookie and 'SameSite=Strict' in cookie
    assert access.token not in cookie
    sent = cookie.partition(';')[0]
    assert with_token.request('GET', '/api/model', Cookie=sent)[0] == 200
    name = sent.partition('=')[0]
    for wrong in (sent[:-1], f'{name}={access.token}', f'{name}=', f'{name}=é', name, 'a=b'):
        assert with_token.request('GET', '/api/model', Cookie=wrong.encode())[0] == 401


def test_names_of_proxies_are_hosts_and_origins(with_token):
    headers = {'Host': 'box.lan', 'Origin': 'https://box.lan'}
    assert answer(with_token.port, 'POST', '/api/token', POST | headers, BODY)[0] == 401
    headers['Origin'] = 'https://evil.example'
    assert answer(with_token.port, 'POST', '/api/token', POST | headers, BODY)[0] == 403
    assert answer(with_token.port, 'GET', '/', {'Host': 'other.lan'})[0] == 421


def test_wrong_tokens_are_counted():
    access, now = guards.Access.create('0.0.0.0', 8128), [0.0]
    attempts = guards.TokenAttempts(clock=lambda: now[0])
    assert {attempts.check('wrong', access).status for _ in range(10)} == {401}
    assert attempts.check(access.token, access).status == 429
    now[0] = 61
    assert attempts.check(access.token, access) is None
    assert {attempts.check(text, access).status for text in ('', 'é', '\ud800')} == {401}


def test_loopback_needs_no_token():
    for address in ('127.0.0.1', '::1', 'localhost'):
        assert not guards.Access.create(address, 8128).token
    tokens = {guards.Access.create('192.0.2.1', 8128).token for _ in range(9)}
    assert len(tokens) == 9 and {len(token) for token in tokens} == {32}
