"""From a work directory to PyTorch files that the reference implementation loads."""

import json
import os
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import open_latest
from spade_jax.config.config import Config
from spade_jax.convert.from_torch import PROVENANCE, check_epoch, published_weights
from spade_jax.errors import UserError
from spade_jax.files.weight_files import BATCH_COUNT, import_torch, write_states
from spade_jax.models.train_state import abstract_train_state


def export(workdir: str, output_dir: str, format: str, epoch: str) -> tuple[Config, list[str]]:
    """Write the networks of the newest checkpoint as `<epoch>_net_<letter>.<format>`.

    Counts of batches are those of the files that a run was converted from, else 0: the published
    models do not count, and nothing depends on it.

    Returns:
      The Config, and the files that were written.

    Raises:
      UserError: There is no checkpoint, a file exists or cannot be written, `epoch` is no name, or
        `format` needs PyTorch, which is not installed. No file is written then.
    """
    check_epoch(epoch)
    if format == 'pth':
        import_torch(output_dir)
    counts = _recorded_counts(workdir)
    with open_latest(workdir) as (checkpointer, step):
        config = checkpointer.metadata(step).config
        published = published_weights(config.model.name)
        paths = {
            network: os.path.join(output_dir, f'{epoch}_net_{letter}.{format}')
            for network, letter in published.FILES.items()
        }
        for path in filter(os.path.exists, paths.values()):
            raise UserError(f'{path} exists', 'choose another --output_dir or --torch_epoch')
        state = checkpointer.restore(step, abstract_train_state(config), config)
    networks = jax.device_get(state.networks)
    paths = {network: path for network, path in paths.items() if network in networks}

    def entries_of(network: str) -> dict[str, np.ndarray]:
        entries = published.to_reference(networks[network], network, config)
        names = [name for name in entries if name.endswith('.running_mean')]
        zeros = {name.replace('running_mean', BATCH_COUNT): np.int64(0) for name in names}
        return entries | counts.get(network, zeros)

    write_states((path, entries_of(network)) for network, path in paths.items())
    return config, list(paths.values())


def unsupported_by_reference(config: Config) -> list[str]:
    """Options, as flags, whose values the reference implementation cannot build networks of."""
    return published_weights(config.model.name).unsupported_by_reference(config)


def _recorded_counts(workdir: str) -> dict[str, dict[str, Any]]:
    path = os.path.join(workdir, PROVENANCE)
    if not os.path.exists(path):
        return {}
    try:
        with open(path) as file:
            counts = json.load(file)['batch_counts']
        return {
            network: {name: np.int64(count) for name, count in of_network.items()}
            for network, of_network in counts.items()
        }
    except Exception as error:  # Of as many types as JSON can hold values.
        remedy = 'remove it; all counts of batches are then 0'
        raise UserError(f'{path} is damaged', remedy) from error
