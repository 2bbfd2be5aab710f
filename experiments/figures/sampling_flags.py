"""Write the images of the table of sampling flags: --mode=sample with each of them on the demo.

python -m experiments.figures.sampling_flags --output=docs/sampling
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from typing import NamedTuple

import numpy as np
from absl import app, flags
from PIL import Image

import spade_jax
from spade_jax.config.config import Config
from spade_jax.data.files.palette import colorize_input
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.image_grid import image_grid, write_png

_OUTPUT = flags.DEFINE_string('output', 'docs/sampling', 'Directory for the images.')

DEMO = pathlib.Path(spade_jax.DEMO)
MAPS = ('landscape_03', 'landscape_05')
TILE = 128  # Pixels of an image; larger ones are scaled down.
PHOTOS = [f'{DEMO}/photos/landscape_{number:02}.png' for number in range(8)]


class Figure(NamedTuple):
    """What the program samples with some flags.

    Attributes:
      runs: The flags of each run of the program.
      maps: Names of the label maps.
      per_row: Runs of a label map in a row.
    """

    runs: list[tuple[str, ...]]
    maps: tuple[str, ...] = MAPS[:1]
    per_row: int = 1


_FIVE = ('--num_samples=5', '--seed=1')
_INTERPOLATION = '--style_interpolation=5'
FIGURES = {
    'num_samples': Figure([_FIVE]),
    'fixed_style': Figure([('--seed=4', '--fixed_style'), ('--seed=4',)], MAPS, per_row=2),
    'truncation': Figure([(*_FIVE, '--truncation=0.5'), (*_FIVE, '--truncation=0')]),
    'style_image': Figure(
        [(f'--style_image={PHOTOS[number]}',) for number in (0, 1, 2, 7)], per_row=2
    ),
    'style_interpolation_photos': Figure(
        [(_INTERPOLATION, f'--style_image={PHOTOS[0]}', f'--style_image_to={PHOTOS[1]}')]
    ),
    'style_interpolation_seeds': Figure([(_INTERPOLATION, '--seed=1', '--seed_to=4')]),
}


def main(argv: list[str]) -> None:
    """Write all figures."""
    with one_line_errors(argv):
        os.makedirs(_OUTPUT.value, exist_ok=True)
        config = spade_jax.load(spade_jax.DEMO).config
        for name, figure in FIGURES.items():
            write_png(os.path.join(_OUTPUT.value, f'{name}.png'), render(config, figure))


def render(config: Config, figure: Figure) -> np.ndarray:
    """Label map, photo of the style if there is one, and samples, for each run and label map."""
    groups = []
    for run_flags in figure.runs:
        samples = sample(run_flags, figure.maps)
        paths = [flag.partition('=')[2] for flag in run_flags if flag.startswith('--style_image=')]
        photos = [read(path) for path in paths]
        for name in figure.maps:
            labels = read(DEMO / 'labels' / f'{name}.png')[None]
            groups.append([colorize_input(labels, config.data)[0], *photos, *samples[name]])
    columns = [np.stack(column) for column in zip(*groups, strict=True)]
    return image_grid(columns, figure.per_row, most_wide=TILE)


def sample(run_flags: tuple[str, ...], maps: tuple[str, ...]) -> dict[str, list[np.ndarray]]:
    """The images that --mode=sample writes with these flags, by label map."""
    with tempfile.TemporaryDirectory() as directory:
        labels, images = pathlib.Path(directory, 'labels'), pathlib.Path(directory, 'images')
        labels.mkdir()
        for name in maps:
            os.symlink(DEMO / 'labels' / f'{name}.png', labels / f'{name}.png')
        program = [sys.executable, '-m', 'spade_jax.main', '--mode=sample', f'--workdir={DEMO}']
        files = [f'--label_dir={labels}', f'--output_dir={images}', '--nogallery']
        command = [*program, *files, *run_flags]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise UserError(f'{" ".join(command)} failed: {result.stderr[-300:]}')
        return {name: [read(path) for path in sorted(images.glob(f'{name}*.png'))] for name in maps}


def read(path: os.PathLike | str) -> np.ndarray:
    """The pixels of a file."""
    return np.asarray(Image.open(path))


if __name__ == '__main__':
    app.run(main)
