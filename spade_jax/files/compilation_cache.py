"""Compiled programs that the next start finds again: compiling a train step takes longer than many of its steps."""

from __future__ import annotations

import os
import sys

DEFAULT_DIRECTORY = os.path.join('~', '.cache', 'spade_jax')
ENVIRONMENT = 'JAX_COMPILATION_CACHE_DIR'


def keep_compilations(directory: str | None) -> None:
    """Keeps what is compiled from now on, and takes from there what was compiled before, by the same version for the same device.

    Args:
      directory: None: the one that the environment names for JAX, else ~/.cache/spade_jax; '': keeps nothing; gs://BUCKET/... works too. One that cannot be
        written is told, and done without. Nothing is ever removed; it may be deleted at any time.
    """
    import jax

    if directory is None:
        directory = os.environ.get(ENVIRONMENT, DEFAULT_DIRECTORY)
    directory = os.path.expanduser(directory)
    if directory and '://' not in directory:
        try:
            os.makedirs(directory, exist_ok=True)
            writable = os.access(directory, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            print(
                f'warning: compilation_cache_dir={directory} cannot be written, so every start compiles anew; name another directory, or "" for none',
                file=sys.stderr,
            )
            directory = ''
    jax.config.update('jax_compilation_cache_dir', directory or None)
