"""Start, refusals and end of the studio's server."""

import os
import signal
import socket
import subprocess
import urllib.request

import pytest

from spade_jax.studio import server
from tests import program
from tests.fixtures.cli import refusal, succeed_inline
from tests.sampling import tiny


@pytest.fixture
def port():
    """A port that is free."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def served(monkeypatch):
    """The studios that are served; each stops when its page is ready."""
    studios = []

    async def announce_alone(studio, sockets, announce):
        for each in sockets:
            each.close()
        studios.append(studio)
        announce()

    monkeypatch.setattr(server, 'serve_until_signal', announce_alone)
    return studios


def start(port, *flags):
    return succeed_inline('--mode=studio', '--noopen_browser', f'--port={port}', *flags)


def test_studio_opens_the_demo_by_default(served, port):
    assert start(port).startswith(f'Studio: http://127.0.0.1:{port}/ (demo, step 0; ')
    assert served[0].home == f'http://127.0.0.1:{port}/'
    described = served[0].describe()
    assert described['command'][1:3] == ['-m', 'spade_jax.main']


def test_studio_opens_a_run(served, port, tmp_path):
    workdir = tiny.write_checkpoint(tiny.PLAIN, tmp_path / 'mine')
    assert '(mine, step 0; ' in start(port, f'--workdir={workdir}', '--checkpoint_step=0')
    described = served[0].describe()
    assert (described['width'], described['height']) == (32, 32)
    assert not described['has_style'] and not described['fixed_size']


def test_other_addresses_get_a_token(served, port):
    output = start(port, '--address=0.0.0.0', '--studio_host=box.lan')
    access = served[0].access
    assert f'http://HOST:{port}/#token={access.token} ' in output and len(access.token) == 32
    assert 'box.lan' in access.hosts and not served[0].home


def test_page_is_opened_where_it_is_asked_for(served, port, monkeypatch):
    opened = []
    monkeypatch.setattr('webbrowser.open', opened.append)
    start(port, '--open_browser')
    assert opened == [f'http://127.0.0.1:{port}/']


def test_a_taken_port_is_named():
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = other.getsockname()[1]
        message = refusal('--mode=studio', f'--port={port}')
    assert f'port={port} cannot be used (Address already in use)' in message
    assert '--port=' in message and 'drafts' in message


@pytest.mark.parametrize(
    'flags, problem',
    [
        (['--workdir=none'], 'workdir=none: no such directory'),
        (['--workdir=.'], 'workdir=. has no checkpoint (yet)'),
        (['--checkpoint_step=7'], 'has no checkpoint of step 7; it has 0'),
        (['--crop_size=64'], 'flags contradict the checkpoint'),
        (['--address=192.0.2.1'], 'address=192.0.2.1'),
        (['--address=no.such.host.invalid'], 'address=no.such.host.invalid is not an address'),
        (['--port=0'], '--port=0'),
        (['--port=65536'], '--port=65536'),
        (['--studio_host=http://box.lan/'], 'studio_host=http://box.lan/ is not a name'),
        (['--output_dir=out'], '--output_dir has no effect with --mode=studio'),
    ],
)
def test_bad_flags_are_refused(flags, problem, served, port, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert problem in refusal('--mode=studio', f'--port={port}', *flags)
    assert not served


def test_models_of_other_conditions_are_refused(served, port, tmp_path):
    config = tiny.PLAIN.replace(condition='rgb', dontcare=False)
    workdir = tiny.write_checkpoint(config, tmp_path / 'run')
    message = refusal('--mode=studio', f'--port={port}', f'--workdir={workdir}')
    assert 'condition=rgb, but the studio paints label maps' in message


def test_a_damaged_checkpoint_is_refused(served, port, tmp_path):
    path = tmp_path / 'checkpoints' / '5' / 'metadata' / 'metadata'
    path.parent.mkdir(parents=True)
    for content in ('{', '{"record": {}, "checksum": "a"}', '[]', ''):
        path.write_text(content)
        message = refusal('--mode=studio', f'--port={port}', f'--workdir={tmp_path}')
        assert f'{tmp_path}/checkpoints/5/metadata' in message


def test_server_ends_without_a_trace_while_the_model_loads(port):
    arguments = program.command('--mode=studio', f'--port={port}', '--noopen_browser')
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(arguments, env=program.environment(), **options) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith('Studio: ')
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/model', timeout=20) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, '', '')
    assert os.name != 'posix' or not _is_running(process.pid)


def _is_running(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
