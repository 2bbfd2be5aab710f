"""What of a request decides whether it is answered: pure functions of its first line and headers.

A page of another site can send requests to this machine, under its own name (Origin) or, by
rebinding a name, under one that looks like the server's (Host). So only listed hosts are served,
and what changes something needs the page's own origin and a header that other sites cannot set.
"""

import dataclasses
import hmac
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tornado.httputil import HTTPHeaders, parse_cookie

from spade_jax.errors import UserError

DEFAULT_PORT = 8128
LIVE = '/live'  # The WebSocket.
LOOPBACK = ('127.0.0.1', '::1', 'localhost')
MOST_HEADER_BYTES, _MOST_TARGET_BYTES = 16 << 10, 2048
_IMAGES = ('image/png', 'image/jpeg', 'image/webp', 'image/gif', 'image/bmp', 'image/tiff')
_BYTES = 'application/octet-stream'
_NAME = re.compile(r'[a-z0-9._-]+(:[0-9]{1,5})?')
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'{}; worker-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


class Upload(NamedTuple):
    """What may be posted to an address.

    Attributes:
      types: Legal values of Content-Type, without parameters.
      most_bytes: The largest body.
    """

    types: tuple[str, ...]
    most_bytes: int


UPLOADS = {
    '/api/import': Upload((_BYTES, *_IMAGES), 20 << 20),
    '/api/style': Upload((_BYTES, *_IMAGES), 20 << 20),
    '/api/timelapse': Upload((_BYTES,), 64 << 20),
    '/api/token': Upload(('application/json',), 1024),
}


class Refusal(NamedTuple):
    """Why a request is not answered: the status of HTTP, and a sentence for people."""

    status: int
    problem: str
    remedy: str = ''


@dataclasses.dataclass(frozen=True)
class Access:
    """Whom a server answers.

    Attributes:
      hosts: Legal values of Host, in lower case.
      origins: Legal values of Origin besides http:// and the host of the request.
      token: What a page must send to `/api/token` once; '' if everyone at this machine may use it.
      cookie: Name of the cookie that the page then gets; browsers do not tell ports apart.
      session: Its value.
    """

    hosts: frozenset[str]
    origins: frozenset[str] = frozenset()
    token: str = ''
    cookie: str = ''
    session: str = ''

    @classmethod
    def create(cls, address: str, port: int, names: Iterable[str] = ()) -> 'Access':
        """The access to a server at an address, which may also be reached by some host names.

        A token is made unless only this machine can reach it. Raises UserError for other names.
        """
        names = [name.lower() for name in names]
        for name in names:
            if not _NAME.fullmatch(name):
                problem = f'studio_host={name} is not a name'
                raise UserError(problem, 'write --studio_host=studio.example.org')
        own = [] if address in ('', '0.0.0.0', '::') else [address.lower()]
        hosts = {with_port(name, port) for name in (*LOOPBACK, *own)}
        hosts |= {*names, *(f'{name}:{port}' for name in names)}
        if port == 80:
            hosts |= {with_port(name) for name in (*LOOPBACK, *own)}
        origins = {f'{scheme}://{name}' for scheme in ('http', 'https') for name in names}
        if address in LOOPBACK and not names:
            return cls(frozenset(hosts))
        token, session = secrets.token_hex(16), secrets.token_hex(16)
        return cls(frozenset(hosts), frozenset(origins), token, f'spade_studio_{port}', session)

    def has_session(self, headers: HTTPHeaders) -> bool:
        """Return whether a request has the cookie, or needs none."""
        sent = parse_cookie(headers.get('Cookie', '')).get(self.cookie, '')
        return not self.token or hmac.compare_digest(sent.encode(), self.session.encode())


def with_port(host: str, port: int | None = None) -> str:
    """The host and port of a URL; addresses of IPv6 are in brackets."""
    host = f'[{host}]' if ':' in host else host
    return host if port is None else f'{host}:{port}'


