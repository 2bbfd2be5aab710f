"""A lock that lets one run at a time write to a work directory."""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator

from spade_jax.errors import UserError, user_errors

LOCK = 'train.lock'
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def exclusive_lock(
    workdir: str, flag: str = 'workdir', name: str = LOCK, *, wait: bool = False
) -> Iterator[None]:
    """Hold the lock of a directory for the duration of the block; Windows has no such locks.

    Readers are not excluded. The kernel releases the lock however the process ends.
    Prints a warning if the file system has no locks.

    Args:
      workdir: The directory.
      flag: The flag that names it, for messages.
      name: The name of the lock file.
      wait: Wait for a run that holds the lock, and say so, instead of raising.

    Raises:
      UserError: Another run holds the lock, or its file cannot be opened.
    """
    with user_errors('this system has no file locks', 'use Linux, macOS, or WSL on Windows'):
        import fcntl
    path = os.path.join(workdir, name)
    remedy = f'choose another --{flag}'
    with user_errors(f'{path} cannot be opened', f'fix the permissions, or {remedy}'):
        file = open(path, 'a+', opener=_open)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            problem = f'{flag}={workdir} is in use: {holder} writes there'
            if not wait:
                raise UserError(problem, f'wait for it, stop it, or {remedy}') from None
            print(f'{problem}; waiting for it', file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            problem = f'the file system of {flag}={workdir} has no locks ({error.strerror})'
            print(f'warning: {problem}; start only one run there', file=sys.stderr)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield


def _open(path: str, flags: int) -> int:
    """Open a lock file, not what a link names: it is overwritten."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
