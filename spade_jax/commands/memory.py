"""Estimate the memory that a train step needs on one device, without running it."""

from absl import flags

from spade_jax.config.flags import config_from_flags, positive_integers

MEMORY_BATCH_SIZES = flags.DEFINE_list(
    'memory_batch_sizes',
    [],
    'Images on one device, e.g. 1,2,4,8. Default: the share of one device in --batch_size.',
)
MEMORY_WIDTHS = flags.DEFINE_list(
    'memory_widths', [], 'Image widths, e.g. 128,256,512. Default: --crop_size.'
)
MEMORY_DEVICES = flags.DEFINE_integer(
    'memory_devices', None, 'Devices of the run. Default: those of this machine.', lower_bound=1
)
MEMORY_COMPILE = flags.DEFINE_bool(
    'memory_compile', False, "Also compile each step (minutes) and print the compiler's figures."
)
FLAGS = (MEMORY_BATCH_SIZES, MEMORY_WIDTHS, MEMORY_DEVICES, MEMORY_COMPILE)
SECTIONS = ('data', 'model', 'losses', 'optimizer')


def run() -> None:
    """Print the table of estimates."""
    config = config_from_flags(flags.FLAGS)
    from spade_jax.memory import step_memory

    step_memory.report(
        config,
        positive_integers('memory_widths', MEMORY_WIDTHS.value),
        positive_integers('memory_batch_sizes', MEMORY_BATCH_SIZES.value),
        num_devices=MEMORY_DEVICES.value,
        compiled=MEMORY_COMPILE.value,
    )
