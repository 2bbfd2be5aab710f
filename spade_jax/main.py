"""The program: `python -m spade_jax.main --flagfile=experiments/quickstart.flags`."""

from __future__ import annotations

import os

from absl import app, flags

from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.compilation_cache import keep_compilations

MODE = flags.DEFINE_enum(
    'mode',
    'train',
    [
        'train',
        'sample',
        'validate_data',
        'prepare_data',
        'report',
        'memory',
        'convert',
        'export_torch',
        'export',
    ],
    'train: train in --workdir, or resume there. sample: draw label maps. validate_data: report everything that is '
    'wrong with the data set. prepare_data: write it to --records_dir, decoded and scaled, from where training reads faster. '
    'report: write report.html of the run in --workdir. memory: print what a train step needs on one device, before any run. '
    'convert: make --workdir of the PyTorch files in --torch_checkpoint_dir. export_torch: write such files of --workdir. '
    'export: write --output_file, which draws with JAX alone.',
)
WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Directory of the run: checkpoints, records, sample grids.'
)
LABEL_DIR = flags.DEFINE_string(
    'label_dir', None, 'sample: directory of label maps. Default: the validation set of the run.'
)
INSTANCE_DIR = flags.DEFINE_string(
    'instance_dir', '', 'sample: directory of instance maps of the same names.'
)
PHOTO_DIR = flags.DEFINE_string(
    'photo_dir',
    '',
    'sample: directory of photographs of the same names, which the gallery shows beside the pictures.',
)
GALLERY = flags.DEFINE_bool(
    'gallery',
    True,
    'sample: write index.html and contact_sheet.png, with label maps, pictures and photographs side by side.',
)
OUTPUT_DIR = flags.DEFINE_string(
    'output_dir',
    None,
    'sample: where the pictures go; default: <workdir>/pictures. validate_data: where the report goes; default: '
    'data_report. export_torch: where the files go.',
)
OUTPUT_FILE = flags.DEFINE_string(
    'output_file', 'generator.jaxexport', 'export: the file to write.'
)
NUM_SAMPLES = flags.DEFINE_integer(
    'num_samples', 1, 'sample: pictures of each label map, in different styles.', lower_bound=1
)
STYLE_IMAGE = flags.DEFINE_string(
    'style_image',
    '',
    'sample: draw in the style of this picture, or of the pictures of the same names in this directory, '
    'one for each label map.',
)
STYLE_IMAGE_TO = flags.DEFINE_string(
    'style_image_to', '', 'sample: where an interpolation that starts at --style_image ends.'
)
SEED_TO = flags.DEFINE_integer(
    'seed_to', None, 'sample: where an interpolation that starts at --seed ends.', lower_bound=0
)
STYLE_INTERPOLATION = flags.DEFINE_integer(
    'style_interpolation',
    0,
    'sample: pictures of each label map on the way between two styles, both included.',
    lower_bound=0,
)
TRUNCATION = flags.DEFINE_float(
    'truncation',
    1.0,
    'sample: scale of the random styles in [0, 1]; less: nearer to the mean style.',
)
FIXED_STYLE = flags.DEFINE_bool(
    'fixed_style',
    False,
    'sample: one random style for all label maps, as for the frames of a video.',
)
SAMPLE_SIZE = flags.DEFINE_string(
    'sample_size',
    'training',
    'sample, export: the size to which label maps are scaled: "training", "native" (drawn at their own), or WIDTHxHEIGHT.',
)
BATCH_STATISTICS = flags.DEFINE_enum(
    'batch_statistics',
    'running',
    ['running', 'batch', 'recalibrated'],
    'sample: what a model with batch normalisation normalises by: the running statistics of its training; those of the maps '
    'that are drawn together (--batch_size); or statistics taken anew over the maps that are to be drawn, where they are very many '
    'over 64 batches of them.',
)
WEIGHTS = flags.DEFINE_enum(
    'weights',
    None,
    ['averaged', 'trained'],
    'sample, export: draw with the averaged weights (see --ema_decay), or with those of the last step. Default: '
    'averaged where the run kept an average.',
)
COORDINATOR_ADDRESS = flags.DEFINE_string(
    'coordinator_address',
    None,
    'train: HOST:PORT of the first of several processes that train together, the same for all. Not needed '
    'under Slurm (srun), Open MPI (mpirun) and on TPU pods.',
)
NUM_PROCESSES = flags.DEFINE_integer(
    'num_processes', None, 'train: how many processes there are, usually one a host.', lower_bound=1
)
PROCESS_ID = flags.DEFINE_integer(
    'process_id', None, 'train: which of them this is, from 0.', lower_bound=0
)
CHECKPOINT_STEP = flags.DEFINE_integer(
    'checkpoint_step',
    None,
    'sample, export: step of the checkpoint to draw with. Default: the newest.',
    lower_bound=0,
)
COMPILATION_CACHE_DIR = flags.DEFINE_string(
    'compilation_cache_dir',
    None,
    'train, sample, export: where compiled programs are kept for the next start; "": nowhere. Default: '
    'what JAX_COMPILATION_CACHE_DIR says, else ~/.cache/spade_jax.',
)
MEMORY_BATCH_SIZES = flags.DEFINE_list(
    'memory_batch_sizes',
    [],
    'memory: images on one device, for example 1,2,4,8. Default: the share of one device in --batch_size.',
)
MEMORY_WIDTHS = flags.DEFINE_list(
    'memory_widths',
    [],
    'memory: widths of the picture, for example 128,256,512. Default: --crop_size.',
)
MEMORY_DEVICES = flags.DEFINE_integer(
    'memory_devices',
    None,
    'memory: number of devices of the run. Default: those of this machine.',
    lower_bound=1,
)
MEMORY_COMPILE = flags.DEFINE_bool(
    'memory_compile', False, 'memory: compile each step too (minutes), for what the compiler says.'
)
TORCH_CHECKPOINT_DIR = flags.DEFINE_string(
    'torch_checkpoint_dir',
    None,
    'convert: directory of the files <epoch>_net_{G,D,E}.pth, .npz or .safetensors.',
)
TORCH_EPOCH = flags.DEFINE_string(
    'torch_epoch', 'latest', 'convert, export_torch: how the names of the files begin.'
)
TORCH_FORMAT = flags.DEFINE_enum(
    'torch_format',
    'pth',
    ['pth', 'npz', 'safetensors'],
    'export_torch: format of the files; pth needs PyTorch.',
)
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)  # so that --help shows them


