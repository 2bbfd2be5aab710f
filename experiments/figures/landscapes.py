"""Write a sheet of the procedural landscapes, in the order of their seeds.

python -m experiments.figures.landscapes --output=docs/landscapes.png
"""

import numpy as np
from absl import app, flags

from spade_jax import landscapes
from spade_jax.errors import one_line_errors
from spade_jax.files.image_grid import image_grid, write_png
from spade_jax.landscapes.compositions import COMPOSITIONS, sample_layout

_COLORS = np.array([entry.color for entry in landscapes.CLASSES], np.uint8)


def sheet(
    count: int, size: int, per_row: int, first_seed: int = 0, labels: bool = False, of: str = ''
) -> np.ndarray:
    """The images of `count` scenes, each with its label map if `labels`.

    Args:
      count: Number of scenes.
      size: Height and width of a scene in pixels.
      per_row: Scenes in a row.
      first_seed: Seed of the first scene.
      labels: Whether the label maps are shown, left of the images.
      of: Only scenes of this composition; '': all.
    """
    scenes, seed = [], first_seed
    while len(scenes) < count:
        if not of or sample_layout(seed).composition == of:
            scenes.append(landscapes.render_scene(seed, size, size))
        seed += 1
    maps = [_COLORS[np.stack([scene.label for scene in scenes])]] if labels else []
    return image_grid([*maps, np.stack([scene.image for scene in scenes])], per_row)


def main(argv: list[str]) -> None:
    """Write the sheet."""
    with one_line_errors(argv):
        values = flags.FLAGS
        layout = values.scenes, values.size, values.per_row, values.first_seed
        write_png(values.output, sheet(*layout, values.labels, values.composition))


if __name__ == '__main__':
    flags.DEFINE_string('output', 'docs/landscapes.png', 'The PNG file to write.')
    flags.DEFINE_integer('scenes', 24, 'Scenes.', lower_bound=1)
    flags.DEFINE_integer('size', 256, 'Height and width of a scene in pixels.', lower_bound=16)
    flags.DEFINE_integer('per_row', 6, 'Scenes in a row.', lower_bound=1)
    flags.DEFINE_integer('first_seed', 0, 'Seed of the first scene.', lower_bound=0)
    flags.DEFINE_bool('labels', False, 'Show the label maps.')
    flags.DEFINE_enum('composition', '', ['', *COMPOSITIONS], 'Only scenes of it. Default: all.')
    app.run(main)
