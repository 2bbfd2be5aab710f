"""Signals to a process that does nothing else."""

import os
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


STATUSES = [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]


@pytest.mark.parametrize('number, status', STATUSES)
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


def test_second_hangup_does_nothing(capfd):
    with Preemption() as preemption:
        preemption.enable_saving()
        for _ in range(2):
            signal.raise_signal(signal.SIGHUP)
        assert preemption.requested
    assert (
        'SIGHUP: finishing and saving the step; send SIGTERM to exit at once'
        in capfd.readouterr().err
    )


def test_signal_with_a_closed_terminal_lets_the_run_save(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, 'w') as terminal, Preemption() as preemption:
        monkeypatch.setattr(sys, 'stderr', terminal)
        preemption.enable_saving()
        signal.raise_signal(signal.SIGHUP)
        assert preemption.requested


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_ignored_signals_stay_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with Preemption() as preemption:
            signal.raise_signal(number)
            assert not preemption.requested
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_first_signal_exits_at_once_before_there_is_anything_to_save():
    process = start()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert out == ''
    assert err == '\nSIGTERM: stopped before the first step; there is nothing to save.\n'


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
