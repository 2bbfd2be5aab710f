"""Import TensorFlow as an input pipeline: late, quiet and without accelerators."""

import contextlib
import functools
import os
from types import ModuleType

from spade_jax.errors import require_extra
from spade_jax.files.silent_stderr import silent_stderr


@functools.cache
def import_tensorflow() -> ModuleType:
    """Import TensorFlow with all accelerators hidden, so that JAX owns their memory.

    The import takes seconds, so it happens only where training data are read.

    Raises:
      UserError: TensorFlow is not installed.
    """
    require_extra('train', 'the input pipeline of the training')
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    with silent_stderr():
        import tensorflow as tf

        for kind in ('GPU', 'TPU'):
            # A notebook that used TensorFlow before cannot hide its devices any more.
            with contextlib.suppress(RuntimeError):
                tf.config.set_visible_devices([], kind)
    return tf
