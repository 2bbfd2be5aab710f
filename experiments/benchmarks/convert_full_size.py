"""Converts a COCO-Stuff generator of the published size (random weights) and draws a label map with it: seconds and peak memory of both.

python experiments/convert_full_size.py [DIRECTORY]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from spade_jax.config import catalog
from spade_jax.config.config import Config
from spade_jax.files.weight_files import write_state
from spade_jax.models.initialization import draw_variables
from spade_jax.models.spade.model import build_networks
from spade_jax.models.spade.reference_names import to_state
from spade_jax.models.train_state import abstract_networks, parameter_count
from spade_jax.random_streams import Stream


def main(directory: str) -> None:
    config = Config.create(**catalog.defaults_of('coco_stuff', ''))
    generator = draw_variables(
        abstract_networks(config, build_networks(config))[0], 0, Stream.GENERATOR_WEIGHTS
    )
    print(f'{parameter_count(generator):,} parameters')
    files, labels, instances = (
        os.path.join(directory, name) for name in ('files', 'labels', 'instances')
    )
    for path in (files, labels, instances):
        os.makedirs(path)
    write_state(os.path.join(files, 'latest_net_G.npz'), to_state(generator, 'generator'))
    blocks = (
        np.random.default_rng(0)
        .integers(0, config.data.num_classes, (8, 8), np.uint8)
        .repeat(32, 0)
        .repeat(32, 1)
    )
    for path in (labels, instances):
        Image.fromarray(blocks).save(os.path.join(path, 'blocks.png'))
    workdir = f'--workdir={os.path.join(directory, "run")}'
    measure('convert', workdir, f'--torch_checkpoint_dir={files}', '--dataset=coco_stuff')
    measure(
        'sample', workdir, f'--label_dir={labels}', f'--instance_dir={instances}', '--batch_size=1'
    )


def measure(mode: str, *flags: str) -> None:
    """Runs the program, and prints how long it took and how much memory it had at most."""
    start = time.perf_counter()
    process = os.posix_spawn(
        sys.executable,
        [sys.executable, '-m', 'spade_jax.main', f'--mode={mode}', *flags],
        os.environ,
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f'--mode={mode} failed')
    print(
        f'{mode}: {time.perf_counter() - start:.1f} s, at most {usage.ru_maxrss / 2**20:.2f} GiB',
        flush=True,
    )


if __name__ == '__main__':
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as directory:
            main(directory)
