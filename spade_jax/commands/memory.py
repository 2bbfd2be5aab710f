"""Estimate the memory that a train step needs on one device, without running it."""

from absl import flags

from spade_jax.config.flags import config_from_flags, positive_integers

MEMORY_BATCH_SIZES = flags.DEFINE_list(
    'memory_batch_sizes', [], 'Images on one device, e.g. 1,2. Default: its share of --batch_size.'
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
FIRST_FLAGS = {
    'Estimates': tuple(flag.name for flag in FLAGS),
    'Run': ('dataset', 'num_classes', 'crop_size', 'generator_width', 'batch_size'),
    'Less memory': ('compute_dtype', 'rematerialize', 'accumulation_steps'),
}


def run() -> None:
    """Print the table of estimates."""
    config = config_from_flags(flags.FLAGS)
    from spade_jax.distributed.devices import start_devices
    from spade_jax.memory import step_memory

    start_devices()
    lists = [
        positive_integers(flag.name, flag.value) for flag in (MEMORY_WIDTHS, MEMORY_BATCH_SIZES)
    ]
    devices, compiled = MEMORY_DEVICES.value, MEMORY_COMPILE.value
    step_memory.report(config, *lists, num_devices=devices, compiled=compiled)
