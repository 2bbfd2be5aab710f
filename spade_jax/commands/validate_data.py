"""Check a data set, list its defects and suggest flags.

The data are described by the flags; for a run that exists, by those that it was started with.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from absl import flags

from spade_jax.commands.shared import OUTPUT_DIR, WORKDIR, checked_output_dir, image_directories
from spade_jax.config.flags import config_from_flags, given_flags, lacks_classes
from spade_jax.config.option import format_flags
from spade_jax.errors import require_extra
from spade_jax.files.names import CHECKPOINTS, run_directory

if TYPE_CHECKING:
    from spade_jax.config.config import Config

MEASURE_STEP = flags.DEFINE_bool(
    'measure_step',
    False,
    'Also compile and run a train step (a minute), to tell the time of a run.',
)
FLAGS = (OUTPUT_DIR, MEASURE_STEP)
HELP = {'output_dir': 'Directory of the report. Default: data_report.'}
SECTIONS = ('data',)
FIRST_FLAGS = {
    'Data': ('dataset', 'data_dir', 'train_image_dir', 'train_label_dir'),
    'Classes': ('num_classes', 'dontcare', 'palette', 'label_remap'),
    'Size': ('preprocess_mode', 'load_size', 'crop_size', 'aspect_ratio'),
    'Report': ('output_dir', 'measure_step'),
}


def run() -> None:
    """Print and write the report."""
    # The number of classes is counted if it is not given. Records cannot be read without it: they
    # are opened with exactly the options of their preparation.
    saved = _saved_config()
    may_count = not flags.FLAGS['records_dir'].value
    config = config_from_flags(flags.FLAGS, saved, classes_may_be_unknown=may_count)
    if records_dir := config.data.records_dir:
        require_extra('train', f'records_dir={records_dir}')
    output_dir = checked_output_dir('data_report', image_directories(config.data))
    from spade_jax.data.validation.report import validate
    from spade_jax.memory import machine_fit

    given = given_flags(flags.FLAGS, ('workdir', 'output_dir'))
    counts = saved is None and lacks_classes(flags.FLAGS)
    fitting = machine_fit.fitting_options(config, given) if saved is None else {}
    # Without the weights of VGG19, a download, the printed command names a network of the package.
    losses, added = config.losses, dict(fitting)
    needs_vgg19 = losses.perceptual_weight and losses.perceptual_network == 'vgg19'
    if needs_vgg19 and not losses.vgg19_weights and saved is None:
        added['perceptual_network'] = 'squeezenet'
    config = config.replace(**added)
    options: dict[str, Any] = dict(count_classes=counts, size_multiple=config.model.size_multiple)
    options['extra_flags'] = format_flags(added)
    validated = validate(config.data, output_dir, given=given, **options)
    config = dataclasses.replace(config, data=validated.config)
    if fitting:
        fitting = {name: config.options()[name] for name in fitting}
        print(f'{" ".join(format_flags(fitting))} fit this machine; choose others on a larger one.')
    print(machine_fit.needs(config, validated.num_examples, measure=MEASURE_STEP.value))


def _saved_config() -> Config | None:
    """The configuration of the run in --workdir, else of --init_from; None for a new run."""
    from spade_jax.checkpoints.stored_metadata import stored_metadata

    for run in (WORKDIR.value, str(flags.FLAGS['init_from'].value)):
        directory = run_directory(run) if run else ''
        if os.path.isdir(os.path.join(directory, CHECKPOINTS)):
            return stored_metadata(directory)[1].config
    return None
