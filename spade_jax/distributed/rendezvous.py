"""The processes of a run meet before JAX connects them.

If one is missing or has wrong flags, JAX ends all of them after minutes, with a crash dump. Here
each tells its number to the first one, which answers all once the last one has arrived.
"""

import contextlib
import os
import re
import socket
import time

from spade_jax.errors import UserError

_HELLO, _GO = 'spade_jax rendezvous', 'go'  # What the first process says, at first and at the end.
_GREETING = re.compile(r'process ([0-9]{1,9}) of ([0-9]{1,9})')  # What the others say.
_ADDRESS = re.compile(r'(\[[^\]]+\]|[^:\[\]]+):([0-9]{1,5})')
_STRANGER_TIMEOUT = 5  # Seconds in which a connection must say something.
_PAUSE = 0.2  # Seconds between two attempts to connect.
_REMEDY = (
    'start all of them with the same --num_processes and --coordinator_address, which every host '
    'can reach, and each with its own --process_id'
)


def meet(coordinator_address: str, num_processes: int, process_id: int, timeout: float) -> None:
    """Return when all processes have called this.

    Args:
      coordinator_address: HOST:PORT, where the first process listens; it is free again afterwards.
      num_processes: Number of processes.
      process_id: Index of this one, from 0.
      timeout: Seconds to wait for the first process, which then waits as long for the others.

    Raises:
      UserError: In every process that is there: one is missing, or they contradict each other.
    """
    host, port = parse_address(coordinator_address)
    if process_id == 0:
        _receive_others(port, num_processes, timeout)
    else:
        _greet_first(host, port, f'process {process_id} of {num_processes}', timeout)


def parse_address(address: str) -> tuple[str, int]:
    """('host', 1234) from 'host:1234' or '[::1]:1234'; UserError for any other text."""
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[2]) < 2**16:
        problem = f'coordinator_address={address} is not HOST:PORT'
        raise UserError(problem, 'write for example HOST0:12345, with a port from 1 to 65535')
    return match[1].strip('[]'), int(match[2])


def _receive_others(port: int, number: int, timeout: float) -> None:
    """In the first process: wait for the others and tell them the result."""
    deadline = time.monotonic() + timeout
    missing, arrived, problem = set(range(1, number)), [], ''
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listen(port))
        while missing and not problem:
            server.settimeout(max(deadline - time.monotonic(), 1e-3))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError:
                names = ', '.join(map(str, sorted(missing)[:9]))
                problem = f'process {names} of {number} did not arrive within {timeout:g} s'
                break
            if not (match := _GREETING.fullmatch(_greeting(connection))):
                continue
            arrived.append(connection)
            index, other_number = map(int, match.groups())
            if other_number != number:
                problem = f'process {index} has num_processes={other_number}, the first {number}'
            elif index not in missing:
                problem = f'two processes have process_id={index}'
            missing.discard(index)
        for connection in arrived:
            with contextlib.suppress(OSError):  # It has gone away.
                _send(connection, problem or _GO)
    if problem:
        raise UserError(problem, _REMEDY)


def _listen(port: int) -> socket.socket:
    """A server on all interfaces, as that of JAX."""
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(('', port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(('', port))
    except OSError as error:
        problem = f'coordinator_address: port {port} is not free ({os.strerror(error.errno or 0)})'
        raise UserError(problem, 'choose another port') from error


def _greeting(connection: socket.socket) -> str:
    """What the other end says; '' if it is none of ours and says nothing."""
    connection.settimeout(_STRANGER_TIMEOUT)
    try:
        _send(connection, _HELLO)
        return connection.makefile(encoding='latin-1').readline(200).strip()
    except OSError:
        return ''


def _send(connection: socket.socket, line: str) -> None:
    connection.sendall(f'{line}\n'.encode())


def _greet_first(host: str, port: int, greeting: str, timeout: float) -> None:
    """In another process: tell the first one that this one is there, and wait for the others."""
    deadline, reason = time.monotonic() + timeout, ''
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), remaining) as connection:
                _send(connection, greeting)
                lines, reason = connection.makefile(encoding='latin-1'), 'the connection was closed'
                if (hello := lines.readline(200).strip()) not in ('', _HELLO):
                    raise UserError(f'{host}:{port} belongs to another program', _REMEDY)
                connection.settimeout(timeout + _STRANGER_TIMEOUT)  # The first one waits, too.
                answer = lines.readline(1000).strip() if hello else ''
        except (OSError, UnicodeError) as error:  # The latter for names that no host can have.
            reason, answer = getattr(error, 'strerror', None) or 'no answer', ''
        if answer == _GO:
            return
        if answer:
            raise UserError(answer, _REMEDY)
        time.sleep(_PAUSE)
    problem = f'no first process at {host}:{port} within {timeout:g} s ({reason})'
    raise UserError(problem, _REMEDY)