def check(method: str, target: str, headers: HTTPHeaders, access: Access) -> Refusal | None:
    """Why a request is refused before anything of it is read or done; None if it is not.

    Args:
      method: Such as GET.
      target: What follows it: path and query.
      headers: Of the request.
      access: Whom the server answers.
    """
    hosts, path = headers.get_list('Host'), target.partition('?')[0]
    if len(hosts) != 1 or hosts[0].lower() not in access.hosts:
        remedy = 'open the address that the program printed, or allow a name with --studio_host'
        return Refusal(
            421, f'the studio does not answer to {", ".join(hosts)[:80] or "no host"}', remedy
        )
    if not target.startswith('/') or target.startswith('//'):
        return Refusal(400, 'the address is not a path')
    if len(target) > _MOST_TARGET_BYTES:
        return Refusal(414, f'the address has {len(target)} characters')
    if method == 'OPTIONS':
        return Refusal(403, 'other sites may not use the studio')
    if method not in ('GET', 'HEAD', 'POST') or (method == 'POST') != (path in UPLOADS):
        return Refusal(405, f'{method} is not possible here')
    needs_session = path.startswith('/api/') and path != '/api/token' or path == LIVE
    if path in UPLOADS or path == LIVE:
        refusal = _check_origin(hosts[0].lower(), headers, access)
        if refusal:
            return refusal
    if needs_session and not access.has_session(headers):
        return Refusal(401, 'the token is missing', 'open the address that the program printed')
    return _check_body(headers, UPLOADS.get(path))


def _check_origin(host: str, headers: HTTPHeaders, access: Access) -> Refusal | None:
    """Refuse what another site sends."""
    origins, sites = headers.get_list('Origin'), headers.get_list('Sec-Fetch-Site')
    own = {f'http://{host}', *access.origins}
    if len(origins) != 1 or origins[0].lower() not in own or {*sites} - {'same-origin'}:
        return Refusal(403, 'other sites may not use the studio')
    return None


def _check_body(headers: HTTPHeaders, upload: Upload | None) -> Refusal | None:
    """Check that a body is announced exactly where there is one, and is none too large."""
    lengths = headers.get_list('Content-Length')
    has_coding = 'Transfer-Encoding' in headers
    if upload is None:
        is_empty = not has_coding and {*lengths} <= {'0'}
        return None if is_empty else Refusal(400, 'this request has a body')
    if headers.get_list('X-Studio') != ['1']:
        return Refusal(403, 'the header X-Studio is missing')
    types = [value.partition(';')[0].strip().lower() for value in headers.get_list('Content-Type')]
    if len(types) != 1 or types[0] not in upload.types or 'Content-Encoding' in headers:
        problem = f'a body of the type {", ".join(types)[:80] or "(none)"}'
        return Refusal(415, problem, f'send {" or ".join(upload.types)}')
    if has_coding or not lengths:
        return Refusal(411, 'the length of the body is not announced')
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
        return Refusal(400, 'the length of the body is not a number')
    if len(lengths[0]) > 15 or int(lengths[0]) > upload.most_bytes:
        remedy = f'send at most {upload.most_bytes} bytes'
        return Refusal(413, f'{lengths[0][:20]} bytes are too large', remedy)
    return None


def response_headers(host: str = '') -> Mapping[str, str]:
    """The headers of every response; `host` is that of the request, if it is a legal one."""
    sockets = f' ws://{host}' if host else ''
    return {
        'Content-Security-Policy': _POLICY.format(sockets),
        'X-Content-Type-Options': 'nosniff',
        'Referrer-Policy': 'no-referrer',
        'Cross-Origin-Opener-Policy': 'same-origin',
        'Cross-Origin-Resource-Policy': 'same-origin',
        'Permissions-Policy': 'camera=(), microphone=(), geolocation=()',
        'Cache-Control': 'no-cache',
    }


class TokenAttempts:
    """Admits a few wrong tokens a minute, so that no program can try them all."""

    def __init__(self, most: int = 10, seconds: float = 60, clock=time.monotonic):
        self._most, self._seconds, self._clock = most, seconds, clock
        self._wrong: list[float] = []

    def check(self, sent: str, access: Access) -> Refusal | None:
        """Why a token does not admit a page; None if it does."""
        now = self._clock()
        self._wrong = [moment for moment in self._wrong if moment > now - self._seconds]
        if len(self._wrong) >= self._most:
            return Refusal(429, f'{self._most} wrong tokens', 'wait for a minute')
        if access.token and hmac.compare_digest(
            sent.encode(errors='replace'), access.token.encode()
        ):
            return None
        self._wrong.append(now)
        return Refusal(401, 'the token is wrong', 'copy the address that the program printed')
