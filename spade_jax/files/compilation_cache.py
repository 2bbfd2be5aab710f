"""The persistent compilation cache: a restarted run need not compile its train step again."""

import os
import sys
import tempfile

import jax

ENVIRONMENT = 'JAX_COMPILATION_CACHE_DIR'


def keep_compilations(directory: str | None) -> None:
    """Enable JAX's compilation cache, keyed by program, version and device.

    Prints a warning and disables the cache if the directory is not writable.
    Nothing is ever removed from it; it may be deleted at any time.

    Args:
      directory: A local path or gs://BUCKET/...; '' disables the cache.
        None: the directory of the environment variable, else ~/.cache/spade_jax.
    """
    if directory is None:
        directory = os.environ.get(ENVIRONMENT, '~/.cache/spade_jax')
    directory = os.path.expanduser(directory)
    if directory and '://' not in directory:
        try:
            os.makedirs(directory, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
        except OSError as error:
            problem = f'compilation_cache_dir={directory} is not writable ({error.strerror})'
            remedy = 'every start compiles again; name another directory, or "" for none'
            print(f'warning: {problem}; {remedy}', file=sys.stderr)
            directory = ''
    jax.config.update('jax_compilation_cache_dir', directory or None)
