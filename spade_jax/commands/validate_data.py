"""Check a data set, list its defects and suggest flags."""

import os

from absl import flags

from spade_jax.commands.shared import OUTPUT_DIR, make_directory
from spade_jax.config.flags import config_from_flags, given_flags, lacks_classes

FLAGS = (OUTPUT_DIR,)
SECTIONS = ('data',)


def run() -> None:
    """Print and write the report."""
    # The number of classes is counted if it is not given. Records cannot be read without it: they
    # are opened with exactly the options of their preparation.
    may_count = not flags.FLAGS['records_dir'].value
    config = config_from_flags(flags.FLAGS, classes_may_be_unknown=may_count)
    output_dir = os.path.expanduser(OUTPUT_DIR.value or 'data_report')
    make_directory('output_dir', output_dir)
    from spade_jax.data.validation.report import validate

    given = given_flags(flags.FLAGS, others=('workdir', 'output_dir'))
    # Without the weights of the perceptual loss, a download, the printed command turns it off.
    needs_weights = config.losses.perceptual_weight and not config.losses.vgg19_weights
    validate(
        config.data,
        output_dir,
        given=given,
        count_classes=lacks_classes(flags.FLAGS),
        extra_flags=['--perceptual_weight=0'] if needs_weights else [],
    )
