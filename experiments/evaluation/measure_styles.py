"""Do styles change what they should, and nothing else?

    python -m experiments.evaluation.measure_styles --workdir=spade_jax/demo

It samples held-out label maps in several styles, and prints the distance between random styles,
whether the layout is the same in all of them, and whether an image in the style of a photo is
closer to the colors of that photo than to those of another one. The
measures: `style_distances.py` and `layout_judge.py` in spade_jax/evaluation.
"""

import json

import numpy as np
from absl import app, flags

from experiments.evaluation.held_out import Run
from spade_jax.batch import Batch
from spade_jax.errors import UserError, one_line_errors
from spade_jax.evaluation.layout_judge import accuracy
from spade_jax.evaluation.style_distances import color_distance, mean_pairwise_distance
from spade_jax.files.atomic_write import atomic_write

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.', required=True)
_DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Directory of the data. Default: that of the run.'
)
_EXAMPLES = flags.DEFINE_integer('examples', 32, 'Held-out label maps.', lower_bound=2)
_SEEDS = flags.DEFINE_integer('seeds', 6, 'Random styles of each label map.', lower_bound=2)
_TRAINING_EXAMPLES = flags.DEFINE_integer(
    'training_examples', 512, 'Real training images to fit the judge on.', lower_bound=1
)
_OUTPUT_JSON = flags.DEFINE_string('output_json', None, 'File for the figures.')


def main(argv: list[str]) -> None:
    """Print the figures."""
    with one_line_errors(argv):
        run = Run.load(_WORKDIR.value, _DATA_DIR.value)
        if run.generator.latent_dim is None:
            raise UserError(f'workdir={_WORKDIR.value}: this model has no styles')
        figures = measure_styles(run)
        print('\n'.join(f'{name:<64}{value:8.3f}' for name, value in figures.items()))
        if _OUTPUT_JSON.value:
            with (
                atomic_write(_OUTPUT_JSON.value) as partial,
                open(partial, 'w', encoding='utf-8') as file,
            ):
                json.dump(figures, file, indent=2)


def measure_styles(run: Run) -> dict[str, float]:
    """All figures by name; distances in gray levels of 255, accuracies in [0, 1]."""
    batch, judge = run.read('validation', _EXAMPLES.value), run.fit_judge(_TRAINING_EXAMPLES.value)

    def judged(images):
        return accuracy(judge.predict(images), batch.label)

    random_styles = [run.sample(batch, seed=seed) for seed in range(_SEEDS.value)]
    by_map = np.stack(random_styles, axis=1)  # [N, seeds, H, W, 3]
    again = run.sample(batch, seed=0)
    accuracies = [judged(images) for images in random_styles]
    # Photos of other scenes than those of the label maps.
    one, other = (np.roll(np.arange(len(batch.label)), shift) for shift in (1, 2))
    in_style_of_one = run.sample(batch, style=run.generator.encode(batch.image[one]))
    between_styles = [mean_pairwise_distance(images) for images in by_map]
    repeated = np.abs(again.astype(int) - random_styles[0])
    return {
        'distance between random styles of a label map': float(np.mean(between_styles)),
        'distance between two images of one seed': float(repeated.mean()),
        'judge accuracy on real images': judged(batch.image),
        'judge accuracy, worst random style': min(accuracies),
        'judge accuracy, best random style': max(accuracies),
        'judge accuracy, styles of photos of other scenes': judged(in_style_of_one),
        'color distance to the photo of the style': mean_colors(in_style_of_one, batch, one),
        'color distance to the photo of another scene': mean_colors(in_style_of_one, batch, other),
        'color distance of random styles to a photo': mean_colors(random_styles[0], batch, one),
    }


def mean_colors(images: np.ndarray, batch: Batch, photos: np.ndarray) -> float:
    """The mean color distance of images of a batch to the photos of the examples `photos`."""
    distances = [
        color_distance(image, label, batch.image[photo], batch.label[photo])
        for image, label, photo in zip(images, batch.label, photos, strict=True)
    ]
    return float(np.nanmean(distances))


if __name__ == '__main__':
    app.run(main)
