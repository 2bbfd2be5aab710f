"""Start a run from the networks of another run."""

import os
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import open_latest
from spade_jax.checkpoints.checksums import named_leaves
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.model import Variables
from spade_jax.models.train_state import TrainState, abstract_train_state, create_train_state

_MAX_LISTED = 20


def from_run(state: TrainState, config: Config) -> TrainState:
    """A fresh state with the arrays of the run `init_from` where they fit; prints a report.

    Raises:
      UserError: There is no such run, its checkpoint is corrupt, or none of its arrays fits.
    """
    workdir = config.run.init_from
    networks, report = transplanted(state.networks, networks_of(os.path.expanduser(workdir)))
    print(f'From init_from={workdir}:\n' + '\n'.join(report), flush=True)
    if networks is state.networks:
        raise UserError(
            f'init_from={workdir}: none of its arrays has the name and shape of one of this run',
            'use the same model flags, or leave it out',
        )
    return create_train_state(config, networks)


def networks_of(workdir: str) -> dict[str, Variables]:
    """The networks in the newest checkpoint of a run, on the host."""
    with open_latest(workdir, flag='init_from') as (checkpointer, step):
        config = checkpointer.metadata(step).config
        state = checkpointer.restore(step, abstract_train_state(config), config)
    return jax.device_get(state.networks)


def transplanted(
    networks: dict[str, Variables], other: dict[str, Variables]
) -> tuple[dict[str, Variables], list[str]]:
    """Networks with the arrays of other ones where path, shape and type agree.

    Returns:
      The new networks, or `networks` itself if nothing fits; and the lines of a report: how many
      arrays of each network were taken, which are initialized, and which were not used.
    """
    ours, theirs = named_leaves(networks), named_leaves(other)
    taken = {
        path: np.array(theirs[path])
        for path, leaf in ours.items()
        if path in theirs and theirs[path].shape == leaf.shape and theirs[path].dtype == leaf.dtype
    }
    report = []
    for name in networks:
        report += _report_network(name, ours, theirs, set(taken))
    if not taken:
        return networks, report
    structure = jax.tree.structure(networks)
    return jax.tree.unflatten(structure, (ours | taken).values()), report


def _report_network(
    name: str, ours: dict[str, Any], theirs: dict[str, Any], taken: set[str]
) -> list[str]:
    paths = [path for path in ours if path.startswith(f'{name}/')]
    number = len(taken.intersection(paths))
    report = [f'  {name:<14} {number:>4} of {len(paths):>4} arrays taken']
    reasons = {
        path: f'shape {ours[path].shape}, there {theirs[path].shape}'
        for path in ours.keys() & theirs.keys()
    }
    initialized = [
        f'    initialized: {path}: {reasons.get(path, "not there")}'
        for path in paths
        if path not in taken
    ]
    unused = [
        f'    not used: {path} {leaf.shape}'
        for path, leaf in theirs.items()
        if path.startswith(f'{name}/') and path not in ours
    ]
    for lines in (initialized, unused):
        report += lines[:_MAX_LISTED]
        if len(lines) > _MAX_LISTED:
            report.append(f'    and {len(lines) - _MAX_LISTED} more')
    return report
