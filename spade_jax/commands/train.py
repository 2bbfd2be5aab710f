"""Train a model in --workdir, or resume its training there.

A run that is there already is resumed with its configuration: no other flags are needed, and those
that are given must not change what is trained. --max_steps and --constant_epochs extend a run.
"""

import os

from absl import flags

from spade_jax.commands.shared import (
    COMPILATION_CACHE_DIR,
    check_directory,
    given_workdir,
    image_directories,
)
from spade_jax.config.config import RunConfig, option_fields
from spade_jax.config.flags import config_from_flags, given_flags
from spade_jax.errors import UserError, require_extra
from spade_jax.files.names import CHECKPOINTS

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
SECTIONS = ('data', 'model', 'losses', 'optimizer', 'run', 'evaluation')
# Flags that say how a run goes on; a new one needs others.
_OF_EVERY_RUN = {'max_steps', 'constant_epochs', 'decay_epochs', *option_fields(RunConfig)}
FIRST_FLAGS = {
    'Run': ('workdir',),
    'Data': ('dataset', 'data_dir', 'train_image_dir', 'train_label_dir', 'num_classes', 'palette'),
    'Size': ('load_size', 'crop_size'),
    'Training': ('batch_size', 'constant_epochs', 'perceptual_network', 'vgg19_weights'),
    'Styles': ('style_encoder',),
}


def run() -> None:
    """Train, or resume."""
    workdir, init_from = given_workdir(), str(flags.FLAGS['init_from'].value)
    if not init_from and not _has_checkpoint(workdir):
        if not given_flags(flags.FLAGS).keys() - _OF_EVERY_RUN:
            remedy = 'check the path, or give the flags of the run: --dataset=... or --flagfile=...'
            raise UserError(f'workdir={workdir} has no checkpoint to resume', remedy)
        config_from_flags(flags.FLAGS)  # Refuses bad flags before any device is touched.
    require_extra('train', '--mode=train')
    from spade_jax.distributed import processes
    from spade_jax.files.compilation_cache import keep_compilations

    keep_compilations(COMPILATION_CACHE_DIR.value)
    group = COORDINATOR_ADDRESS.value, NUM_PROCESSES.value, PROCESS_ID.value
    with processes.joined(*group, timeout=COORDINATOR_TIMEOUT.value):
        from spade_jax.training import resume, train_loop

        config = config_from_flags(flags.FLAGS, resume.saved_config(workdir, init_from))
        check_directory('workdir', workdir, image_directories(config.data))
        os.makedirs(workdir, exist_ok=True)
        train_loop.train(config, workdir)


def _has_checkpoint(workdir: str) -> bool:
    directory = os.path.join(workdir, CHECKPOINTS)
    return os.path.isdir(directory) and any(name.isdecimal() for name in os.listdir(directory))
