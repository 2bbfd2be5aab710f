"""Flags that several modes read, and what they mean."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from absl import flags

import spade_jax
from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.config.flags import check_given, given_options
from spade_jax.errors import UserError, user_errors
from spade_jax.files.names import is_below
from spade_jax.files.writable import probe

if TYPE_CHECKING:
    from spade_jax.data.files.label_maps import LabelMaps
    from spade_jax.sampling import TrainedGenerator

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run: checkpoints, logs, samples.')
OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Directory of the results. Default: <workdir>/images.'
)
LABEL_DIR = flags.DEFINE_string(
    'label_dir', None, 'Label maps. Default for sample: the validation set.'
)
INSTANCE_DIR = flags.DEFINE_string('instance_dir', '', 'Instance maps, named as the label maps.')
PHOTO_DIR = flags.DEFINE_string(
    'photo_dir', '', 'Photos named as the label maps, for the gallery; real images, for evaluate.'
)
SAMPLE_SIZE = flags.DEFINE_string(
    'sample_size', 'training', 'Size of label maps: training, native (not resized), WIDTHxHEIGHT.'
)
CHECKPOINT_STEP = flags.DEFINE_integer(
    'checkpoint_step', None, 'Step of the checkpoint. Default: the newest.', 0, 2**31 - 1
)
WEIGHTS = flags.DEFINE_enum(
    'weights', None, ['ema', 'raw'], 'Weights to sample with. Default: the EMA if the run has one.'
)
_CACHE_HELP = """Directory that keeps compiled programs for later runs; "" keeps none. Default: the
environment variable JAX_COMPILATION_CACHE_DIR, else ~/.cache/spade_jax."""
COMPILATION_CACHE_DIR = flags.DEFINE_string('compilation_cache_dir', None, _CACHE_HELP)
MAPS_TOGETHER = 8
# Options of a run that mean something else here, with their help.
OPTIONS_OF_SAMPLING = {
    'seed': 'Number of the random styles. (default: 0)',
    'batch_size': f'Label maps sampled together. (default: {MAPS_TOGETHER})',
}
_WITHOUT_DIRECTORIES = ('scenes', 'tfds', 'celebamask_hq')  # Or with images that are listed.
GENERATOR_FLAGS = (CHECKPOINT_STEP, WEIGHTS, COMPILATION_CACHE_DIR)


def given_workdir(*, may_be_demo: bool = False) -> str:
    """The directory of --workdir; for modes that only read the run, `demo` is the packaged one."""
    if WORKDIR.value is None:
        demo = ', or --workdir=demo for the packaged demo' if may_be_demo else ''
        raise UserError('--workdir is missing', f'give the directory of the run{demo}')
    if may_be_demo and WORKDIR.value == 'demo' and not os.path.isdir('demo'):
        return spade_jax.DEMO
    return os.path.expanduser(WORKDIR.value)


def given_workdirs() -> dict[str, str]:
    """The directories of --workdir=A,B, or one, by unique names for files; each may be `demo`."""
    value = given_workdir(may_be_demo=True)
    parts = [value] if os.path.isdir(value) else [part for part in value.split(',') if part]
    if not parts:
        raise UserError(f'workdir={value} names no run', 'give the directory of the run')
    paths = [spade_jax.DEMO if part == 'demo' else os.path.expanduser(part) for part in parts]
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UserError(f'workdir={value} has a run twice', 'give different directories')
    names = [os.path.basename(os.path.abspath(path)) for path in paths]
    if len({*names}) < len(names):  # Of x/y/run and x/z/run: y/run and z/run.
        common = os.path.commonpath(map(os.path.abspath, paths))
        names = [os.path.relpath(path, common) for path in paths]
    return dict(zip(names, paths, strict=True))


def is_demo(workdir: str) -> bool:
    """True for the packaged demo, whose directory is no place for the user's files."""
    return os.path.realpath(workdir) == os.path.realpath(spade_jax.DEMO)


