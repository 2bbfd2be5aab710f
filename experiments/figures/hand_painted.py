"""Write a sheet of twenty hand-painted label maps, and what a run samples from them.

    python -m experiments.figures.hand_painted --workdir=runs/demo --output=hand_painted.png

The maps are of the classes of the landscapes, with one simple shape for each thing, as people paint
them: large, few, with wobbly outlines. None of them is from the training data, and none is left
out. `--maps_dir` writes them as files, for `--mode=sample --label_dir`.
"""

import os
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from PIL import Image, ImageDraw

import spade_jax
from spade_jax.data.files.palette import colorize_input
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.image_grid import image_grid, write_png
from spade_jax.landscapes.classes import (
    CLASSES,
    CLOUD,
    FLOWERS,
    GRASS,
    HILL,
    MOUNTAIN,
    ROAD,
    ROCK,
    SAND,
    SKY,
    SNOW,
    SUN,
    TREE,
    WATER,
)

SIZE = 256  # Pixels, of the files of `--maps_dir`.
_STEP = 0.01  # Between the points of a painted outline; lengths are in sides of the map.
_WOBBLE = 0.005  # Standard deviation of the hand.

_Point = tuple[float, float]  # x to the right, y down, in sides of the map


class Shape(NamedTuple):
    """A filled outline, closed; later shapes cover earlier ones."""

    label: int
    outline: tuple[_Point, ...]


