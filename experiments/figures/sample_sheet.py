"""Write a sample sheet: held-out label maps next to the images that a run samples from them.

python -m experiments.figures.sample_sheet --workdir=runs/quickstart --output=sheet.png
"""

import numpy as np
from absl import app, flags

from experiments.evaluation.held_out import Run
from spade_jax.data.files.palette import colorize_input
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.image_grid import image_grid, write_png

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'The PNG file to write.', required=True)
_DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Directory of the data. Default: that of the run.'
)
_EXAMPLES = flags.DEFINE_integer('examples', 12, 'Label maps.', lower_bound=1)
_STYLES = flags.DEFINE_integer(
    'styles', 2, 'Images of each label map; 1 for a model without style encoder.', lower_bound=1
)
_PER_ROW = flags.DEFINE_integer('per_row', 3, 'Label maps in a row.', lower_bound=1)
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of the styles.')
_MOST_WIDE = flags.DEFINE_integer('most_wide', None, 'Scale wider images down.', lower_bound=1)
_LABELS = flags.DEFINE_bool('labels', True, 'Show the label maps.')


def main(argv: list[str]) -> None:
    """Sample, and write the sheet."""
    with one_line_errors(argv):
        run = Run.load(_WORKDIR.value, _DATA_DIR.value)
        count = _STYLES.value
        if count > 1 and run.generator.latent_dim is None:
            raise UserError(f'styles={count}, but this model has no styles', 'use --styles=1')
        batch = run.read('validation', _EXAMPLES.value)
        images = [run.sample(batch, seed=_SEED.value, sample=number) for number in range(count)]
        labels = [colorize_input(batch.label, run.config.data)] if _LABELS.value else []
        write_png(_OUTPUT.value, image_grid(labels + images, _PER_ROW.value, _MOST_WIDE.value))
        print(f'{_OUTPUT.value}: {len(batch.label)} label maps, {count} images of each')
        if count > 1:
            first, *others = (image.astype(float) for image in images)
            distance = np.mean([np.abs(first - other).mean() for other in others])
            print(f'mean difference between styles: {distance:.1f} of 255')


if __name__ == '__main__':
    app.run(main)
