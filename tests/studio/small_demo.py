"""The demo at 128x128 without its weights, for the stand-in: its maps and photos at that size."""

import atexit
import functools
import pathlib
import shutil
import tempfile

import spade_jax
from spade_jax import landscapes
from spade_jax.files.image_grid import write_png
from spade_jax.studio.description import Run

SIZE, EXAMPLES = 128, 8
FIRST_SEED, SEEDS_APART = 2**31, 8  # Of the demo's landscapes.


@functools.cache
def small_demo() -> Run:
    """A run whose work directory, called demo, has `labels` and `photos`."""
    parent = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    workdir, demo = pathlib.Path(parent, 'demo'), Run.open(spade_jax.DEMO)
    for folder in ('labels', 'photos'):
        (workdir / folder).mkdir(parents=True)
    for number in range(EXAMPLES):
        scene = landscapes.render_scene(FIRST_SEED + SEEDS_APART * number, SIZE, SIZE)
        write_png(workdir / 'labels' / f'landscape_{number:02d}.png', scene.label)
        write_png(workdir / 'photos' / f'landscape_{number:02d}.png', scene.image)
    multipliers = demo.config.options()['generator_multipliers'].split(',')[:6]
    sizes = dict(load_size=SIZE, crop_size=SIZE, generator_multipliers=','.join(multipliers))
    return Run(str(workdir), 'demo', 0, demo.config.replace(**sizes))
