"""Do the pictures of a run follow their label maps? Fits a judge on the run's own training pictures and asks it about held-out label maps.

    python experiments/judge_layout.py --workdir=runs/quickstart

What the judge is and how to read its figures: spade_jax/evaluation/layout_judge.py.
"""

from __future__ import annotations

import json
import math
import os

import numpy as np
from absl import app, flags

from spade_jax import sampling
from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID
from spade_jax.data.pipeline.input_pipeline import split_examples
from spade_jax.errors import one_line_errors
from spade_jax.evaluation.layout_judge import LayoutAgreement, fit_judge, layout_agreement

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
STEP = flags.DEFINE_integer('step', None, 'Of the checkpoint. Default: the newest.')
DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Where the data of the run lie. Default: where they lay when it was trained.'
)
EXAMPLES = flags.DEFINE_integer('examples', 64, 'Held-out label maps to draw.', lower_bound=2)
TRAINING_EXAMPLES = flags.DEFINE_integer(
    'training_examples', 512, 'Real training pictures on which the judge is fitted.', lower_bound=1
)
SEED = flags.DEFINE_integer(
    'seed', 0, 'Of the judge and, with a style encoder, of the random styles.', lower_bound=0
)
OUTPUT_JSON = flags.DEFINE_string('output_json', None, 'File for the figures.')

DRAWN_AT_A_TIME = 8


def main(argv: list[str]) -> None:
    """Prints the table."""
    with one_line_errors(argv):
        judge_run()


def judge_run() -> None:
    """Fits, draws, judges, prints."""
    generator = sampling.load(WORKDIR.value, STEP.value)
    config = (
        generator.config
        if DATA_DIR.value is None
        else generator.config.replace(data_dir=DATA_DIR.value)
    )
    training = split_examples(config, 'train', TRAINING_EXAMPLES.value)
    held_out = split_examples(config, 'validation', EXAMPLES.value)
    ignore = DONTCARE_ID if config.data.dontcare else None

    judge = fit_judge(
        training.image,
        class_labels(config, training.label),
        config.data.num_classes,
        seed=SEED.value,
        ignore=ignore,
    )
    agreement = layout_agreement(
        judge,
        held_out.image,
        draw(generator, held_out, SEED.value),
        class_labels(config, held_out.label),
        ignore,
    )

    print(
        f'{WORKDIR.value}: {len(held_out.label)} held-out label maps; the judge has seen {len(training.label)} real training pictures\n'
    )
    print(table(agreement, class_names(config)))
    if OUTPUT_JSON.value:
        write_json(OUTPUT_JSON.value, agreement, class_names(config))


def class_labels(config: Config, labels: np.ndarray) -> np.ndarray:
    """The labels with one id, 255, for everything that is not a class: don't-care may also travel as id `num_classes`."""
    return (
        np.where(labels < config.data.num_classes, labels, DONTCARE_ID)
        if config.data.dontcare
        else labels
    )


def draw(generator: sampling.TrainedGenerator, batch: Batch, seed: int) -> np.ndarray:
    """Pictures [N, H, W, 3] uint8 of the label maps of a batch, in random styles where the model has styles."""
    pictures = []
    for first in range(0, len(batch.label), DRAWN_AT_A_TIME):
        labels, instances = (
            maps if maps is None else maps[first : first + DRAWN_AT_A_TIME]
            for maps in (batch.label, batch.instance)
        )
        pictures.append(
            generator(labels, instances, seed=seed, sample=first)
        )  # `sample`: or every group would have the styles of the first.
    return np.concatenate(pictures)


def class_names(config: Config) -> list[str]:
    """What the table calls the classes."""
    if config.data.dataset == 'scenes':
        from spade_jax import landscapes

        return [scene_class.name for scene_class in landscapes.CLASSES]
    return [f'class {i}' for i in range(config.data.num_classes)]


def table(agreement: LayoutAgreement, names: list[str]) -> str:
    """The figures in columns: real, generated, their ratio, and the classes by the number of their pixels."""

    def row(name, real, generated, note=''):
        ratio = generated / real if real else math.nan
        cells = ''.join(
            f'{"-" if math.isnan(value) else format(value, ".3f"):>11}'
            for value in (real, generated, ratio)
        )
        return f'{name:<22}{cells}  {note}'.rstrip()

    lines = [
        f'{"accuracy of the judge":<22}{"real":>11}{"generated":>11}{"ratio":>11}',
        row('all pixels', agreement.accuracy_on_real, agreement.accuracy_on_generated),
        row(
            'mean over classes',
            agreement.mean_class_accuracy_on_real,
            agreement.mean_class_accuracy_on_generated,
        ),
        row(
            'control: wrong layout',
            math.nan,
            agreement.accuracy_on_wrong_layout,
            'generated, against the label maps of other examples',
        ),
        '',
    ]
    for i in np.argsort(-agreement.class_share, kind='stable'):
        if agreement.class_share[i]:
            lines.append(
                row(
                    names[i],
                    agreement.class_accuracy_on_real[i],
                    agreement.class_accuracy_on_generated[i],
                    f'{agreement.class_share[i]:.1%} of the pixels',
                )
            )
    return '\n'.join(lines)


def write_json(path: str, agreement: LayoutAgreement, names: list[str]) -> None:
    """The fields of the agreement; those of the classes as {name: value}; null for nan, which JSON does not have."""

    def plain(value):
        return None if math.isnan(value) else float(value)

    fields = {
        name: plain(value) if np.ndim(value) == 0 else dict(zip(names, map(plain, value)))
        for name, value in agreement._asdict().items()
    }
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(fields, file, indent=2)
        file.write('\n')


if __name__ == '__main__':
    app.run(main)