def main(argv: list[str]) -> None:
    """Runs the mode."""
    with one_line_errors(argv):
        {
            'train': train,
            'sample': sample,
            'validate_data': validate_data,
            'prepare_data': prepare_data,
            'report': report,
            'memory': memory,
            'convert': convert,
            'export_torch': export_torch,
            'export': export,
        }[MODE.value]()


def train() -> None:
    """--mode=train."""
    workdir = given_workdir()
    config = config_flags.config_from_flags(flags.FLAGS)
    make_directory('workdir', workdir)
    from spade_jax.distributed import processes

    keep_compilations(COMPILATION_CACHE_DIR.value)
    with processes.joined(COORDINATOR_ADDRESS.value, NUM_PROCESSES.value, PROCESS_ID.value):
        from spade_jax.training import train_loop

        train_loop.train(config, workdir)


def sample() -> None:
    """--mode=sample. Flags of the model are not needed; those that are given may not contradict the checkpoint."""
    workdir = given_workdir()
    given = config_flags.given_options(flags.FLAGS)
    from spade_jax.sampling import gallery, recalibration, sample_files, sizes, style_flags

    choice = style_flags.StyleOptions(
        seed=given.get('seed', 0),
        num_samples=NUM_SAMPLES.value,
        truncation=TRUNCATION.value,
        fixed_style=FIXED_STYLE.value,
        style_image=STYLE_IMAGE.value,
        style_image_to=STYLE_IMAGE_TO.value,
        seed_to=SEED_TO.value,
        style_interpolation=STYLE_INTERPOLATION.value,
    )
    generator = loaded_generator(workdir)
    config_flags.check_given(
        flags.FLAGS, generator.config, free=('seed', 'batch_size', 'palette', 'label_remap')
    )
    size = sizes.parse_size(SAMPLE_SIZE.value, generator.config)
    output_dir = os.path.expanduser(OUTPUT_DIR.value or os.path.join(workdir, 'pictures'))
    make_directory('output_dir', output_dir)
    config = generator.config.replace(**given)
    maps = label_maps(config)
    styles = choice.styles(generator, maps)
    viewer = (
        gallery.Gallery(
            config, maps, output_dir, styles.num_samples, os.path.basename(os.path.abspath(workdir))
        )
        if GALLERY.value
        else None
    )
    batch_size = given.get('batch_size', 8)
    generator = recalibration.with_statistics(
        generator, BATCH_STATISTICS.value, maps, styles, size=size, batch_size=batch_size
    )
    pictures = sample_files.draw(
        generator, maps, output_dir, styles, size=size, batch_size=batch_size, viewer=viewer
    )
    print(f'{len(pictures)} pictures: {output_dir}')
    if viewer:
        print(f'Gallery: {os.path.join(output_dir, gallery.PAGE)}')


