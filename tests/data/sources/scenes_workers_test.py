"""Workers that render landscapes end with their parent, however it ends."""

import signal
import subprocess
import sys

import pytest

from tests import program

# A parent whose worker is idle; both hold its standard output.
PARENT = """
import concurrent.futures, multiprocessing, signal, sys, time
from spade_jax.data.sources import scenes

if __name__ == '__main__':
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with scenes.worker_processes(1) as pool:
        pool.submit(abs, -1).result()
        print('ready', flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(number, tmp_path):
    (tmp_path / 'parent.py').write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / 'parent.py')],
        stdout=subprocess.PIPE,
        text=True,
        env=program.environment(1),
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == 'ready\n'
        parent.send_signal(number)
        assert parent.communicate(timeout=10)[0] == ''  # The end of the file: the worker closed it.
        assert parent.returncode == -number
