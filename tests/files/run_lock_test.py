import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from spade_jax.errors import UserError
from spade_jax.files.run_lock import exclusive_lock

HOLD = """
import sys, time
from spade_jax.training.work_directory import exclusive_lock
with exclusive_lock(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_gone_however_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
    )
    try:
        assert holder.stdout.readline() == 'held\n'
        with pytest.raises(
            UserError, match=f'process {holder.pid} on {socket.gethostname()} writes there'
        ):
            with exclusive_lock(str(tmp_path)):
                pass
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with exclusive_lock(str(tmp_path)):
        pass
    with exclusive_lock(str(tmp_path)):
        with (
            pytest.raises(UserError, match=f'process {os.getpid()} on'),
            exclusive_lock(str(tmp_path)),
        ):
            pass


def test_a_lock_that_cannot_be_opened(tmp_path):
    (tmp_path / 'train.lock').mkdir()
    with (
        pytest.raises(UserError, match='train.lock cannot be opened .*choose another --workdir'),
        exclusive_lock(str(tmp_path)),
    ):
        pass
