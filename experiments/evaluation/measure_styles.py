"""Do styles change what they should, and nothing else? Draws held-out label maps of a run in several styles.

    python experiments/measure_styles.py --workdir=spade_jax/demo

Prints how far random styles lie apart, whether the layout is the same in all of them, and whether a picture in the style of a photograph is closer to that
photograph's colours than to another one's. The measures: spade_jax/evaluation/style_measures.py, layout_judge.py.
"""

from __future__ import annotations

import json

import numpy as np
from absl import app, flags

import spade_jax
from spade_jax.data.pipeline.input_pipeline import split_examples
from spade_jax.errors import UserError, one_line_errors
from spade_jax.evaluation.layout_judge import accuracy, fit_judge
from spade_jax.evaluation.style_distances import color_distance, mean_pairwise_distance
from spade_jax.files.atomic_write import atomic_write

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Where the data lie; default: where the run had them.'
)
EXAMPLES = flags.DEFINE_integer('examples', 32, 'Held-out label maps.', lower_bound=2)
SEEDS = flags.DEFINE_integer('seeds', 6, 'Random styles of each.', lower_bound=2)
TRAINING_EXAMPLES = flags.DEFINE_integer(
    'training_examples', 512, 'Real training pictures on which the judge is fitted.', lower_bound=1
)
OUTPUT_JSON = flags.DEFINE_string('output_json', None, 'File for the figures.')


def main(argv: list[str]) -> None:
    """Prints the figures."""
    with one_line_errors(argv):
        figures = measured()
        print('\n'.join(f'{name:<72}{value:8.3f}' for name, value in figures.items()))
        if OUTPUT_JSON.value:
            with (
                atomic_write(OUTPUT_JSON.value) as partial,
                open(partial, 'w', encoding='utf-8') as file,
            ):
                json.dump(figures, file, indent=2)


def measured() -> dict[str, float]:
    """All figures, by what they say."""
    generator = spade_jax.load(WORKDIR.value)
    config = (
        generator.config
        if DATA_DIR.value is None
        else generator.config.replace(data_dir=DATA_DIR.value)
    )
    if not config.model.style_encoder:
        raise UserError(
            f'workdir={WORKDIR.value}: this model has no style encoder, and so no styles to measure'
        )
    held_out, training = (
        split_examples(config, split, count)
        for split, count in (('validation', EXAMPLES.value), ('train', TRAINING_EXAMPLES.value))
    )
    judge = fit_judge(training.image, training.label, config.data.num_classes)

    def draw(**style):
        return generator(held_out.label, held_out.instance, **style)

    def colors(pictures, photos_of):
        """Mean distance of each picture from a photograph's colours."""
        return float(
            np.nanmean(
                [
                    color_distance(picture, label, held_out.image[other], held_out.label[other])
                    for picture, label, other in zip(
                        pictures, held_out.label, photos_of, strict=True
                    )
                ]
            )
        )

    random_styles = np.stack(
        [draw(seed=seed) for seed in range(SEEDS.value)], axis=1
    )  # [N, seeds, H, W, 3]
    again = draw(seed=0)
    following = [
        accuracy(judge.predict(pictures), held_out.label)
        for pictures in random_styles.swapaxes(0, 1)
    ]
    one, other = (
        np.roll(np.arange(len(held_out.label)), shift) for shift in (1, 2)
    )  # photographs of other scenes
    in_style_of_one = draw(style=generator.encode(held_out.image[one]))
    return {
        'distance between random styles of a map (grey levels)': float(
            np.mean([mean_pairwise_distance(pictures) for pictures in random_styles])
        ),
        'distance between two pictures of one seed': float(
            np.abs(again.astype(int) - random_styles[:, 0]).mean()
        ),
        'accuracy of the layout judge on real pictures': accuracy(
            judge.predict(held_out.image), held_out.label
        ),
        'accuracy of the layout judge, worst random style': min(following),
        'accuracy of the layout judge, best random style': max(following),
        "accuracy of the layout judge, styles of other scenes' photographs": accuracy(
            judge.predict(in_style_of_one), held_out.label
        ),
        'colours: distance from the photograph whose style was taken': colors(in_style_of_one, one),
        'colours: distance from the photograph of another scene': colors(in_style_of_one, other),
        'colours: the same distance, of pictures in random styles': colors(
            random_styles[:, 0], one
        ),
    }


if __name__ == '__main__':
    app.run(main)
