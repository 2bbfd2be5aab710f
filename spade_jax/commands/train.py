"""Train a model in --workdir, or resume its training there."""

from absl import flags

from spade_jax.commands.shared import (
    COMPILATION_CACHE_DIR,
    given_workdir,
    image_directories,
    make_directory,
)
from spade_jax.config.flags import config_from_flags
from spade_jax.errors import require_extra

COORDINATOR_ADDRESS = flags.DEFINE_string(
    'coordinator_address',
    None,
    'HOST:PORT of the first of several processes; not needed under Slurm, Open MPI, on TPU pods.',
)
NUM_PROCESSES = flags.DEFINE_integer(
    'num_processes', None, 'Number of processes, usually one for each host.', 1, 65536
)
PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Process number, from 0.', 0, 65535)
COORDINATOR_TIMEOUT = flags.DEFINE_integer(
    'coordinator_timeout', 120, 'Seconds to wait for the other processes.', 1, 86400
)
FLAGS = (COMPILATION_CACHE_DIR, COORDINATOR_ADDRESS, NUM_PROCESSES, PROCESS_ID, COORDINATOR_TIMEOUT)
SECTIONS = ('data', 'model', 'losses', 'optimizer', 'run')
FIRST_FLAGS = {
    'Run': ('workdir',),
    'Data': ('dataset', 'data_dir', 'train_image_dir', 'train_label_dir', 'num_classes', 'palette'),
    'Size': ('load_size', 'crop_size'),
    'Training': ('batch_size', 'constant_epochs', 'vgg19_weights', 'perceptual_weight'),
    'Styles': ('style_encoder',),
}


def run() -> None:
    """Train, or resume."""
    workdir = given_workdir()
    config = config_from_flags(flags.FLAGS)
    require_extra('train', '--mode=train')
    make_directory('workdir', workdir, image_directories(config.data))
    from spade_jax.distributed import processes
    from spade_jax.files.compilation_cache import keep_compilations

    keep_compilations(COMPILATION_CACHE_DIR.value)
    group = COORDINATOR_ADDRESS.value, NUM_PROCESSES.value, PROCESS_ID.value
    with processes.joined(*group, timeout=COORDINATOR_TIMEOUT.value):
        from spade_jax.training import train_loop

        train_loop.train(config, workdir)
