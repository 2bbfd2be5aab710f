"""A lock that lets one run at a time write to a work directory."""

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
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def exclusive_lock(workdir: str, flag: str = 'workdir', name: str = LOCK) -> Iterator[None]:
    """Hold the lock of a directory for the duration of the block.

    Readers are not excluded. The kernel releases the lock however the process ends.
    Prints a warning if the file system has no locks.

    Args:
      workdir: The directory.
      flag: The flag that names it, for messages.
      name: The name of the lock file.

    Raises:
      UserError: Another run holds the lock, or its file cannot be opened.
    """
    with _open(os.path.join(workdir, name), flag) as file:
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
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f'warning: the file system of {flag}={workdir} has no locks ({error.strerror}); '
                'make sure only one run uses this directory',
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield


def _open(path: str, flag: str) -> TextIO:
    try:
        return open(path, 'a+')
    except OSError as error:
        problem = f'{path} cannot be opened ({error.strerror})'
        raise UserError(problem, f'fix the permissions, or choose another --{flag}') from error
