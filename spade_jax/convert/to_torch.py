"""From a work directory to files that the reference implementation loads."""

from __future__ import annotations

import json
import os

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import newest_of_run
from spade_jax.config.config import Config
from spade_jax.convert.from_torch import LETTERS, PROVENANCE
from spade_jax.errors import UserError
from spade_jax.files.weight_files import import_torch, write_state
from spade_jax.models.spade.reference_names import BATCH_COUNT, to_state
from spade_jax.models.train_state import abstract_train_state


def export(workdir: str, output_dir: str, format: str, epoch: str) -> tuple[Config, list[str]]:
    """Writes the networks of the newest checkpoint as `<epoch>_net_{G,D,E}.<format>`.

    Counts of batches are those of the files that a run was converted from, else 0: the published models do not count, and nothing depends on it.

    Returns:
      The Config, and the files that were written.

    Raises:
      UserError: there is no checkpoint, a file is there already, or `format` needs PyTorch, which is not installed.
    """
    paths = {
        network: os.path.join(output_dir, f'{epoch}_net_{letter}.{format}')
        for network, letter in LETTERS.items()
    }
    if taken := [path for path in paths.values() if os.path.exists(path)]:
        raise UserError(f'{taken[0]} exists', 'choose another --output_dir or --torch_epoch')
    if format == 'pth':
        import_torch(paths['generator'], 'writing')
    with newest_of_run(workdir) as (checkpoints, step):
        config, _ = checkpoints.restore_run(step)
        state = checkpoints.restore(step, like=abstract_train_state(config))
    counts = _recorded_counts(workdir)
    written = []
    for network, path in paths.items():
        if (variables := getattr(state, network)) is None:
            continue
        entries = to_state(
            jax.device_get(variables),
            network,
            latent_size=config.model.grid_size(config.data)
            if network == 'generator' and config.model.style_encoder
            else None,
        )
        zeros = {
            name.replace('running_mean', BATCH_COUNT): 0
            for name in entries
            if name.endswith('.running_mean')
        }
        write_state(
            path,
            entries
            | {
                name: np.array(count, np.int64)
                for name, count in counts.get(network, zeros).items()
            },
        )
        written.append(path)
    return config, written


def beyond_the_reference(config: Config) -> list[str]:
    """The fields, as flags, whose values the reference implementation cannot build networks of."""
    fixed = dict(spade_hidden=128)
    if config.model.style_encoder:
        fixed |= dict(encoder_input_size=256, style_dim=256)
    fields = [
        f'--{name}={getattr(config, name)}'
        for name, value in fixed.items()
        if getattr(config, name) != value
    ]
    if config.model.style_encoder and config.model.encoder_depth(config.data) == 5:
        fields.append(f'--crop_size={config.data.crop_size} with a style encoder')
    return fields


def _recorded_counts(workdir):
    path = os.path.join(workdir, PROVENANCE)
    if not os.path.exists(path):
        return {}
    try:
        with open(path) as file:
            return json.load(file)['batch_counts']
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is damaged', 'remove it; all counts of batches are 0 then'
        ) from error
