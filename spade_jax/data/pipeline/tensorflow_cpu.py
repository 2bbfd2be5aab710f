"""Import TensorFlow as an input pipeline: late, quiet and without accelerators."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from types import ModuleType

from spade_jax.errors import require_extra


@functools.cache
def import_tensorflow() -> ModuleType:
    """Import TensorFlow with all accelerators hidden, so that JAX owns their memory.

    The import takes seconds, so it happens only where training data are read.

    Raises:
      UserError: TensorFlow is not installed.
    """
    require_extra('train', 'the input pipeline of the training')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with _silent_stderr():
        import tensorflow as tf

        for kind in ('GPU', 'TPU'):
            # A notebook that used TensorFlow before cannot hide its devices any more.
            with contextlib.suppress(RuntimeError):
                tf.config.set_visible_devices([], kind)
    return tf


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Show what C++ writes to standard error, a dozen lines, only if the block fails."""
    with tempfile.TemporaryFile() as held, contextlib.ExitStack() as restore:
        terminal = os.dup(2)
        restore.callback(os.close, terminal)
        restore.callback(os.dup2, terminal, 2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
