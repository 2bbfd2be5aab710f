"""The persistent compilation cache: a restarted run need not compile its train step again."""

from __future__ import annotations

import os
import sys

DEFAULT_DIRECTORY = os.path.join('~', '.cache', 'spade_jax')
ENVIRONMENT = 'JAX_COMPILATION_CACHE_DIR'


def keep_compilations(directory: str | None) -> None:
    """Enable JAX's compilation cache, keyed by program, version and device.

    Prints a warning and disables the cache if the directory is not writable.
    Nothing is ever removed from it; it may be deleted at any time.

    Args:
      directory: A local path or gs://BUCKET/...; '' disables the cache.
        None: the directory of the environment variable, else ~/.cache/spade_jax.
    """
    import jax

    if directory is None:
        directory = os.environ.get(ENVIRONMENT, DEFAULT_DIRECTORY)
    directory = os.path.expanduser(directory)
    if directory and '://' not in directory and not _is_writable(directory):
        print(
            f'warning: compilation_cache_dir={directory} is not writable, so every start compiles '
            'again; name another directory, or "" for none',
            file=sys.stderr,
        )
        directory = ''
    jax.config.update('jax_compilation_cache_dir', directory or None)


def _is_writable(directory: str) -> bool:
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK)
