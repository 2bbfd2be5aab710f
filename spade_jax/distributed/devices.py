"""Start the devices without the messages of their libraries."""

import functools
import logging
import sys

import jax

from spade_jax.files.silent_stderr import silent_stderr


@functools.cache
def start_devices() -> None:
    """Let JAX find the devices; of what is written meanwhile, only its warnings are shown.

    The others are for the developers of libtpu and XLA, and would be the first lines of a run.
    """
    records: list[logging.LogRecord] = []
    collector, logger = logging.Handler(logging.WARNING), logging.getLogger('jax')
    collector.emit = lambda record: records.append(record)
    logger.addHandler(collector)
    try:
        with silent_stderr():
            jax.devices()
    finally:
        logger.removeHandler(collector)
    for record in records:
        print(f'warning: {record.getMessage()}', file=sys.stderr)
