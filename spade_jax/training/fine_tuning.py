"""The networks of another run as the start of this one."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints import checksums
from spade_jax.checkpoints.checkpointer import newest_of_run
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.train_state import TrainState, abstract_train_state, with_fresh_optimizers

NETWORKS = ('generator', 'discriminator', 'encoder')
_MOST_NAMED = 20


def from_run(state: TrainState, config: Config) -> TrainState:
    """A fresh state, with the networks of the newest checkpoint of the run `config.run.init_from` where they fit; prints what was taken.

    Raises:
      UserError: there is no such run, its checkpoint is damaged, or nothing of it fits.
    """
    other = networks_of(os.path.expanduser(config.run.init_from))
    given = {name: getattr(state, name) for name in NETWORKS if getattr(state, name) is not None}
    networks, report = transplanted(given, other)
    print(f'From init_from={config.run.init_from}:\n' + '\n'.join(report), flush=True)
    if networks is given:
        raise UserError(
            f'init_from={config.run.init_from}: none of its arrays has the name and shape of one of this run',
            'give the same network flags, or leave it out',
        )
    return with_fresh_optimizers(
        config, networks['generator'], networks['discriminator'], networks.get('encoder')
    )


def networks_of(workdir: str) -> dict[str, Any]:
    """Name -> variables of the networks in the newest checkpoint of a run, on the host."""
    with newest_of_run(workdir, flag='init_from') as (checkpoints, step):
        config, _ = checkpoints.restore_run(step)
        state = checkpoints.restore(step, like=abstract_train_state(config))
    return {
        name: jax.device_get(getattr(state, name))
        for name in NETWORKS
        if getattr(state, name) is not None
    }


def transplanted(
    networks: dict[str, Any], other: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Networks with the arrays of others where name and shape are the same.

    Args:
      networks, other: name -> variables.

    Returns:
      The new networks, or `networks` itself where nothing was taken; and a table of lines: arrays taken of each network, those that start fresh, and
      those that have no place.
    """
    theirs, ours = checksums.named_leaves(other), checksums.named_leaves(networks)
    fits = {
        path
        for path, leaf in ours.items()
        if path in theirs and theirs[path].shape == leaf.shape and theirs[path].dtype == leaf.dtype
    }
    table = []
    for network in NETWORKS:
        paths = [path for path in ours if path.startswith(f'{network}/')]
        table.append(
            f'  {network:<14} {sum(path in fits for path in paths):>4} of {len(paths):>4} arrays taken'
        )
        fresh = [
            f'    fresh: {path}: '
            + (
                f'shape {ours[path].shape}, there {theirs[path].shape}'
                if path in theirs
                else 'not there'
            )
            for path in paths
            if path not in fits
        ]
        unused = [
            f'    not used: {path} {leaf.shape}'
            for path, leaf in theirs.items()
            if path.startswith(f'{network}/') and path not in ours
        ]
        for lines in (fresh, unused):
            table += lines[:_MOST_NAMED] + (
                [f'    and {len(lines) - _MOST_NAMED} more'] if len(lines) > _MOST_NAMED else []
            )
    if not fits:
        return networks, table
    leaves, structure = jax.tree.flatten(networks)
    return jax.tree.unflatten(
        structure,
        [
            np.array(theirs[path]) if path in fits else leaf
            for path, leaf in zip(ours, leaves, strict=True)
        ],
    ), table
