"""Flags that several modes read, and what they mean."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from absl import flags

import spade_jax
from spade_jax.config.flags import check_given
from spade_jax.errors import UserError, user_errors

if TYPE_CHECKING:
    from spade_jax.sampling import TrainedGenerator

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run: checkpoints, logs, samples.')
OUTPUT_DIR = flags.DEFINE_string(
    'output_dir',
    None,
    'Results. Default: <workdir>/images; data_report for validate_data, evaluation for evaluate.',
)
LABEL_DIR = flags.DEFINE_string(
    'label_dir', None, 'Label maps. Default for sample: the validation set.'
)
PHOTO_DIR = flags.DEFINE_string(
    'photo_dir', '', 'Photos named as the label maps, for the gallery; real images, for evaluate.'
)
SAMPLE_SIZE = flags.DEFINE_string(
    'sample_size', 'training', 'Size of label maps: training, native (not resized), WIDTHxHEIGHT.'
)
CHECKPOINT_STEP = flags.DEFINE_integer(
    'checkpoint_step', None, 'Step of the checkpoint. Default: the newest.', lower_bound=0
)
WEIGHTS = flags.DEFINE_enum(
    'weights', None, ['ema', 'raw'], 'Weights to sample with. Default: the EMA if the run has one.'
)
_CACHE_HELP = """Directory that keeps compiled programs for later runs; "" keeps none. Default: the
environment variable JAX_COMPILATION_CACHE_DIR, else ~/.cache/spade_jax."""
COMPILATION_CACHE_DIR = flags.DEFINE_string('compilation_cache_dir', None, _CACHE_HELP)
GENERATOR_FLAGS = (CHECKPOINT_STEP, WEIGHTS, COMPILATION_CACHE_DIR)


def given_workdir(*, may_be_demo: bool = False) -> str:
    """The directory of --workdir; for modes that only read the run, `demo` is the packaged one."""
    if WORKDIR.value is None:
        demo = ', or --workdir=demo for the packaged demo' if may_be_demo else ''
        raise UserError('--workdir is missing', f'give the directory of the run{demo}')
    if may_be_demo and WORKDIR.value == 'demo' and not os.path.isdir('demo'):
        return spade_jax.DEMO
    return os.path.expanduser(WORKDIR.value)


def make_output_dir(default: str) -> str:
    """Create the directory of --output_dir, else the default; returns its path."""
    path = os.path.expanduser(OUTPUT_DIR.value or default)
    make_directory('output_dir', path)
    return path


def make_directory(flag: str, path: str) -> None:
    """Create a directory for results; raises UserError if it cannot be created or written."""
    remedy = 'choose another directory'
    with user_errors(f'{flag}={path} cannot be created', remedy):
        os.makedirs(path, exist_ok=True)
    if not os.access(path, os.W_OK):
        raise UserError(f'{flag}={path} is not writable', remedy)


def load_generator(workdir: str) -> TrainedGenerator:
    """The generator that --checkpoint_step and --weights choose; flags may not contradict it."""
    from spade_jax.distributed.devices import start_devices
    from spade_jax.files.compilation_cache import keep_compilations

    keep_compilations(COMPILATION_CACHE_DIR.value)
    start_devices()
    use_ema = None if WEIGHTS.value is None else WEIGHTS.value == 'ema'
    generator = spade_jax.load(workdir, CHECKPOINT_STEP.value, use_ema=use_ema)
    check_given(flags.FLAGS, generator.config, ('seed', 'batch_size', 'palette', 'label_remap'))
    return generator
