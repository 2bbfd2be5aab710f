"""Write the decoded and resized data set to --records_dir, for faster training."""

from absl import flags

from spade_jax.config.flags import config_from_flags
from spade_jax.errors import require_extra

FLAGS = ()
SECTIONS = ('data',)
FIRST_FLAGS = {
    'Records': ('records_dir',),
    'Data': ('dataset', 'data_dir', 'train_image_dir', 'train_label_dir', 'num_classes', 'palette'),
    'Size': ('preprocess_mode', 'load_size', 'crop_size', 'aspect_ratio', 'data_workers'),
}


def run() -> None:
    """Write the records."""
    config = config_from_flags(flags.FLAGS)
    require_extra('train', '--mode=prepare_data')
    from spade_jax.data.records import writer

    writer.prepare(config.data)
