"""The losses of a run as a figure. Needs matplotlib.

python experiments/plot_losses.py --workdir=runs/camvid_cpu --output=docs/camvid_losses.png
"""

from __future__ import annotations

from absl import app, flags
from matplotlib import pyplot

from spade_jax.errors import UserError, one_line_errors
from spade_jax.reports.run_log import read_scalars

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'The PNG file to write.', required=True)
PANELS = {
    'adversarial': {
        'g_gan': 'generator',
        'd_fake': 'discriminator, fake',
        'd_real': 'discriminator, real',
    },
    'reconstruction': {'g_feature_matching': 'feature matching', 'g_perceptual': 'perceptual'},
    'style': {'g_kl': 'KL divergence'},
}


def main(argv: list[str]) -> None:
    """Writes the figure."""
    with one_line_errors(argv):
        plot()


def plot() -> None:
    """Reads and draws."""
    records = read_scalars(WORKDIR.value)
    if not records:
        raise UserError(
            f'workdir={WORKDIR.value} has no records; give the directory of a training run'
        )
    recorded = {name for record in records for name in record}
    panels = {title: names for title, names in PANELS.items() if recorded & set(names)}
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 3), squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items()):
        for name in filter(recorded.__contains__, names):
            steps, values = zip(
                *((record['step'], record[name]) for record in records if name in record)
            )
            axis.plot(steps, values, label=names[name])
        axis.set(title=title, xlabel='step')
        axis.legend()
    figure.tight_layout()
    figure.savefig(OUTPUT.value, dpi=110)


if __name__ == '__main__':
    app.run(main)
