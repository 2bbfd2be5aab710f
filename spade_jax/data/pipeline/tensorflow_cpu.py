"""TensorFlow as an input pipeline: imported when data are read, quiet, and kept off the accelerators."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from types import ModuleType


@functools.cache
def import_tensorflow() -> ModuleType:
    """The module `tensorflow`, to which every accelerator is hidden: their memory is JAX's.

    The import takes seconds, so it happens where data are read and nowhere else.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with _held_back_stderr():
        import tensorflow as tf

        for kind in ('GPU', 'TPU'):
            with contextlib.suppress(
                RuntimeError
            ):  # A notebook that has used TensorFlow before has taken its devices already.
                tf.config.set_visible_devices([], kind)
    return tf


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Keeps what is written to file descriptor 2, and shows it only when the block fails.

    TensorFlow greets with a dozen lines about processors and drivers that no setting turns off, for they come from C++ before its logging is set up.
    """
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
