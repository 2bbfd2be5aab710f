"""Plot the losses of a run. Needs matplotlib.

python -m experiments.figures.plot_losses --workdir=runs/camvid_cpu --output=losses.png
"""

from absl import app, flags
from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

from spade_jax.errors import UserError, one_line_errors
from spade_jax.reports.run_log import read_scalars

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.', required=True)
_OUTPUT = flags.DEFINE_string('output', None, 'The PNG file to write.', required=True)
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
    """Write the figure, with a panel for each kind of loss that the run has."""
    with one_line_errors(argv):
        entries = read_scalars(_WORKDIR.value)
        if not entries:
            raise UserError(
                f'workdir={_WORKDIR.value} has no log entries', 'give the directory of a run'
            )
        logged = {name for entry in entries for name in entry}
        panels = {title: names for title, names in PANELS.items() if logged & set(names)}
        size = 4.5 * len(panels), 3
        figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False)
        for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
            for name in filter(logged.__contains__, names):
                points = [(entry['step'], entry[name]) for entry in entries if name in entry]
                axis.plot(*zip(*points, strict=True), label=names[name])
            axis.set(title=title, xlabel='step')
            axis.legend()
        figure.tight_layout()
        figure.savefig(_OUTPUT.value, dpi=110)


if __name__ == '__main__':
    app.run(main)