def blob(label: int, x: float, y: float, radius_x: float, radius_y: float) -> Shape:
    """An ellipse."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    points = x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)
    return Shape(label, tuple(zip(*(axis.tolist() for axis in points), strict=True)))


def band(label: int, *heights: float) -> Shape:
    """Everything below a line through equally spaced heights from the left to the right border."""
    x = np.linspace(-0.05, 1.05, max(len(heights), 2)).tolist()
    y = heights * 2 if len(heights) == 1 else heights
    return Shape(label, (*zip(x, y, strict=True), (1.05, 1.1), (-0.05, 1.1)))


def shape(label: int, *points: _Point) -> Shape:
    """A polygon."""
    return Shape(label, points)


def round_tree(x: float, foot: float, height: float) -> tuple[Shape, ...]:
    """A trunk with a round crown."""
    crown, half = 0.3 * height, 0.04 * height
    trunk = (x - half, foot), (x - half, foot - height / 2), (x + half, foot - height / 2)
    return shape(TREE, *trunk, (x + half, foot)), blob(TREE, x, foot - height + crown, crown, crown)


def fir(x: float, foot: float, height: float) -> tuple[Shape, ...]:
    """A trunk with a triangle."""
    half, low = 0.03 * height, foot - 0.1 * height
    trunk = shape(TREE, (x - half, foot), (x - half, low), (x + half, low), (x + half, foot))
    wide = 0.24 * height
    return trunk, shape(TREE, (x - wide, low), (x, foot - height), (x + wide, low))


_CLOUDS = blob(CLOUD, 0.3, 0.16, 0.2, 0.06), blob(CLOUD, 0.42, 0.13, 0.16, 0.07)
_RANGE = shape(MOUNTAIN, (-0.1, 0.7), (0.2, 0.24), (0.42, 0.52), (0.66, 0.12), (1.1, 0.7))

# Shapes over the sky.
MAPS: dict[str, tuple[Shape, ...]] = {
    'two_peaks_over_a_lake': (_RANGE, band(WATER, 0.64)),
    'one_peak': (shape(MOUNTAIN, (0, 1.1), (0.5, 0.08), (1, 1.1)),),
    'peak_with_snow': (
        shape(MOUNTAIN, (-0.05, 0.82), (0.46, 0.12), (1.05, 0.82)),
        shape(
            SNOW, (0.27, 0.4), (0.46, 0.11), (0.69, 0.4), (0.56, 0.35), (0.46, 0.44), (0.38, 0.35)
        ),
        band(GRASS, 0.78),
    ),
    'round_mountain': (blob(MOUNTAIN, 0.5, 0.75, 0.42, 0.52), band(GRASS, 0.74)),
    'mountain_blob_in_the_sky': (blob(MOUNTAIN, 0.4, 0.5, 0.3, 0.26), band(HILL, 0.68, 0.6, 0.66)),
    'snowy_ridge': (
        band(SNOW, 0.5, 0.2, 0.36, 0.14, 0.3, 0.24),
        band(MOUNTAIN, 0.6, 0.44, 0.5, 0.4, 0.52, 0.46),
        band(HILL, 0.72, 0.66, 0.7),
        band(WATER, 0.8),
    ),
    'sea': (band(WATER, 0.5),),
    'sunset_over_the_sea': (blob(SUN, 0.62, 0.38, 0.09, 0.09), band(WATER, 0.55)),
    'round_tree': (band(GRASS, 0.55), *round_tree(0.5, 0.82, 0.74)),
    'fir': (band(GRASS, 0.7), *fir(0.45, 0.88, 0.82)),
    'row_of_trees': (
        band(HILL, 0.55, 0.5, 0.56),
        band(GRASS, 0.66),
        *(part for x in (0.18, 0.5, 0.82) for part in round_tree(x, 0.76, 0.46)),
    ),
    'clouds_sea_and_beach': (*_CLOUDS, band(WATER, 0.46), band(SAND, 0.8, 0.72, 0.64)),
    'one_big_cloud': (
        *(blob(CLOUD, x, y, r, r) for x, y, r in ((0.3, 0.4, 0.16), (0.5, 0.3, 0.2))),
        blob(CLOUD, 0.7, 0.4, 0.14, 0.13),
        blob(CLOUD, 0.5, 0.46, 0.34, 0.08),
        band(GRASS, 0.76),
    ),
    'hills_and_a_road': (
        blob(HILL, 0.2, 0.66, 0.4, 0.26),
        blob(HILL, 0.85, 0.68, 0.36, 0.2),
        band(GRASS, 0.64),
        shape(ROAD, (0.47, 0.64), (0.53, 0.64), (0.8, 1.1), (0.2, 1.1)),
    ),
    'river_through_meadows': (
        _RANGE,
        band(GRASS, 0.58),
        shape(
            WATER, (0.55, 0.58), (0.6, 0.58), (0.56, 0.72), (0.86, 1.1), (0.2, 1.1), (0.44, 0.74)
        ),
        *fir(0.14, 0.84, 0.5),
    ),
    'field_of_flowers': (band(HILL, 0.46, 0.38, 0.47), band(FLOWERS, 0.54)),
    'desert': (blob(SUN, 0.24, 0.18, 0.08, 0.08), band(SAND, 0.6, 0.52, 0.64, 0.56)),
    'rocks_on_the_beach': (
        band(WATER, 0.42),
        band(SAND, 0.66, 0.62, 0.7),
        blob(ROCK, 0.3, 0.72, 0.2, 0.14),
        blob(ROCK, 0.72, 0.84, 0.14, 0.1),
    ),
    'pond_with_an_island': (
        band(HILL, 0.42, 0.34, 0.44),
        band(GRASS, 0.46),
        blob(WATER, 0.5, 0.74, 0.42, 0.18),
        blob(GRASS, 0.52, 0.72, 0.16, 0.05),
        *round_tree(0.52, 0.72, 0.4),
    ),
    'one_hill': (*_CLOUDS, blob(HILL, 0.56, 0.95, 0.62, 0.52), *fir(0.3, 0.62, 0.3)),
}


def paint(shapes: tuple[Shape, ...], seed: int, size: int = SIZE) -> np.ndarray:
    """Paint shapes over the sky with the hand of a seed; returns ids [size, size] uint8."""
    rng = np.random.RandomState(seed)
    image = Image.new('L', (size, size), SKY)
    for label, outline in shapes:
        points = _wobbly(np.array(outline), rng) * size
        ImageDraw.Draw(image).polygon([(x, y) for x, y in points.tolist()], fill=label)
    return np.asarray(image)


def _wobbly(corners: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """The outline [N, 2] through corners [M, 2], as a hand paints it."""
    ends = np.roll(corners, -1, axis=0)
    counts = np.ceil(np.linalg.norm(ends - corners, axis=1) / _STEP).astype(int)
    points = [
        a + (b - a) * np.arange(n)[:, None] / n
        for a, b, n in zip(corners, ends, counts, strict=True)
    ]
    outline = np.concatenate(points)
    turn = np.arange(len(outline)) / len(outline)
    shift = np.zeros_like(outline)
    for waves in range(2, 13):  # Around the outline; slow ones are the stronger.
        phase = rng.uniform(0, 2 * np.pi, 2)
        shift += np.sin(2 * np.pi * waves * turn[:, None] + phase) / np.sqrt(waves)
    return outline + _WOBBLE * shift / shift.std()


def painted_maps(size: int = SIZE) -> np.ndarray:
    """The maps of `MAPS`, [20, size, size] uint8."""
    return np.stack([paint(shapes, seed, size) for seed, shapes in enumerate(MAPS.values())])


def sheet(
    generator: Any, styles: int, per_row: int, seed: int = 0, most_wide: int | None = None
) -> np.ndarray:
    """Each map with its images in some styles; wider images are scaled down to `most_wide`.

    Raises:
      UserError: The generator is not one of landscapes, or has no styles.
    """
    config = generator.config.data
    is_square = config.image_width == config.image_height
    if not (config.condition == 'labels' and config.num_classes == len(CLASSES) and is_square):
        problem = f'the generator is for {config.image_width}x{config.image_height} and '
        problem += f'{config.num_classes} classes ({config.condition})'
        raise UserError(problem, 'choose a run of square landscapes with --condition=labels')
    if styles > 1 and generator.latent_dim is None:
        raise UserError(f'styles={styles}, but this model has no styles', 'use --styles=1')
    maps = painted_maps(config.image_width)
    images = [generator(maps, seed=seed, sample=number) for number in range(styles)]
    return image_grid([colorize_input(maps, config), *images], per_row, most_wide)


def main(argv: list[str]) -> None:
    """Write the files that the flags name."""
    with one_line_errors(argv):
        values = flags.FLAGS
        if not (values.workdir and values.output or values.maps_dir):
            raise UserError('nothing to write', 'set --workdir and --output, or --maps_dir')
        if values.maps_dir:
            os.makedirs(values.maps_dir, exist_ok=True)
            for name, ids in zip(MAPS, painted_maps(), strict=True):
                Image.fromarray(ids).save(os.path.join(values.maps_dir, f'{name}.png'))
        if values.workdir:
            generator = spade_jax.load(os.path.expanduser(values.workdir))
            options = values.styles, values.per_row, values.seed, values.most_wide
            write_png(values.output, sheet(generator, *options))


if __name__ == '__main__':
    flags.DEFINE_string('workdir', '', 'Work directory of the run.')
    flags.DEFINE_string('output', '', 'The PNG file to write.')
    flags.DEFINE_string('maps_dir', '', 'Directory for the label maps, as PNG files of class ids.')
    flags.DEFINE_integer('styles', 3, 'Images of each map.', lower_bound=1)
    flags.DEFINE_integer('per_row', 2, 'Maps in a row.', lower_bound=1)
    flags.DEFINE_integer('seed', 0, 'Seed of the styles.')
    flags.DEFINE_integer('most_wide', None, 'Scale wider images down to this.', lower_bound=1)
    app.run(main)
