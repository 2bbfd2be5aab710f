"""A picture of what a run draws: held-out label maps, each beside what the generator makes of it.

python experiments/showcase.py --workdir=runs/quickstart --output=docs/quickstart.png
"""

from __future__ import annotations

import numpy as np
from absl import app, flags

import spade_jax
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.pipeline.input_pipeline import validation_examples
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.image_grid import image_grid, write_png

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'The PNG file to write.', required=True)
DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Where the data lie; default: where the run had them.'
)
EXAMPLES = flags.DEFINE_integer('examples', 12, 'Label maps.', lower_bound=1)
STYLES = flags.DEFINE_integer(
    'styles', 2, 'Pictures of each map; 1 for a model without style encoder.', lower_bound=1
)
PER_ROW = flags.DEFINE_integer('per_row', 3, 'Maps a row.', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'Of the styles.')
LABELS = flags.DEFINE_bool('labels', True, 'Show the label maps.')


def main(argv: list[str]) -> None:
    """Writes the picture."""
    with one_line_errors(argv):
        show()


def show() -> None:
    """Draws and writes."""
    generator = spade_jax.load(WORKDIR.value)
    config = (
        generator.config
        if DATA_DIR.value is None
        else generator.config.replace(data_dir=DATA_DIR.value)
    )
    if STYLES.value > 1 and not config.model.style_encoder:
        raise UserError(
            f'styles={STYLES.value}, but this model has no style encoder; use --styles=1'
        )
    source = open_source(config.data, 'validation')
    if source is None:
        raise UserError(f'the run in {WORKDIR.value} has no validation data')
    batch = validation_examples(source, config, EXAMPLES.value)
    pictures = [
        generator(batch.label, batch.instance, seed=SEED.value, sample=sample)
        for sample in range(STYLES.value)
    ]
    labels = [colorize_input(batch.label, config.data)] if LABELS.value else []
    write_png(OUTPUT.value, image_grid(labels + pictures, per_row=PER_ROW.value))
    print(f'{len(batch.label)} label maps, {len(pictures)} pictures of each: {OUTPUT.value}')
    if len(pictures) > 1:
        distance = np.mean(
            [np.abs(pictures[0].astype(float) - other).mean() for other in pictures[1:]]
        )
        print(f'mean difference between styles: {distance:.1f} of 255')


if __name__ == '__main__':
    app.run(main)
