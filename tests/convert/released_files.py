"""Checkpoint directories as the reference implementation writes them."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import jax
import numpy as np

from spade_jax.config.config import Config
from spade_jax.files.weight_files import write_state
from spade_jax.models.model import build_model
from spade_jax.models.spade import published
from spade_jax.models.train_state import abstract_networks, init_train_state
from tests.parity import Golden, config_of

DONTCARE_ID = 255
State = dict[str, np.ndarray]


@functools.cache
def random_states(config: Config) -> dict[str, State]:
    """Network -> state dictionary of its initial weights, without counts of batches."""
    return _states(init_train_state(config).networks, config)


@functools.cache
def zero_states(config: Config) -> dict[str, State]:
    """Network -> state dictionary of zeros that take no memory."""
    networks = abstract_networks(build_model(config))
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), networks)
    return _states(zeros, config)


def _states(networks: dict[str, Any], config: Config) -> dict[str, State]:
    return {
        network: published.to_reference(variables, network, config)
        for network, variables in networks.items()
    }


def write_files(
    directory: pathlib.Path, states: dict[str, State], *, epoch: str = 'latest', format: str = 'npz'
) -> pathlib.Path:
    """Write `<epoch>_net_<letter>.<format>` of each network; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for network, state in states.items():
        letter = published.FILES[network]
        write_state(str(directory / f'{epoch}_net_{letter}.{format}'), state)
    return directory


def options_to_give(golden: Golden) -> dict[str, Any]:
    """The options of a golden model that its files do not tell; skips it if it is not offered."""
    options = config_of(golden.options).options()
    names = ['num_classes', 'dontcare', 'condition', 'crop_size', 'aspect_ratio']
    if not options['style_encoder']:
        names.append('upsampling')
    return {name: options[name] for name in names}


def golden_maps(golden: Golden) -> tuple[np.ndarray, np.ndarray | None]:
    """Label maps and, with instance edges, instance maps [N, H, W] of a golden model."""
    labels = golden['in/label'][..., 0].astype(np.int64)
    if golden.options['contain_dontcare_label']:
        labels = np.where(labels == golden.options['label_nc'], DONTCARE_ID, labels)
    if golden.options['no_instance']:
        return labels, None
    return labels, golden['in/instance'][..., 0].astype(np.int64)
