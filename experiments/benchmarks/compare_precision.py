"""Does training in bfloat16 follow training in float32? Compare loss curves over several seeds.

    python -m experiments.benchmarks.compare_precision --steps=500 --seeds=3

It trains a small network on the landscapes for each precision and seed, and prints the distance
between the curves (means over windows of 50 steps) of the two precisions of one seed, in units of
the distance between two seeds of float32. For comparison it prints the distance between two float32
runs that differ only in rounding, since they convolve the layout in different ways (--label_conv):
small differences grow in this training, so bfloat16 cannot do better than that.
"""

import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
from absl import app, flags

from spade_jax.reports.run_log import read_scalars

_STEPS = flags.DEFINE_integer('steps', 500, 'Steps of each run.', lower_bound=100)
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Seeds of each variant.', lower_bound=2)
_OUTPUT_DIR = flags.DEFINE_string(
    'output_dir', None, 'Directory of the runs. Default: a temporary directory.'
)
NETWORK = [
    *('--crop_size=64', '--load_size=72', '--generator_width=8', '--spade_hidden=16'),
    *('--discriminator_width=16', '--discriminator_depth=3', '--perceptual_weight=0'),
    *('--batch_size=8', '--dataset=scenes', '--scenes_train_examples=512'),
    *('--constant_epochs=1000', '--log_every=1', '--sample_every=1000000'),
    '--checkpoint_every=1000000',
]
VARIANTS = {
    'float32': ['--compute_dtype=float32', '--label_conv=dedup'],
    'bfloat16': ['--compute_dtype=bfloat16', '--label_conv=dedup'],
    'rounding': ['--compute_dtype=float32', '--label_conv=dense'],
}
METRICS = ('g_gan', 'g_feature_matching', 'd_fake', 'd_real')
WINDOW = 50


def loss_curves(directory: str, variant: str, seed: int) -> np.ndarray:
    """The losses [windows, metrics] of a run; it is trained if the directory does not have it."""
    workdir = os.path.join(directory, f'{variant}_{seed}')
    flags_of_run = [
        f'--workdir={workdir}',
        f'--data_dir={os.path.join(directory, "scenes")}',
        f'--seed={seed}',
        f'--max_steps={_STEPS.value}',
    ]
    command = [sys.executable, '-m', 'spade_jax.main', *flags_of_run, *VARIANTS[variant], *NETWORK]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    losses = np.array([[entry[name] for name in METRICS] for entry in read_scalars(workdir)])
    return losses[: len(losses) // WINDOW * WINDOW].reshape(-1, WINDOW, len(METRICS)).mean(1)


def mean_distance(pairs) -> np.ndarray:
    """The mean absolute difference between pairs of curves, by metric."""
    return np.mean([np.abs(one - other).mean(0) for one, other in pairs], 0)


def main(argv: list[str]) -> None:
    """Print a line for each loss."""
    del argv
    directory = _OUTPUT_DIR.value or tempfile.mkdtemp()
    curves = {
        variant: [loss_curves(directory, variant, seed) for seed in range(_SEEDS.value)]
        for variant in VARIANTS
    }
    full = curves['float32']
    seeds = mean_distance(itertools.combinations(full, 2))
    precision = mean_distance(zip(full, curves['bfloat16'], strict=True)) / seeds
    rounding = mean_distance(zip(full, curves['rounding'], strict=True)) / seeds
    means = {variant: np.mean(curves[variant], (0, 1)) for variant in VARIANTS}
    print(f'{_STEPS.value} steps, {_SEEDS.value} seeds, windows of {WINDOW} steps')
    print('mean loss, distance between seeds; distances in units of that between seeds')
    names = ('float32', 'bfloat16', 'seeds', 'precision', 'rounding')
    print(f'{"":<20}' + ''.join(f'{name:>10}' for name in names))
    for i, name in enumerate(METRICS):
        losses = f'{means["float32"][i]:>10.4f}{means["bfloat16"][i]:>10.4f}{seeds[i]:>10.4f}'
        print(f'{name:<20}{losses}{precision[i]:>10.2f}{rounding[i]:>10.2f}')


if __name__ == '__main__':
    app.run(main)
