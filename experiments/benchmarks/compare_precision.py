"""Does training in bfloat16 follow training in float32? Both over several seeds, on the landscapes.

    python experiments/compare_precision.py --steps=500 --seeds=3

trains a small network once for each precision and seed, and compares their loss curves (means over windows of 50 steps): the distance between the two
precisions of one seed, in units of the distance between two seeds of float32. Beside it the same of two runs in float32 that differ in the last bits alone, for they
compute the convolutions over the labels in different forms: small differences grow in this training, and bfloat16 cannot do better than that.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
from absl import app, flags

from spade_jax.reports.run_log import read_scalars

STEPS = flags.DEFINE_integer('steps', 500, 'Steps of each run.', lower_bound=100)
SEEDS = flags.DEFINE_integer('seeds', 3, 'Runs of each precision.', lower_bound=2)
OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Where the runs go; default: a temporary directory.'
)
NETWORK = [
    '--crop_size=64',
    '--load_size=72',
    '--generator_width=8',
    '--spade_hidden=16',
    '--discriminator_width=16',
    '--discriminator_depth=3',
    '--perceptual_weight=0',
    '--batch_size=8',
    '--dataset=scenes',
    '--scenes_train_examples=512',
    '--constant_epochs=1000',
    '--log_every=1',
    '--sample_every=1000000',
    '--checkpoint_every=1000000',
]
FORMS = {
    'float32': ['--compute_dtype=float32', '--label_conv=dedup'],
    'bfloat16': ['--compute_dtype=bfloat16', '--label_conv=dedup'],
    'last_bits': ['--compute_dtype=float32', '--label_conv=dense'],
}
METRICS = ('g_gan', 'g_feature_matching', 'd_fake', 'd_real')
WINDOW = 50


def curve(directory: str, form: str, seed: int) -> np.ndarray:
    """Trains, unless the directory has the run already. Returns the losses [windows, metrics]."""
    workdir = os.path.join(directory, f'{form}_{seed}')
    command = [
        sys.executable,
        '-m',
        'spade_jax.main',
        f'--workdir={workdir}',
        f'--data_dir={os.path.join(directory, "scenes")}',
        f'--seed={seed}',
        f'--max_steps={STEPS.value}',
        *FORMS[form],
        *NETWORK,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    records = read_scalars(workdir)
    losses = np.array([[record[name] for name in METRICS] for record in records])
    return losses[: len(losses) // WINDOW * WINDOW].reshape(-1, WINDOW, len(METRICS)).mean(1)


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    directory = OUTPUT_DIR.value or tempfile.mkdtemp()
    seeds = range(SEEDS.value)
    curves = {form: [curve(directory, form, seed) for seed in seeds] for form in FORMS}
    full = curves['float32']
    between_seeds = np.mean([np.abs(a - b).mean(0) for a, b in itertools.combinations(full, 2)], 0)
    of_precision, of_last_bits = (
        np.mean([np.abs(a - b).mean(0) for a, b in zip(full, curves[form])], 0) / between_seeds
        for form in ('bfloat16', 'last_bits')
    )
    means = {form: np.mean(curves[form], (0, 1)) for form in FORMS}
    print(
        f'{STEPS.value} steps, {SEEDS.value} seeds, windows of {WINDOW} steps; distances as a share of the distance between seeds'
    )
    print(
        f'{"":<20} {"float32":>9} {"bfloat16":>9} {"seeds":>9} {"precisions":>11} {"last bits":>10}'
    )
    for i, name in enumerate(METRICS):
        print(
            f'{name:<20} {means["float32"][i]:>9.4f} {means["bfloat16"][i]:>9.4f} {between_seeds[i]:>9.4f} {of_precision[i]:>11.2f} {of_last_bits[i]:>10.2f}'
        )


if __name__ == '__main__':
    app.run(main)
