"""What the benchmarks share: networks by preset, checks of list flags, the JSON output."""

import json
import pathlib
import sys
from collections.abc import Collection
from typing import Any

from absl import flags

from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.config.option import positive_integers
from spade_jax.errors import UserError
from spade_jax.models.spade.options import SpadeOptions

CONFIGS = pathlib.Path(__file__).parents[2] / 'spade_jax' / 'configs'
PRESETS = ('coco_stuff', 'ade20k', 'cityscapes', 'scenes_256')
PRECISIONS = ('float32', 'bfloat16')
REMATERIALIZATIONS = ('none', 'modulation', 'blocks')
PRESET_HELP = (
    'Flagfile in spade_jax/configs/ that sets the networks, without style encoder; other flags '
    'override it.'
)


def check_list(flag: flags.FlagHolder, known: Collection[str]) -> None:
    """Raise UserError when a list flag is empty or has an unknown entry."""
    if unknown := [entry for entry in flag.value or [''] if entry not in known]:
        raise UserError(
            f'{flag.name}={",".join(flag.value)}: {unknown[0] or "nothing"} is not one of '
            f'{", ".join(known)}',
            f'write --{flag.name}={",".join(known)}',
        )


def integers(flag: flags.FlagHolder) -> list[int]:
    """The positive integers of a list flag; raises UserError for anything else."""
    return positive_integers(flag.name, flag.value)


def preset_config(preset: str) -> Config:
    """The networks of a preset with VGG19, without style encoder, batch size 1, then the flags.

    Raises:
      UserError: The flags ask for a style encoder, an RGB condition or another model.
    """
    lines = (CONFIGS / f'{preset}.flags').read_text(encoding='utf-8').splitlines()
    preset_flags = [
        line for line in lines if line.startswith('--') and not line.startswith('--workdir')
    ]
    common = ['--nostyle_encoder', '--batch_size=1', '--perceptual_network=vgg19']
    flags.FLAGS([sys.argv[0], *preset_flags, *common, *sys.argv[1:]])
    config = config_flags.config_from_flags(flags.FLAGS)
    model = config.model
    is_plain = isinstance(model, SpadeOptions) and not model.style_encoder
    if not is_plain or not config.data.uses_labels:
        raise UserError(
            'this script measures SPADE with label maps and without style encoder',
            'leave out --model, --style_encoder and --condition=rgb',
        )
    return config


def write_json(path: str, record: dict[str, Any]) -> None:
    """Write a record, indented."""
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(record, file, indent=1)
