"""Do the images of a run follow their label maps?

    python -m experiments.evaluation.judge_layout --workdir=runs/quickstart

It fits a pixel classifier, the judge, on real training images of the run, and applies it to images
sampled from held-out label maps. `spade_jax/evaluation/layout_judge.py` explains the figures.
"""

import json
import math

import numpy as np
from absl import app, flags

from experiments.evaluation.held_out import Run
from spade_jax.config.config import Config
from spade_jax.errors import one_line_errors
from spade_jax.evaluation.layout_judge import LayoutAgreement, layout_agreement
from spade_jax.files.atomic_write import atomic_write

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Step of the checkpoint. Default: the newest.')
_DATA_DIR = flags.DEFINE_string(
    'data_dir', None, 'Directory of the data. Default: that of the run.'
)
_EXAMPLES = flags.DEFINE_integer('examples', 64, 'Held-out label maps to sample.', lower_bound=2)
_TRAINING_EXAMPLES = flags.DEFINE_integer(
    'training_examples', 512, 'Real training images to fit the judge on.', lower_bound=1
)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'Seed of the judge and, with a style encoder, of the random styles.', lower_bound=0
)
_OUTPUT_JSON = flags.DEFINE_string('output_json', None, 'File for the figures.')


def main(argv: list[str]) -> None:
    """Fit, sample and judge; print the table."""
    with one_line_errors(argv):
        run = Run.load(_WORKDIR.value, _DATA_DIR.value, _STEP.value)
        judge = run.fit_judge(_TRAINING_EXAMPLES.value, _SEED.value)
        real = run.read('validation', _EXAMPLES.value)
        fake_image = run.sample(real, seed=_SEED.value)
        agreement = layout_agreement(judge, real.image, fake_image, real.label, run.ignore)
        names = class_names(run.config)
        print(f'{_WORKDIR.value}: {len(real.label)} held-out label maps\n')
        print(table(agreement, names))
        if _OUTPUT_JSON.value:
            write_json(_OUTPUT_JSON.value, agreement, names)


def class_names(config: Config) -> list[str]:
    """The names of the classes in the table."""
    if config.data.dataset == 'scenes':
        from spade_jax import landscapes

        return [scene_class.name for scene_class in landscapes.CLASSES]
    return [f'class {i}' for i in range(config.data.num_classes)]


def table(agreement: LayoutAgreement, names: list[str]) -> str:
    """Accuracy on real and sampled images and their ratio: overall, then by class."""
    lines = [
        f'{"accuracy of the judge":<22}{"real":>11}{"sampled":>11}{"ratio":>11}',
        _row('all pixels', agreement.accuracy_on_real, agreement.accuracy_on_generated),
        _row(
            'mean over classes',
            agreement.mean_class_accuracy_on_real,
            agreement.mean_class_accuracy_on_generated,
        ),
        _row('control: wrong layout', math.nan, agreement.accuracy_on_wrong_layout)
        + '  label maps of other examples',
        '',
    ]
    real, fake = agreement.class_accuracy_on_real, agreement.class_accuracy_on_generated
    for i in np.argsort(-agreement.class_share, kind='stable'):
        if share := agreement.class_share[i]:
            row = _row(names[i], float(real[i]), float(fake[i]))
            lines.append(f'{row}  {share:.1%} of the pixels')
    return '\n'.join(lines)


def _row(name: str, real: float, fake: float) -> str:
    values = real, fake, fake / real if real else math.nan
    cells = ('-' if math.isnan(value) else f'{value:.3f}' for value in values)
    return f'{name:<22}' + ''.join(f'{cell:>11}' for cell in cells)


def write_json(path: str, agreement: LayoutAgreement, names: list[str]) -> None:
    """Write the fields; those of the classes as {name: value}, and null for NaN."""

    def plain(value):
        return None if math.isnan(value) else float(value)

    fields = {}
    for field, value in agreement._asdict().items():
        per_class = np.ndim(value) > 0
        fields[field] = (
            dict(zip(names, map(plain, value), strict=True)) if per_class else plain(value)
        )
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        json.dump(fields, file, indent=2)


if __name__ == '__main__':
    app.run(main)
