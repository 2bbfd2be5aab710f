"""Start the devices: check them, and keep the messages of their libraries from the user."""

import logging
import sys

import jax

from spade_jax.errors import UserError
from spade_jax.files.silent_stderr import silent_stderr
from spade_jax.forking import jax_has_started


def start_devices() -> None:
    """Let JAX find the devices; of what is written meanwhile, only its warnings are shown.

    The others are for the developers of libtpu and XLA, and would be the first lines of a run.

    Raises:
      UserError: Environment variables of JAX leave no device, or choose other number formats.
    """
    if jax.config.read('jax_enable_x64'):  # No array would have the type of its checkpoint.
        problem = 'JAX_ENABLE_X64 (jax_enable_x64) is set, but the models compute in 32 bits'
        raise UserError(problem, 'unset it')
    if jax_has_started():
        return
    records: list[logging.LogRecord] = []
    collector, logger = logging.Handler(logging.WARNING), logging.getLogger('jax')
    collector.emit = lambda record: records.append(record)
    logger.addHandler(collector)
    try:
        with silent_stderr():
            jax.devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts that it found a device.
        reason = ' '.join(str(error).split())[:300] or 'there is none'
        platforms = f'JAX_PLATFORMS={jax.config.jax_platforms or ""}'  # pyright: ignore
        problem = f'JAX cannot use a device of {platforms} ({reason})'
        raise UserError(problem, 'unset JAX_PLATFORMS, or install JAX for that device') from error
    finally:
        logger.removeHandler(collector)
    for record in records:
        print(f'warning: {record.getMessage()}', file=sys.stderr)