def label_maps(config: Config, workdir: str | None = None) -> LabelMaps:
    """The label maps of --label_dir; else those of a demo's `workdir`, or the validation set."""
    from spade_jax.data.files.label_maps import LabelFolder, LabelsOfSource
    from spade_jax.data.sources.open_source import open_source

    if LABEL_DIR.value is not None and config.data.unconditional:
        problem = f'label_dir={LABEL_DIR.value}, but model={config.model.name} has no condition'
        raise UserError(problem, 'leave it out; --num_samples=N of --mode=sample samples N images')
    if LABEL_DIR.value is not None:
        flag_values = (LABEL_DIR.value, INSTANCE_DIR.value, PHOTO_DIR.value)
        label_dir, instance_dir, photo_dir = map(os.path.expanduser, flag_values)
        return LabelFolder(config.data, label_dir, instance_dir, photo_dir)
    for flag in (INSTANCE_DIR, PHOTO_DIR):
        if flag.value:
            problem = f'{flag.name}={flag.value} without label_dir'
            raise UserError(problem, 'add --label_dir; the default label maps have their own')
    if workdir and is_demo(workdir):
        labels, photos = (os.path.join(workdir, name) for name in ('labels', 'photos'))
        return LabelFolder(config.data, labels, photo_dir=photos)
    try:
        source = open_source(config.data, 'validation')
    except UserError as error:
        remedy = f'{error.remedy}; or give other label maps with --label_dir'
        raise type(error)(error.problem, remedy) from error
    if source is None and config.data.unconditional:
        remedy = 'add --validation_image_dir, a directory below --data_dir'
        raise UserError('the run has no validation set, whose images are compared', remedy)
    if source is None:
        problem = '--label_dir is missing, and the run has no validation set'
        directory = config.data.data_dir
        if directory and not os.path.isdir(directory):
            problem += f': there is no directory {directory}'
        remedy = 'give a directory of label maps, or set --data_dir; scores of photos need '
        raise UserError(problem, f'{remedy}--photo_dir, too')
    return LabelsOfSource(source, config.data)


def checked_output_dir(default: str, inputs: Mapping[str, str] | None = None) -> str:
    """The directory of --output_dir, else the default, checked by `check_directory`."""
    path = os.path.expanduser(OUTPUT_DIR.value or default)
    check_directory('output_dir', path, inputs)
    return path


def check_directory(flag: str, path: str, inputs: Mapping[str, str] | None = None) -> None:
    """Check that a directory for results can be made and written; the first file makes it.

    Args:
      flag: The flag that names it, for messages.
      path: The directory.
      inputs: Flag -> directory whose images are all read; later runs would read results there.

    Raises:
      UserError: It cannot be created or written, or is inside a directory of inputs.
    """
    remedy = 'choose another directory'
    for input_flag, directory in (inputs or {}).items():
        if is_below(path, directory):
            files = 'label maps' if input_flag == 'label_dir' else 'files'
            problem = f'{flag}={path} is inside of {input_flag}={directory}: results would '
            raise UserError(f'{problem}overwrite the {files}, or be read as such later', remedy)
    done = 'written' if os.path.isdir(path) else 'created'
    with user_errors(f'{flag}={path} cannot be {done}', remedy):
        probe(path)


def image_directories(data: DataConfig) -> dict[str, str]:
    """Flag -> directory of which training reads every image."""
    splits = [split for split in ('train', 'validation') if not getattr(data, f'{split}_list')]
    names = [f'{split}_image_dir' for split in splits if not data.image_suffix]
    return data_directories(data, names)


def data_directories(data: DataConfig, names: Iterable[str]) -> dict[str, str]:
    """Flag -> directory, for these options; {} if the examples are not files in directories."""
    if data.records_dir or data.dataset in _WITHOUT_DIRECTORIES:
        return {}
    values = {name: getattr(data, name) for name in names}
    return {name: os.path.join(data.data_dir, value) for name, value in values.items() if value}


def load_generator(workdir: str) -> TrainedGenerator:
    """The generator that --checkpoint_step and --weights choose; flags may not contradict it."""
    from spade_jax.distributed.devices import start_devices
    from spade_jax.files.compilation_cache import keep_compilations

    keep_compilations(COMPILATION_CACHE_DIR.value)
    start_devices()
    given = given_options(flags.FLAGS)
    of_itself = ('seed', 'batch_size', 'label_remap')  # Wrong with any model: no need to load it.
    Config.create(**{name: given[name] for name in of_itself if name in given})
    use_ema = None if WEIGHTS.value is None else WEIGHTS.value == 'ema'
    generator = spade_jax.load(workdir, CHECKPOINT_STEP.value, use_ema=use_ema)
    free = ('seed', 'batch_size', 'palette', 'palette_tolerance', 'label_remap')
    check_given(flags.FLAGS, generator.config, free)
    return generator
