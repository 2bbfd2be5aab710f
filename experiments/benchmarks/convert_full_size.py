"""Convert a COCO-Stuff generator of the published size, and sample with it: seconds and memory.

    python -m experiments.benchmarks.convert_full_size

The weights are random. With --directory all files are kept.
"""

import os
import sys
import tempfile
import time

import numpy as np
from absl import app, flags
from PIL import Image

from experiments.benchmarks.workloads import random_generator
from spade_jax.config import catalog
from spade_jax.config.config import Config
from spade_jax.errors import one_line_errors
from spade_jax.files.weight_files import write_state
from spade_jax.models.spade.reference_names import to_state
from spade_jax.models.train_state import parameter_count

_DIRECTORY = flags.DEFINE_string('directory', '', 'New directory of all files. Default: temporary.')


def main(argv: list[str]) -> None:
    """Convert and sample in the directory of the flags."""
    with one_line_errors(argv), tempfile.TemporaryDirectory() as temporary:
        convert_and_sample(os.path.expanduser(_DIRECTORY.value) or temporary)


def convert_and_sample(directory: str) -> None:
    """Write the PyTorch checkpoint and a label map, and run --mode=convert and --mode=sample."""
    config = Config.create(**catalog.defaults_of('coco_stuff', ''))
    generator = random_generator(config)
    print(f'{parameter_count(generator):,} parameters')
    names = ('torch_checkpoint', 'labels', 'instances')
    checkpoint, labels, instances = (os.path.join(directory, name) for name in names)
    for path in (checkpoint, labels, instances):
        os.makedirs(path)
    write_state(os.path.join(checkpoint, 'latest_net_G.npz'), to_state(generator, 'generator'))
    classes = np.random.default_rng(0).integers(0, config.data.num_classes, (8, 8), np.uint8)
    for path in (labels, instances):
        Image.fromarray(np.kron(classes, np.ones((32, 32), np.uint8))).save(f'{path}/blocks.png')
    workdir = f'--workdir={os.path.join(directory, "run")}'
    measure('convert', workdir, f'--torch_checkpoint_dir={checkpoint}', '--dataset=coco_stuff')
    maps = f'--label_dir={labels}', f'--instance_dir={instances}'
    measure('sample', workdir, *maps, '--batch_size=1')


def measure(mode: str, *flags: str) -> None:
    """Run the program, and print its time and its peak memory."""
    start = time.perf_counter()
    command = [sys.executable, '-m', 'spade_jax.main', f'--mode={mode}', *flags]
    process = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f'--mode={mode} failed')
    seconds, gibibytes = time.perf_counter() - start, usage.ru_maxrss / 2**20
    print(f'{mode}: {seconds:.1f} s, peak {gibibytes:.2f} GiB', flush=True)


if __name__ == '__main__':
    app.run(main)
