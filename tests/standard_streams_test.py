"""Streams to pipes, as the program has them in place of standard output and error."""

import concurrent.futures
import io
import os
import subprocess

import pytest

from spade_jax.standard_streams import protected
from tests import program


@pytest.fixture
def pipe():
    """The ends of a pipe, (reader, writer)."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass


def stream_of(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding, line_buffering=True)


@pytest.mark.parametrize(
    'encoding, text, expected',
    [
        ('utf-8', 'näive 100 %|█|\ttab', 'näive 100 %|█|\ttab'.encode()),
        ('ascii', 'n\xe4me █', rb'n\xe4me \u2588'),
        ('utf-8', 'not utf-8: \udce4', rb'not utf-8: \udce4'),
        ('utf-8', 'red \x1b[31m.png\x9b2J \u202e', rb'red \x1b[31m.png\x9b2J \u202e'),
        ('utf-8', '\rbar', b'\rbar'),
        ('utf-8', 'a\rb', rb'a\rb'),
    ],
)
def test_text_cannot_control_the_terminal_or_lack_an_encoding(pipe, encoding, text, expected):
    reader, writer = pipe
    print(text, file=protected(writer, stream_of(encoding)))
    assert os.read(reader, 1000) == expected + b'\n'


def test_output_without_reader_is_discarded(pipe):
    reader, writer = pipe
    stream = protected(writer, stream_of('utf-8'))
    os.close(reader)
    for _ in range(3):
        print('text', file=stream, flush=True)


def test_output_that_may_not_wait_waits(pipe):
    reader, writer = pipe
    os.set_blocking(writer, False)
    stream, text = protected(writer, stream_of('utf-8')), 'x' * 200_000
    with concurrent.futures.ThreadPoolExecutor() as pool:
        printed = pool.submit(print, text, file=stream, flush=True)
        received = 0
        while received <= len(text):
            received += len(os.read(reader, 4096))
        printed.result()


def test_output_to_a_full_disk_is_discarded():
    descriptor = os.open('/dev/full', os.O_WRONLY)
    print('text', file=protected(descriptor, None), flush=True)
    os.close(descriptor)


def test_program_ends_well_without_readers_and_standard_error(pipe):
    reader, writer = pipe
    os.close(reader)
    without_stderr = ['sh', '-c', 'exec "$@" 2>&-', 'sh']
    for flag, status in (('--help', 0), ('--seed=x', 2)):
        command = [*without_stderr, *program.command(flag)]
        assert subprocess.run(command, stdout=writer).returncode == status
