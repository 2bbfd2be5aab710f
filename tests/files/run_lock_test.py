import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

from spade_jax.errors import UserError
from spade_jax.files import run_lock
from spade_jax.files.run_lock import exclusive_lock

HOLD = """
import sys
from spade_jax.files.run_lock import exclusive_lock
with exclusive_lock(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_system_without_locks_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'fcntl', None)
    with pytest.raises(UserError, match='no file locks .*; use Linux, macOS, or WSL on Windows'):
        with exclusive_lock(str(tmp_path)):
            pass


def test_killed_process_releases_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
    )
    message = f'process {holder.pid} on {socket.gethostname()} writes there'
    try:
        assert holder.stdout.readline() == 'held\n'
        with pytest.raises(UserError, match=message), exclusive_lock(str(tmp_path)):
            pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with exclusive_lock(str(tmp_path)):
        pass


def test_lock_excludes_same_process(tmp_path):
    message = f'process {os.getpid()} on'
    with exclusive_lock(str(tmp_path)):
        with pytest.raises(UserError, match=message), exclusive_lock(str(tmp_path)):
            pass


def test_lock_that_cannot_be_opened_is_rejected(tmp_path):
    (tmp_path / 'train.lock').mkdir()
    message = 'train.lock cannot be opened .*choose another --workdir'
    with pytest.raises(UserError, match=message), exclusive_lock(str(tmp_path)):
        pass


def test_lock_waits_for_holder_if_asked_to(tmp_path, monkeypatch):
    said, entered = threading.Event(), threading.Event()
    monkeypatch.setattr(run_lock, 'print', lambda *text, file: said.set(), raising=False)

    def enter():
        with exclusive_lock(str(tmp_path), wait=True):
            entered.set()

    thread = threading.Thread(target=enter)
    with exclusive_lock(str(tmp_path)):
        thread.start()
        assert said.wait(20)
        assert not entered.is_set()
    thread.join(20)
    assert entered.is_set()


def test_lock_does_not_overwrite_the_file_of_a_link(tmp_path):
    (tmp_path / 'precious').write_text('text')
    (tmp_path / 'train.lock').symlink_to('precious')
    with pytest.raises(UserError, match='cannot be opened'), exclusive_lock(str(tmp_path)):
        pass
    assert (tmp_path / 'precious').read_text() == 'text'
