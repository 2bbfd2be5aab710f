"""Run the program as users do, in a process, and write small data for it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image

from tests.conftest import XLA_FLAGS
from tests.fixtures.cli import refusal

__all__ = ['ROOT', 'SMALL', 'command', 'environment', 'refusal', 'run', 'succeed', 'write_folders']

ROOT = pathlib.Path(__file__).parent.parent
# A network and images so small that a train step compiles in seconds.
SMALL = [
    *('--crop_size=32', '--load_size=36', '--generator_width=2', '--generator_multipliers=4,1'),
    *('--spade_hidden=4', '--discriminator_width=4', '--discriminator_depth=2'),
    *(
        '--num_discriminators=1',
        '--perceptual_weight=0',
        '--batch_size=4',
        '--log_every=2',
        '--checkpoint_every=4',
    ),
    *('--sample_every=8', '--num_grid_samples=2'),
]


def command(*arguments) -> list[str]:
    return [sys.executable, '-m', 'spade_jax.main', *map(str, arguments)]


def environment(num_devices: int = 2) -> dict[str, str]:
    flags = f'{XLA_FLAGS} --xla_force_host_platform_device_count={num_devices}'
    return os.environ | {'XLA_FLAGS': flags, 'PYTHONPATH': str(ROOT)}


def run(*arguments, num_devices: int = 2) -> subprocess.CompletedProcess:
    """Run the program to its end in a process; see `fixtures.cli.run_inline` for the fast way."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=environment(num_devices),
        timeout=300,
    )


def succeed(*arguments, num_devices: int = 2) -> str:
    """Run the program in a process; returns its standard output."""
    result = run(*arguments, num_devices=num_devices)
    assert result.returncode == 0, result.stderr
    return result.stdout


def write_folders(
    directory: pathlib.Path,
    *,
    count: int = 6,
    num_classes: int = 3,
    size: tuple[int, int] = (40, 44),
    splits=('train', 'val'),
) -> pathlib.Path:
    """Paired folders of images of colored blocks with label and instance maps.

    Args:
      directory: Gets <split>_img, <split>_label and <split>_inst.
      count: Examples of each split.
      num_classes: Classes.
      size: (height, width), divisible by 4.
      splits: Names of the splits.
    """
    random = np.random.default_rng(0)
    for split in splits:
        for role in ('img', 'label', 'inst'):
            (directory / f'{split}_{role}').mkdir(parents=True, exist_ok=True)
        for i in range(count):
            blocks = random.integers(0, num_classes, (4, 4))
            label = np.kron(blocks, np.ones((size[0] // 4, size[1] // 4), int)).astype(np.uint8)
            blue = np.full_like(label, 30 * (i % 4))
            colors = np.stack([label * 60 + 20, 200 - label * 50, blue], -1).astype(np.uint8)
            Image.fromarray(colors).save(directory / f'{split}_img' / f'{i}.jpg', quality=95)
            Image.fromarray(label).save(directory / f'{split}_label' / f'{i}.png')
            Image.fromarray(label * 7 + 1).save(directory / f'{split}_inst' / f'{i}.png')
    return directory
