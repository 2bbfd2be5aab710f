"""Checkpoint directories as the reference implementation writes them, from golden numbers and from random weights."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.convert.from_torch import LETTERS
from spade_jax.files.weight_files import write_state
from spade_jax.models.spade.model import build_networks
from spade_jax.models.spade.reference_names import to_state
from spade_jax.models.train_state import init_train_state
from tests.parity import Golden

DONTCARE_ID = 255


def random_states(config: Config) -> dict[str, dict[str, np.ndarray]]:
    """Network -> state dictionary of random weights, without counts of batches."""
    state = init_train_state(config, build_networks(config))
    latent_size = config.model.grid_size(config.data) if config.model.style_encoder else None
    return {
        network: to_state(
            variables, network, latent_size=latent_size if network == 'generator' else None
        )
        for network in LETTERS
        if (variables := getattr(state, network)) is not None
    }


def write_files(
    directory: pathlib.Path,
    states: dict[str, dict[str, np.ndarray]],
    *,
    epoch: str = 'latest',
    format: str = 'npz',
) -> pathlib.Path:
    directory.mkdir(parents=True, exist_ok=True)
    for network, state in states.items():
        write_state(str(directory / f'{epoch}_net_{LETTERS[network]}.{format}'), state)
    return directory


def model_fields(golden: Golden) -> dict:
    """The fields of Config that a golden file's options speak of and its entries do not tell."""
    options = golden.options
    fields = dict(
        num_classes=options['label_nc'],
        dontcare=options['contain_dontcare_label'],
        condition='labels' if options['no_instance'] else 'labels+edges',
        crop_size=options['crop_size'],
        aspect_ratio=options.get('aspect_ratio', 1.0),
    )
    return (
        fields
        if options['use_vae']
        else fields | dict(upsampling=options.get('num_upsampling_layers', 'normal'))
    )


def format_flags(fields: dict) -> list[str]:
    return [
        f'--{"" if value else "no"}{name}' if isinstance(value, bool) else f'--{name}={value}'
        for name, value in fields.items()
    ]


def write_maps(directory: pathlib.Path, golden: Golden) -> list[str]:
    """Writes a golden file's label maps, and instance maps where it has them; returns the flags for them."""
    flags = []
    for role in ('label', 'instance'):
        if f'in/{role}' not in golden:
            continue
        (directory / role).mkdir(parents=True)
        for i, ids in enumerate(golden[f'in/{role}'][..., 0].astype(np.int64)):
            if role == 'label' and golden.options['contain_dontcare_label']:
                ids = np.where(ids == golden.options['label_nc'], DONTCARE_ID, ids)
            dtype = np.uint8 if role == 'label' else np.uint16
            Image.fromarray(ids.astype(dtype)).save(directory / role / f'{i}.png')
        flags.append(f'--{role}_dir={directory / role}')
    return flags
