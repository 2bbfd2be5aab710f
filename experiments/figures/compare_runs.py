"""Write a sheet of runs side by side: each label map with the image that each run samples from it.

    python -m experiments.figures.hand_painted --maps_dir=maps
    python -m experiments.figures.compare_runs --workdir=runs/before,runs/after --label_dir=maps \
      --output=sheet.png

Without --label_dir, the held-out label maps of the data; their photos follow the images. The runs
have label maps of the same classes, without instance edges; their sizes may differ.
"""

from collections.abc import Sequence

import numpy as np
from absl import app, flags
from PIL import Image

import spade_jax
from experiments.evaluation.held_out import Run
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.image_grid import image_grid, write_png
from spade_jax.sampling import TrainedGenerator


def panels(workdirs: Sequence[str], label_dir: str, most: int, seed: int) -> list[np.ndarray]:
    """Label maps in colors, and their images by each run, each [N, H, W, 3] uint8.

    Without a directory they are held-out ones, and the photos follow.

    Raises:
      UserError: The runs do not fit each other or the label maps.
    """
    generators = [spade_jax.load(workdir) for workdir in workdirs]
    check_comparable(workdirs, generators)
    maps, photos = [], []
    for generator in generators:
        if label_dir:
            scenes = generator.read_folder(label_dir, most=most)
            maps.append(np.stack([scene.labels for scene in scenes]))
        else:
            batch = Run(generator, generator.config).read('validation', most)
            maps.append(batch.label)
            photos = [np.asarray(batch.image)]
    pairs = zip(generators, maps, strict=True)
    images = [generator(labels, seed=seed) for generator, labels in pairs]
    return [generators[-1].colorize(maps[-1]), *images, *photos]


def check_comparable(workdirs: Sequence[str], generators: Sequence[TrainedGenerator]) -> None:
    """Raises UserError for runs of other classes or of another shape than the first."""
    datas = [generator.config.data for generator in generators]
    for workdir, data in zip(workdirs, datas, strict=True):
        same_shape = data.image_width * datas[0].image_height == (
            data.image_height * datas[0].image_width
        )
        if data.condition != 'labels' or data.num_classes != datas[0].num_classes:
            reason = f'{data.num_classes} classes ({data.condition})'
        elif not same_shape:
            reason = f'images of {data.image_width}x{data.image_height}'
        else:
            continue
        raise UserError(f'workdir={workdir} has {reason}, unlike {workdirs[0]}', 'leave it out')


def scaled(images: np.ndarray, width: int) -> np.ndarray:
    """Images [N, H, W, 3] uint8 at another width, in the same shape."""
    height = round(width * images.shape[1] / images.shape[2])
    resized = (
        Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC) for image in images
    )
    return np.stack([np.asarray(image) for image in resized])


def main(argv: list[str]) -> None:
    """Sample with all runs, and write the sheet."""
    with one_line_errors(argv):
        values = flags.FLAGS
        columns = panels(values.workdir, values.label_dir, values.examples, values.seed)
        columns = [scaled(panel, values.width) for panel in columns]
        write_png(values.output, image_grid(columns, values.per_row))
        print(f'{values.output}: {len(columns[0])} label maps, {len(values.workdir)} runs')


if __name__ == '__main__':
    flags.DEFINE_list('workdir', None, 'Work directories of the runs.', required=True)
    flags.DEFINE_string('label_dir', '', 'Label maps. Default: held-out ones of the data.')
    flags.DEFINE_string('output', None, 'The PNG file to write.', required=True)
    flags.DEFINE_integer('examples', 8, 'Most label maps, evenly spaced.', lower_bound=1)
    flags.DEFINE_integer('per_row', 2, 'Label maps in a row.', lower_bound=1)
    flags.DEFINE_integer('seed', 0, 'Seed of the styles.')
    flags.DEFINE_integer('width', 192, 'Pixels of an image of the sheet.', lower_bound=1)
    app.run(main)
