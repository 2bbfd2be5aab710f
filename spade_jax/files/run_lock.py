"""One training run at a time in a work directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from typing import TextIO

from spade_jax.errors import UserError

LOCK = 'train.lock'


@contextlib.contextmanager
def exclusive_lock(workdir: str, flag: str = 'workdir', name: str = LOCK) -> Iterator[None]:
    """Holds the work directory, which others may still read. The kernel lets go of it however the process ends.

    Raises:
      UserError: another run has it, with its process and host; or its lock cannot be opened.
    """
    with _opened(os.path.join(workdir, name), flag) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            raise UserError(
                f'{flag}={workdir} is in use: {holder} writes there',
                f'wait for it, stop it, or choose another --{flag}',
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
                raise
            print(
                f'warning: the file system of {flag}={workdir} has no locks ({error.strerror}); see to it that one run alone trains there',
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield


def _opened(path: str, flag: str) -> TextIO:
    try:
        return open(path, 'a+')
    except OSError as error:
        raise UserError(
            f'{path} cannot be opened ({error.strerror})', f'mend that, or choose another --{flag}'
        ) from error
