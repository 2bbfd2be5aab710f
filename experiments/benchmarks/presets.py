"""What the benchmarks have in common: the networks of the flagfiles of the published data sets, and the check of their lists."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Collection

from absl import flags

from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import UserError

FLAGFILES = {
    'coco_stuff': 'coco_stuff.flags',
    'ade20k': 'ade20k.flags',
    'cityscapes': 'cityscapes.flags',
    'scenes': 'scenes_256.flags',
}

PRECISIONS = ('float32', 'bfloat16')
REMATERIALIZATIONS = ('none', 'modulation', 'blocks')


def check_list(flag: flags.FlagHolder, known: Collection[str]) -> None:
    """Raises UserError when a list of the command line is empty or has an unknown entry."""
    if unknown := [entry for entry in flag.value or [''] if entry not in known]:
        raise UserError(
            f'{flag.name}={",".join(flag.value)}: {unknown[0] or "nothing"} is not one of {", ".join(known)}',
            f'write --{flag.name}={",".join(known)}',
        )


def integers(flag: flags.FlagHolder) -> list[int]:
    """The numbers of a list; raises UserError for anything but positive ones."""
    return config_flags.positive_integers(flag.name, flag.value)


def described_config(preset: str) -> Config:
    """The networks of a preset without style encoder, one picture at a time, then what the command line says of them.

    Raises:
      UserError: for networks whose layouts are no maps of labels.
    """
    with open(pathlib.Path(__file__).parent / FLAGFILES[preset]) as file:
        lines = [
            line.strip()
            for line in file
            if line.startswith('--') and not line.startswith('--workdir')
        ]
    flags.FLAGS([sys.argv[0], *lines, '--nostyle_encoder', '--batch_size=1', *sys.argv[1:]])
    config = config_flags.config_from_flags(flags.FLAGS)
    if config.model.style_encoder or config.data.condition == 'rgb':
        raise UserError(
            'this script takes networks that draw label maps without styles',
            'leave out --style_encoder and --condition=rgb',
        )
    return config
