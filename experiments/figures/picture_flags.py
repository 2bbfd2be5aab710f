"""The pictures of the README's table of sampling flags: runs the program with each of them on the demo.

python experiments/picture_flags.py --output=docs/sampling
"""

from __future__ import annotations

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

OUTPUT = flags.DEFINE_string('output', 'docs/sampling', 'Directory for the pictures.')

DEMO = pathlib.Path(spade_jax.DEMO)
MAPS = ('landscape_03', 'landscape_05')
PHOTOS = DEMO / 'photos'


class Picture(NamedTuple):
    """What the program draws with some flags.

    runs: the flags of each run of the program.
    maps: that it draws.
    per_row: runs of a map that stand beside one another.
    """

    runs: list[tuple[str, ...]]
    maps: tuple[str, ...] = MAPS[:1]
    per_row: int = 1


PICTURES = {
    'num_samples': Picture([('--num_samples=5', '--seed=1')]),
    'fixed_style': Picture([('--seed=4', '--fixed_style'), ('--seed=4',)], MAPS, per_row=2),
    'truncation': Picture(
        [
            ('--num_samples=5', '--seed=1', '--truncation=0.5'),
            ('--num_samples=5', '--seed=1', '--truncation=0'),
        ]
    ),
    'style_image': Picture(
        [(f'--style_image={PHOTOS}/landscape_{number:02}.png',) for number in (0, 1, 2, 7)],
        per_row=2,
    ),
    'style_interpolation_photos': Picture(
        [
            (
                '--style_interpolation=5',
                f'--style_image={PHOTOS}/landscape_00.png',
                f'--style_image_to={PHOTOS}/landscape_01.png',
            )
        ]
    ),
    'style_interpolation_seeds': Picture([('--style_interpolation=5', '--seed=1', '--seed_to=4')]),
}


def main(argv: list[str]) -> None:
    """Writes the pictures."""
    with one_line_errors(argv):
        os.makedirs(OUTPUT.value, exist_ok=True)
        config = spade_jax.load(spade_jax.DEMO).config
        for name, picture in PICTURES.items():
            write_png(os.path.join(OUTPUT.value, f'{name}.png'), pictured(config, picture))


def pictured(config: Config, picture: Picture) -> np.ndarray:
    """Label map, photograph of the style where there is one, and pictures, for each run and map."""
    groups = []
    for given in picture.runs:
        drawn = draw(given, picture.maps)
        photos = [
            read(flag.partition('=')[2]) for flag in given if flag.startswith('--style_image=')
        ]
        groups += [
            [colorize_input(read(DEMO / 'labels' / f'{name}.png')[None], config.data)[0], *photos, *drawn[name]]
            for name in picture.maps
        ]
    return image_grid(
        [np.stack(column) for column in zip(*groups, strict=True)], per_row=picture.per_row
    )


def draw(given: tuple[str, ...], maps: tuple[str, ...]) -> dict[str, list[np.ndarray]]:
    """What --mode=sample draws with these flags, by the name of the label map."""
    with tempfile.TemporaryDirectory() as directory:
        for name in maps:
            os.makedirs(f'{directory}/labels', exist_ok=True)
            os.symlink(DEMO / 'labels' / f'{name}.png', f'{directory}/labels/{name}.png')
        command = [
            sys.executable,
            '-m',
            'spade_jax.main',
            '--mode=sample',
            f'--workdir={DEMO}',
            f'--label_dir={directory}/labels',
            f'--output_dir={directory}/pictures',
            '--nogallery',
            *given,
        ]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise UserError(
                f'{" ".join(command)} ended with status {result.returncode}: {result.stderr[-300:]}'
            )
        return {
            name: [
                read(path)
                for path in sorted(pathlib.Path(directory, 'pictures').glob(f'{name}*.png'))
            ]
            for name in maps
        }


def read(path: os.PathLike | str) -> np.ndarray:
    """The pixels of a file."""
    return np.asarray(Image.open(path))


if __name__ == '__main__':
    app.run(main)
