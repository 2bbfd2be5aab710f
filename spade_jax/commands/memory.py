"""Estimate the memory that a train step needs on one device, without running it.

The flags describe the run; those of a run that exists are taken from its --workdir.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from spade_jax.commands.shared import WORKDIR, given_workdir
from spade_jax.config.flags import config_from_flags
from spade_jax.config.option import LARGEST_BATCH, LARGEST_SIDE, positive_integers

if TYPE_CHECKING:
    from spade_jax.config.config import Config

MEMORY_BATCH_SIZES = flags.DEFINE_list(
    'memory_batch_sizes', [], 'Images on one device, e.g. 1,2. Default: its share of --batch_size.'
)
MEMORY_WIDTHS = flags.DEFINE_list(
    'memory_widths', [], 'Image widths, e.g. 128,256,512. Default: --crop_size.'
)
MEMORY_DEVICES = flags.DEFINE_integer(
    'memory_devices', None, 'Devices of the run. Default: those of this machine.', 1, 65536
)
MEMORY_COMPILE = flags.DEFINE_bool(
    'memory_compile', False, "Also compile each step (minutes) and print the compiler's figures."
)
FLAGS = (MEMORY_BATCH_SIZES, MEMORY_WIDTHS, MEMORY_DEVICES, MEMORY_COMPILE)
SECTIONS = ('data', 'model', 'losses', 'optimizer')
FIRST_FLAGS = {
    'Estimates': tuple(flag.name for flag in FLAGS),
    'Run': ('dataset', 'num_classes', 'crop_size', 'generator_width', 'batch_size'),
    'Less memory': ('compute_dtype', 'rematerialize', 'accumulation_steps'),
}


def run() -> None:
    """Print the table of estimates."""
    config = config_from_flags(flags.FLAGS, _saved_config())
    from spade_jax.memory import step_memory

    widths = positive_integers('memory_widths', MEMORY_WIDTHS.value, LARGEST_SIDE)
    sizes = positive_integers('memory_batch_sizes', MEMORY_BATCH_SIZES.value, LARGEST_BATCH)
    devices, compiled = MEMORY_DEVICES.value, MEMORY_COMPILE.value
    step_memory.report(config, widths, sizes, num_devices=devices, compiled=compiled)


def _saved_config() -> Config | None:
    """The configuration of the run in --workdir; None without one."""
    if WORKDIR.value is None:
        return None
    from spade_jax.training.resume import saved_config

    return saved_config(given_workdir(may_be_demo=True), init_from='')
