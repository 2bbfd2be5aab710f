"""The demo at 128x128 without its weights: its maps and photos, scaled, for the stand-in."""

import atexit
import functools
import pathlib
import shutil
import tempfile

from PIL import Image

import spade_jax
from spade_jax.studio.description import Run

SIZE = 128


@functools.cache
def small_demo() -> Run:
    """A run whose work directory, called demo, has `labels` and `photos`."""
    parent = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    workdir, demo = pathlib.Path(parent, 'demo'), Run.open(spade_jax.DEMO)
    for folder, filter in (('labels', Image.NEAREST), ('photos', Image.BICUBIC)):
        (workdir / folder).mkdir(parents=True)
        for path in pathlib.Path(spade_jax.DEMO, folder).iterdir():
            Image.open(path).resize((SIZE, SIZE), filter).save(workdir / folder / path.name)
    multipliers = demo.config.options()['generator_multipliers'].split(',')[:6]
    sizes = dict(load_size=SIZE, crop_size=SIZE, generator_multipliers=','.join(multipliers))
    return Run(str(workdir), 'demo', 0, demo.config.replace(**sizes))
