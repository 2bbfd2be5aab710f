"""Train SPADE with spade_jax and with PyTorch for the same time, and judge both.

    pip install -e '.[train,torch,lite0]'
    python -m experiments.evaluation.equal_time --workdir=runs/equal_time --minutes=20

Three runs in turn, on the same landscapes at 64x64: the published recipe at small widths with
PyTorch and with spade_jax (the flagfile `tour/spade`), and the recipe of the quickstart. The time
of PyTorch counts from the end of its first step, that of spade_jax from the start of the program,
compilation included. The weights of PyTorch are converted, so that one program samples and judges
all. What is done is not repeated.
"""

import functools
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags

import spade_jax
from experiments.evaluation.held_out import Run, split_examples
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.sources.scenes import SCENES_VALIDATION_EXAMPLES
from spade_jax.errors import UserError, one_line_errors, require_extra
from spade_jax.files.image_grid import image_grid, write_png

_WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the runs.', required=True)
_MINUTES = flags.DEFINE_float('minutes', 20.0, 'Minutes of each run.', 0)
_EXAMPLES = flags.DEFINE_integer('examples', 6, 'Label maps on the sheet.', 1)
SCORES = (
    '--evaluate=layout,lite0_frechet,lite0_kernel',
    f'--kid_subset_size={SCENES_VALIDATION_EXAMPLES}',
)
RECIPE = ('--flagfile=tour/spade', '--max_steps=0')
RUNS = {
    'spade_jax': RECIPE,
    'spade_jax_quickstart': ('--flagfile=quickstart', '--constant_epochs=1000', '--decay_epochs=0'),
}
PYTORCH = 'pytorch'
PROGRAM = sys.executable, '-m', 'spade_jax.main'


def main(argv: list[str]) -> None:
    """Train, judge, write the table and the sheet."""
    with one_line_errors(argv):
        require_extra('torch', 'the comparison with PyTorch')
        config = spade_jax.configure('tour/spade')
        split_examples(config.data, 'train', 1)  # Renders the landscapes: no part of the time.
        workdirs = [finished(PYTORCH, train_pytorch)]
        for name, recipe in RUNS.items():
            workdirs.append(finished(name, functools.partial(train, recipe)))
        program('--mode=evaluate', f'--workdir={",".join(workdirs)}', *SCORES)
        write_sheet(workdirs)


def place(name: str) -> str:
    """The work directory of a run."""
    return os.path.join(_WORKDIR.value, name)


def finished(name: str, train_in: Callable[[str], None]) -> str:
    """The work directory of a run, which is trained unless that was done before.

    Raises:
      UserError: The run was begun and not finished.
    """
    workdir, mark = place(name), pathlib.Path(f'{place(name)}.done')
    if not mark.exists():
        if os.path.exists(workdir):
            raise UserError(f'{workdir} is a run that was not finished', 'remove it')
        train_in(workdir)
        mark.touch()
    return workdir


def train(recipe: Sequence[str], workdir: str) -> None:
    """Train for the time with spade_jax."""
    arguments = [*recipe, f'--workdir={workdir}', f'--compilation_cache_dir={place("cache")}']
    process = subprocess.Popen([*PROGRAM, *arguments])
    try:
        process.wait(60 * _MINUTES.value)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # It saves, and ends.
        process.wait()
        return
    raise UserError(f'{" ".join(arguments)} ended before its time', 'see above')


def train_pytorch(workdir: str) -> None:
    """Train for the time with PyTorch, and convert the weights."""
    weights, module = place('pytorch_weights'), 'experiments.evaluation.train_pytorch'
    arguments = f'--minutes={_MINUTES.value}', f'--weights_dir={weights}'
    subprocess.run([sys.executable, '-m', module, *arguments], check=True)
    files = f'--torch_checkpoint_dir={weights}', f'--workdir={workdir}'
    program('--mode=convert', *RECIPE, '--upsampling=normal', *files)


def program(*arguments: str) -> None:
    """Run spade_jax."""
    if subprocess.run([*PROGRAM, *arguments]).returncode:
        raise UserError(f'{" ".join(arguments)} failed', 'see above')


def write_sheet(workdirs: list[str]) -> None:
    """Label maps, an image of each run, and the rendering, side by side."""
    runs = [Run.load(workdir) for workdir in workdirs]
    batch = runs[0].read('validation', _EXAMPLES.value)
    images = [run.sample(batch, seed=0) for run in runs]
    panels = [colorize_input(batch.label, runs[0].config.data), *images, np.asarray(batch.image)]
    path = place('sheet.png')
    write_png(path, image_grid(panels, per_row=2))
    print(f'{path}: label map, {", ".join(map(os.path.basename, workdirs))}, rendering')


if __name__ == '__main__':
    app.run(main)
