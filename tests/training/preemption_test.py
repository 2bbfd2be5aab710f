"""Signals to a process that does nothing else."""

import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from spade_jax.training.preemption import Preemption

PROGRAM = """
import ctypes, sys, time
from spade_jax.training.interruption import Preemption
with Preemption() as interruption:
    if 'steps' in sys.argv:
        interruption.enable_saving()
    print('ready', flush=True)
    if 'deaf' in sys.argv:  # as in a compilation: no Python runs in the main thread
        barrier, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
        libc.pthread_barrier_init(barrier, None, 2)
        libc.pthread_barrier_wait(barrier)
    while not interruption.asked:
        time.sleep(0.01)
    print('saving', flush=True)
    if 'long' in sys.argv:
        time.sleep(30)
    interruption.leave(7)
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
def test_the_first_one_lets_it_save(number, status):
    process = start('steps')
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == status and out == 'saving\n'
    assert (
        f'{number.name}: finishing the step' in err
        and f'{number.name}: stopped after step 7' in err
        and 'Traceback' not in err
    )


def test_a_second_one_ends_it_at_once():
    process = start('steps', 'long')
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == 'saving\n'
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - began < 10


def test_before_there_is_anything_to_save_the_first_one_ends_it_at_once():
    process = start('deaf')
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 143 and out == '' and time.monotonic() - began < 10


def test_handlers_are_put_back_and_other_threads_have_none():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Preemption() as interruption:
        assert signal.getsignal(signal.SIGTERM) != before[0] and not interruption.asked
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    seen = []

    def elsewhere():
        with Preemption() as interruption:
            interruption.enable_saving()
            seen.append((signal.getsignal(signal.SIGTERM), interruption.asked))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [(before[0], False)]
