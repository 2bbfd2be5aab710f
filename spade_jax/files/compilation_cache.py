"""The persistent compilation cache: a restarted run need not compile its train step again."""

import os
import stat
import sys
import tempfile

import jax

ENVIRONMENT = 'JAX_COMPILATION_CACHE_DIR'


def keep_compilations(directory: str | None) -> None:
    """Enable JAX's compilation cache, keyed by program, version and device.

    Prints a warning and disables the cache if the directory is not writable, or not the user's own.
    Nothing is ever removed from it; it may be deleted at any time.

    Args:
      directory: A local path or gs://BUCKET/...; '' disables the cache.
        None: the directory of the environment variable, else ~/.cache/spade_jax.
    """
    if directory is None:
        directory = os.environ.get(ENVIRONMENT, '~/.cache/spade_jax')
    directory = os.path.expanduser(directory)
    if directory and '://' not in directory and (problem := _problem(directory)):
        remedy = 'every start compiles again; name another directory, or "" for none'
        print(f'warning: compilation_cache_dir={directory} {problem}; {remedy}', file=sys.stderr)
        directory = ''
    jax.config.update('jax_compilation_cache_dir', directory or None)


def _problem(directory: str) -> str:
    """Why a local directory cannot keep programs; '' if it can. It is created if it is missing.

    Whoever can write to it decides what a later run executes.
    """
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
        status = os.stat(directory)
    except OSError as error:
        return f'is not writable ({error.strerror})'
    if status.st_uid != os.getuid():
        return 'belongs to another user'
    return 'is writable by all users' if status.st_mode & stat.S_IWOTH else ''
