"""Check a data set, list its defects and suggest flags."""

from typing import Any

from absl import flags

from spade_jax.commands.shared import OUTPUT_DIR, image_directories, make_output_dir
from spade_jax.config.flags import config_from_flags, given_flags, lacks_classes

FLAGS = (OUTPUT_DIR,)
SECTIONS = ('data',)


def run() -> None:
    """Print and write the report."""
    # The number of classes is counted if it is not given. Records cannot be read without it: they
    # are opened with exactly the options of their preparation.
    may_count = not flags.FLAGS['records_dir'].value
    config = config_from_flags(flags.FLAGS, classes_may_be_unknown=may_count)
    output_dir = make_output_dir('data_report', image_directories(config.data))
    from spade_jax.data.validation.report import validate

    given, counts = given_flags(flags.FLAGS, ('workdir', 'output_dir')), lacks_classes(flags.FLAGS)
    # Without the weights of the perceptual loss, a download, the printed command turns it off.
    needs_weights = config.losses.perceptual_weight and not config.losses.vgg19_weights
    extra = ['--perceptual_weight=0'] if needs_weights else []
    multiple = config.model.size_multiple
    options: dict[str, Any] = dict(count_classes=counts, extra_flags=extra, size_multiple=multiple)
    validate(config.data, output_dir, given=given, **options)
