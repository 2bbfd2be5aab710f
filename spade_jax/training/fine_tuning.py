"""Start a run from the networks of another run."""

from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import open_latest
from spade_jax.checkpoints.checksums import named_leaves, paths
from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import parse_remap
from spade_jax.errors import UserError
from spade_jax.models.model import Variables, build_model
from spade_jax.models.train_state import (
    TrainState,
    abstract_networks,
    abstract_train_state,
    create_train_state,
)

LEARNED = ('params', 'batch_stats', 'spectral')  # The other collections belong to a run.
_MAX_LISTED = 20


def from_run(state: TrainState, config: Config) -> TrainState:
    """A fresh state with the arrays of the run `init_from` where they fit; prints a report.

    Raises:
      UserError: There is no such run, its checkpoint is corrupt, or none of its arrays fits.
    """
    workdir = config.run.init_from
    theirs, networks = networks_of(workdir)
    networks, channels = with_layout_channels(networks, theirs, state.networks, config)
    channels += renumbered(config.data, theirs.data)
    networks, report = transplanted(state.networks, networks)
    print('\n'.join([f'From init_from={workdir}:', *report, *channels]), flush=True)
    if networks is state.networks:
        raise UserError(
            f'init_from={workdir}: none of its arrays has the name and shape of one of this run',
            'use the same model flags, or leave it out',
        )
    return create_train_state(config, networks)


def networks_of(workdir: str) -> tuple[Config, dict[str, Variables]]:
    """The configuration and the networks in the newest checkpoint of a run, on the host."""
    with open_latest(workdir, flag='init_from') as (checkpointer, step):
        config = checkpointer.metadata(step).config
        state = checkpointer.restore(step, abstract_train_state(config), config)
    return config, jax.device_get(state.networks)


def with_layout_channels(
    other: dict[str, Variables], theirs: Config, networks: dict[str, Variables], ours: Config
) -> tuple[dict[str, Variables], list[str]]:
    """The networks of another run for our layout, and a line for the report if theirs differs.

    Channels that it lacks have the entries of our `networks`, which are in their initial state.
    """
    size, other_size = ours.data.layout_channels, theirs.data.layout_channels
    shared = shared_channels(ours.data, theirs.data)
    labels = [config for config in (ours, theirs) if config.data.uses_labels]
    if len(shared) == size == other_size or not labels:
        return other, []
    to, source = np.array(shared, int).reshape(-1, 2).T
    initial, arrays = named_leaves(networks), named_leaves(other)
    for path, axis in layout_axes(labels[0]).items():
        if path not in initial or path not in arrays:
            continue
        fitted = initial[path].copy()
        new, old = np.moveaxis(fitted, axis, 0), np.moveaxis(arrays[path], axis, 0)
        # Other channels, such as those of an image, follow the layout.
        if new[size:].shape == old[other_size:].shape:
            new[to], new[size:] = old[source], old[other_size:]
            arrays[path] = fitted
    report = f'  {len(shared)} of {size} layout channels taken, {size - len(shared)} initialized'
    return jax.tree.unflatten(jax.tree.structure(other), arrays.values()), [report]


def shared_channels(ours: DataConfig, theirs: DataConfig) -> list[tuple[int, int]]:
    """The indices, here and there, of the layout channels that both runs have.

    `semantic_layout` has their order. Classes are the same if their ids are. An RGB condition
    shares nothing with a layout.
    """
    if not (ours.uses_labels and theirs.uses_labels):
        channels = range(ours.layout_channels if ours.condition == theirs.condition else 0)
        return [(i, i) for i in channels]
    pairs = [(i, i) for i in range(min(ours.num_classes, theirs.num_classes))]
    if ours.dontcare and theirs.dontcare:
        pairs.append((ours.num_classes, theirs.num_classes))
    if ours.instance_edges and theirs.instance_edges:
        pairs.append((ours.label_channels, theirs.label_channels))
    return pairs


def renumbered(ours: DataConfig, theirs: DataConfig) -> list[str]:
    """A warning if an id that both runs remap is another class here than there."""
    if not (ours.uses_labels and theirs.uses_labels):
        return []
    here, there = (parse_remap(data.label_remap).targets for data in (ours, theirs))
    moved = [old for old in sorted(here.keys() & there.keys()) if here[old] != there[old]]
    if not moved:
        return []
    old = moved[0]
    return [
        f'warning: the id {old} is class {here[old]} here and {there[old]} there, so it starts '
        f'with the weights of another class; keep --label_remap={theirs.label_remap} and add new '
        'ids to it if the ids mean the same in both runs'
    ]


def layout_axes(config: Config) -> dict[str, int]:
    """The axis of the layout channels in each array that has one: a class more extends it by 1."""
    others = dict(dontcare=False, palette='', palette_tolerance=0, label_remap='')
    sizes = (dict(num_classes=number, **others) for number in (1, 2))
    one, two = (_shapes(config.replace(**options)) for options in sizes)
    growth = {path: np.subtract(two[path], one[path]) for path in one}
    return {path: int(by.argmax()) for path, by in growth.items() if by.sum() == 1}


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    networks = abstract_networks(build_model(config))
    return dict(
        zip(paths(networks), (leaf.shape for leaf in jax.tree.leaves(networks)), strict=True)
    )


def transplanted(
    networks: dict[str, Variables], other: dict[str, Variables]
) -> tuple[dict[str, Variables], list[str]]:
    """Networks with the learned arrays of other ones where path, shape and type agree.

    Returns:
      The new networks, or `networks` itself if nothing fits; and the lines of a report: how many
      arrays of each network were taken, which are initialized, and which were not used.
    """
    ours, theirs = named_leaves(networks), named_leaves(other)
    taken = {
        path: np.array(theirs[path])
        for path, leaf in ours.items()
        if path in theirs
        and theirs[path].shape == leaf.shape
        and theirs[path].dtype == leaf.dtype
        and path.split('/')[1] in LEARNED
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