def loaded_generator(workdir: str):
    """The `TrainedGenerator` that --checkpoint_step and --weights choose."""
    keep_compilations(COMPILATION_CACHE_DIR.value)
    from spade_jax.sampling import load

    return load(
        workdir,
        CHECKPOINT_STEP.value,
        averaged=None if WEIGHTS.value is None else WEIGHTS.value == 'averaged',
    )


def label_maps(config: Config):
    """The `LabelMaps` that sampling draws: those of --label_dir, else of the validation set."""
    from spade_jax.data.files.label_maps import LabelFolder, LabelsOfSource

    if LABEL_DIR.value is not None:
        return LabelFolder(
            config.data,
            os.path.expanduser(LABEL_DIR.value),
            os.path.expanduser(INSTANCE_DIR.value),
            os.path.expanduser(PHOTO_DIR.value),
        )
    for flag in (INSTANCE_DIR, PHOTO_DIR):
        if flag.value:
            raise UserError(
                f'{flag.name}={flag.value} without label_dir: the validation set of the run has its own',
                'add --label_dir, or leave the flag out',
            )
    from spade_jax.data.sources.open_source import open_source

    source = open_source(config.data, 'validation')
    if source is None:
        raise UserError(
            '--label_dir is missing, and the run has no validation set',
            'give the directory of the label maps to draw',
        )
    return LabelsOfSource(source, config.data)


def validate_data() -> None:
    """--mode=validate_data."""
    # Records are read with the very settings of their preparation; of anything else, the classes can be counted.
    config = config_flags.config_from_flags(
        flags.FLAGS, classes_may_be_unknown=not flags.FLAGS['records_dir'].value
    )
    output_dir = os.path.expanduser(OUTPUT_DIR.value or 'data_report')
    make_directory('output_dir', output_dir)
    from spade_jax.data.validation.report import validate

    validate(
        config.data,
        output_dir,
        given=config_flags.given_flags(flags.FLAGS, others=('workdir', 'output_dir')),
        count_classes=config_flags.lacks_classes(flags.FLAGS),
    )


def prepare_data() -> None:
    """--mode=prepare_data."""
    config = config_flags.config_from_flags(flags.FLAGS)
    from spade_jax.data.records import writer

    writer.prepare(config.data)


def report() -> None:
    """--mode=report."""
    workdir = given_workdir()
    from spade_jax.reports import run_report

    print(f'Report: {run_report.write(workdir)}')


