"""Signals to a process that does nothing else."""

import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from spade_jax.training.preemption import Preemption

PROGRAM = """
import signal, sys
from spade_jax.training.preemption import Preemption
with Preemption() as preemption:
    if 'steps' in sys.argv:
        preemption.enable_saving()
    print('ready', flush=True)
    while not preemption.requested:
        signal.pause()
    print('saving', flush=True)
    if 'long' in sys.argv:
        signal.pause()
    preemption.exit_after(7)
"""


def start(*arguments):
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert process.stdout.readline() == 'ready\n'
    return process


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_first_signal_lets_the_run_save(number, status):
    process = start('steps')
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert out == 'saving\n'
    assert f'{number.name}: finishing and saving the step' in err
    assert f'{number.name}: stopped after step 7' in err
    assert 'Traceback' not in err


def test_second_signal_exits_at_once():
    process = start('steps', 'long')
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == 'saving\n'
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_first_signal_exits_at_once_before_there_is_anything_to_save():
    process = start()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert out == ''


def test_exit_after_without_signal_reports_that_of_another_process():
    with Preemption() as preemption, pytest.raises(SystemExit) as raised:
        preemption.exit_after(3)
    assert raised.value.code == 143


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Preemption() as preemption:
        assert signal.getsignal(signal.SIGTERM) != before[0]
        assert not preemption.requested
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_other_threads_install_no_handlers():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def elsewhere():
        with Preemption() as preemption:
            seen.append((signal.getsignal(signal.SIGTERM), preemption.requested))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
