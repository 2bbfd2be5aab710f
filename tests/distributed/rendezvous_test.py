"""Processes meet, or each says in one line why not. Here they are threads."""

import concurrent.futures
import contextlib
import http.server
import socket
import threading

import pytest

from spade_jax.distributed import rendezvous
from spade_jax.errors import UserError
from tests.fixtures.time_limit import time_limit

TIMEOUT = 0.3


@pytest.fixture(autouse=True)
def guard(monkeypatch):
    monkeypatch.setattr(rendezvous, '_PAUSE', 0.01)
    monkeypatch.setattr(rendezvous, '_STRANGER_TIMEOUT', 0.1)
    with time_limit(10):
        yield


@contextlib.contextmanager
def listener():
    with socket.create_server(('127.0.0.1', 0)) as server:
        yield server, f'127.0.0.1:{server.getsockname()[1]}'


@pytest.fixture
def address():
    with listener() as (_, address):
        pass
    return address


def results(address, *calls, timeout=TIMEOUT):
    """'' or the error of each call of `meet` with (number, index), all at the same time."""

    def meet(call):
        try:
            rendezvous.meet(address, *call, timeout)
        except UserError as error:
            return str(error)
        return ''

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(meet, calls))


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 1, 0)])
def test_all_meet_and_the_port_is_free_again(address, order):
    for _ in range(2):
        assert results(address, *((3, i) for i in order), timeout=10) == ['', '', '']


def test_single_process_waits_for_no_one(address):
    rendezvous.meet(address, 1, 0, TIMEOUT)


def test_missing_process_is_named_to_all_others(address):
    first, other = results(address, (4, 0), (4, 2))
    assert first.startswith('process 1, 3 of 4 did not arrive within 0.3 s; start all of them')
    assert other == first


@pytest.mark.parametrize(
    'address', ['127.0.0.1:1', 'no-such-host.invalid:1234', 'a..b:1', '[::1]:1']
)
def test_missing_first_process_is_reported(address):
    (error,) = results(address, (2, 1))
    assert error.startswith(f'no first process at {address.replace("[", "").replace("]", "")} ')
    assert 'within 0.3 s (' in error


@pytest.mark.parametrize(
    'calls, message',
    [
        ([(2, 0), (3, 1)], 'process 1 has num_processes=3, the first 2'),
        ([(3, 0), (3, 1), (3, 1)], 'two processes have process_id=1'),
    ],
)
def test_contradictions_are_reported_by_all(address, calls, message):
    errors = results(address, *calls, timeout=5)
    assert [error.startswith(message) for error in errors] == [True] * len(calls)


def test_port_in_use_is_reported():
    with listener() as (_, address):
        (error,) = results(address, (2, 0))
    assert 'is not free (Address already in use); choose another port' in error


def test_silent_service_is_reported():
    with listener() as (_, address):
        (error,) = results(address, (2, 1))
    assert 'no first process at 127.0.0.1' in error


def test_service_of_another_protocol_is_reported():
    server = http.server.HTTPServer(('127.0.0.1', 0), http.server.BaseHTTPRequestHandler)
    with server:
        threading.Thread(target=server.handle_request).start()
        (error,) = results(f'127.0.0.1:{server.server_port}', (2, 1))
    assert 'belongs to another program' in error


@pytest.mark.parametrize('says', [b'', b'GET / HTTP/1.1\r\n\r\n', b'\xff' * 5000])
def test_strangers_do_not_disturb(address, says):
    def call_first():
        host, port = rendezvous.parse_address(address)
        while True:
            with contextlib.suppress(OSError), socket.create_connection((host, port)) as stranger:
                stranger.sendall(says)
                stranger.recv(100)
                return results(address, (2, 1), timeout=5)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(call_first)
        assert results(address, (2, 0), timeout=5) == ['']
        assert other.result() == ['']


@pytest.mark.parametrize(
    'address',
    ['localhost', '', ':1', 'host:', 'host:0', 'host:65536', 'host:-1', 'host:²', 'a:b:1', '::1:1']
    + [f'host:{"9" * 5000}'],
)
def test_address_without_host_or_port_is_refused(address):
    with pytest.raises(UserError, match='HOST:PORT; write for example HOST0:12345'):
        rendezvous.meet(address, 2, 0, TIMEOUT)