def memory() -> None:
    """--mode=memory."""
    config = config_flags.config_from_flags(flags.FLAGS)
    from spade_jax.memory import step_memory as step_memory

    step_memory.report(
        config,
        config_flags.positive_integers('memory_widths', MEMORY_WIDTHS.value),
        config_flags.positive_integers('memory_batch_sizes', MEMORY_BATCH_SIZES.value),
        num_devices=MEMORY_DEVICES.value,
        compiled=MEMORY_COMPILE.value,
    )


def convert() -> None:
    """--mode=convert. The flags that describe the run are those with which it may be trained on."""
    workdir = given_workdir()
    if TORCH_CHECKPOINT_DIR.value is None:
        raise UserError(
            '--torch_checkpoint_dir is missing',
            'give the directory of the files latest_net_G.pth, ...',
        )
    described, given = (
        config_flags.described_options(flags.FLAGS, dataset_may_be_unknown=True),
        config_flags.given_options(flags.FLAGS),
    )
    make_directory('workdir', workdir)
    from spade_jax.convert import from_torch

    config, files = from_torch.convert(
        os.path.expanduser(TORCH_CHECKPOINT_DIR.value), TORCH_EPOCH.value, workdir, described, given
    )
    fresh = (
        ''
        if any('_net_D' in os.path.basename(file) for file in files)
        else '; the discriminator is a fresh one'
    )
    print(
        f'{", ".join(map(os.path.basename, files))} -> {workdir}{fresh}\nTo train on, repeat: {" ".join(config_flags.flags_to_resume(config))}'
    )


def export_torch() -> None:
    """--mode=export_torch."""
    workdir = given_workdir()
    if OUTPUT_DIR.value is None:
        raise UserError(
            '--output_dir is missing', 'give the directory for the files latest_net_G.pth, ...'
        )
    output_dir = os.path.expanduser(OUTPUT_DIR.value)
    make_directory('output_dir', output_dir)
    from spade_jax.convert import to_torch

    config, files = to_torch.export(workdir, output_dir, TORCH_FORMAT.value, TORCH_EPOCH.value)
    print(f'{workdir} -> {", ".join(files)}')
    if beyond := to_torch.beyond_the_reference(config):
        print(
            f'The reference implementation has no networks for {", ".join(beyond)}: it will not load these files, --mode=convert does.'
        )


def export() -> None:
    """--mode=export."""
    workdir = given_workdir()
    output_file = os.path.expanduser(OUTPUT_FILE.value)
    from spade_jax import export as artifact
    from spade_jax.sampling import sizes

    generator = loaded_generator(workdir)
    config_flags.check_given(
        flags.FLAGS, generator.config, free=('seed', 'batch_size', 'palette', 'label_remap')
    )
    if SAMPLE_SIZE.value == sizes.NATIVE:
        raise UserError(
            'sample_size=native, but a file is for one size',
            'use --sample_size=training or WIDTHxHEIGHT',
        )
    inputs = artifact.export(
        generator, output_file, sizes.parse_size(SAMPLE_SIZE.value, generator.config)
    )
    signature = ', '.join(
        f'{name} {value.dtype}[{", ".join(map(str, value.shape))}]'
        for name, value in inputs.items()
    )
    print(
        f'{output_file}: {os.path.getsize(output_file) / 1e6:.1f} MB, ({signature}) -> pictures uint8[batch, height, width, 3]'
    )


def given_workdir() -> str:
    """--workdir, which all modes need that read or write a run."""
    if WORKDIR.value is None:
        raise UserError('--workdir is missing: the directory of the run')
    return os.path.expanduser(WORKDIR.value)


def make_directory(flag: str, path: str) -> None:
    """Makes a directory for results; raises UserError where nothing can be written."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(
            f'{flag}={path} cannot be made ({error.strerror}); choose another directory'
        ) from error
    if not os.access(path, os.W_OK):
        raise UserError(f'{flag}={path} is not writable; choose another directory')


if __name__ == '__main__':
    app.run(main)
