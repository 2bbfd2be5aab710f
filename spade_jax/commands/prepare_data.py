"""Write the decoded and resized data set to --records_dir, for faster training."""

from absl import flags

from spade_jax.config.flags import config_from_flags

FLAGS = ()
SECTIONS = ('data',)


def run() -> None:
    """Write the records."""
    config = config_from_flags(flags.FLAGS)
    from spade_jax.data.records import writer

    writer.prepare(config.data)
