"""Train a model in --workdir, or resume its training there."""

from absl import flags

from spade_jax.commands.shared import COMPILATION_CACHE_DIR, given_workdir, make_directory
from spade_jax.config.flags import config_from_flags

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


def run() -> None:
    """Train, or resume."""
    workdir = given_workdir()
    config = config_from_flags(flags.FLAGS)
    make_directory('workdir', workdir)
    from spade_jax.distributed import processes
    from spade_jax.files.compilation_cache import keep_compilations

    keep_compilations(COMPILATION_CACHE_DIR.value)
    group = COORDINATOR_ADDRESS.value, NUM_PROCESSES.value, PROCESS_ID.value
    with processes.joined(*group, timeout=COORDINATOR_TIMEOUT.value):
        from spade_jax.training import train_loop

        train_loop.train(config, workdir)
