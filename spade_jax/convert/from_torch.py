"""From published PyTorch files to a work directory that samples and trains on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.files.weight_files import FORMATS, read_state
from spade_jax.models.initialization import draw_variables
from spade_jax.models.spade.model import build_networks
from spade_jax.models.spade.published import infer, resolve
from spade_jax.models.spade.reference_names import BATCH_COUNT, to_state, to_variables
from spade_jax.models.train_state import TrainState, abstract_networks, with_fresh_optimizers
from spade_jax.random_streams import Stream

LETTERS = {'generator': 'G', 'discriminator': 'D', 'encoder': 'E'}
PROVENANCE = 'torch_provenance.json'

State = dict[str, np.ndarray]
Counts = dict[str, dict[str, int]]  # network -> name -> count of batches


def convert(
    directory: str, epoch: str, workdir: str, described: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Config, list[str]]:
    """Writes the networks of `<epoch>_net_{G,D,E}` to a work directory, as the checkpoint of step 0.

    Without a file of the discriminator there is a fresh one, from the seed. The optimisers are fresh: published files hold none.

    Args:
      directory: of the files.
      epoch: how their names begin, usually 'latest'.
      workdir: of the new run; must have no checkpoint.
      described, given: see `architecture.resolve`.

    Returns:
      The Config, and the files that were read.

    Raises:
      UserError: files are missing, damaged or no SPADE networks, flags are missing or contradict them, or a run goes on in `workdir`; nothing is written then.
    """
    if os.path.isdir(os.path.join(workdir, 'checkpoints')):
        with Checkpointer(workdir, read_only=True) as checkpoints:
            if checkpoints.latest_step() is not None:
                raise UserError(
                    f'workdir={workdir} has checkpoints already',
                    'choose another --workdir for the converted model',
                )
    files = find_files(directory, epoch)
    states, counts = read_networks(files)
    config = resolve(infer(**states), described, given)
    state = train_state(states, config, directory)
    os.makedirs(workdir, exist_ok=True)
    with (
        exclusive_lock(workdir),
        Checkpointer(workdir, keep=config.run.keep_checkpoints) as checkpoints,
    ):
        with open(os.path.join(workdir, PROVENANCE), 'w') as file:
            json.dump({'batch_counts': counts}, file, indent=1)
        checkpoints.save(state, config, num_examples=None)
    return config, list(files.values())


def find_files(directory: str, epoch: str) -> dict[str, str]:
    """Network -> path of its file; of the generator at least. Raises UserError where it is missing or a network has several files."""
    if not os.path.isdir(directory):
        raise UserError(
            f'torch_checkpoint_dir={directory}: no such directory',
            'give the one with the files latest_net_G.pth, ...',
        )
    files = {}
    for network, letter in LETTERS.items():
        found = [
            path
            for format in FORMATS
            if os.path.isfile(path := os.path.join(directory, f'{epoch}_net_{letter}.{format}'))
        ]
        if len(found) > 1:
            raise UserError(
                f'the {network} has several files: {", ".join(found)}', 'move all but one away'
            )
        if found:
            files[network] = found[0]
    if 'generator' not in files:
        endings = tuple(f'_net_G.{format}' for format in FORMATS)
        epochs = sorted(
            {
                name.rpartition('_net_G.')[0]
                for name in os.listdir(directory)
                if name.endswith(endings)
            }
        )
        raise UserError(
            f'torch_checkpoint_dir={directory} has no file {epoch}_net_G.pth (nor .npz, nor .safetensors)',
            f'it has other epochs: --torch_epoch={" or ".join(epochs)}'
            if epochs
            else 'give the directory with the files latest_net_G.pth, ...',
        )
    return files


def read_networks(files: Mapping[str, str]) -> tuple[dict[str, State], Counts]:
    """Network -> its state dictionary, without the prefix of parallel modules and without counts of batches, and those counts."""
    states, counts = {}, {}
    for network, path in files.items():
        state = read_state(path)
        if state and all(name.startswith('module.') for name in state):
            state = {name.removeprefix('module.'): array for name, array in state.items()}
        counted = [
            name
            for name, array in state.items()
            if name.rpartition('.')[2] == BATCH_COUNT
            and np.ndim(array) == 0
            and np.issubdtype(array.dtype, np.integer)
            and name.replace(BATCH_COUNT, 'running_mean') in state
        ]
        counts[network] = {name: int(state.pop(name)) for name in counted}
        states[network] = state
    return states, counts


def train_state(states: Mapping[str, State], config: Config, place: str) -> TrainState:
    """The state before the first step, with the networks of these state dictionaries.

    Raises:
      UserError: with every entry that is missing, not known, of another shape or type, or not finite.
    """
    abstract = dict(
        zip(
            ('generator', 'discriminator', 'encoder'),
            abstract_networks(config, build_networks(config)),
        )
    )
    latent_size = config.model.grid_size(config.data) if config.model.style_encoder else None
    sizes = {network: latent_size if network == 'generator' else None for network in LETTERS}
    faults = [
        f'{network}: {fault}'
        for network, state in states.items()
        for fault in faults_of(
            state, to_state(_shapes_alone(abstract[network]), network, latent_size=sizes[network])
        )
    ]
    if faults:
        raise UserError(
            f'{place} does not hold the networks that its names and the flags describe: {"; ".join(faults)}',
            'give the files of one SPADE model, as training wrote them',
        )
    variables = {
        network: jax.tree.map(
            np.ascontiguousarray, to_variables(state, network, latent_size=sizes[network])
        )
        for network, state in states.items()
    }
    if 'discriminator' not in variables:
        variables['discriminator'] = draw_variables(
            abstract['discriminator'],
            config.run.seed,
            Stream.DISCRIMINATOR_WEIGHTS,
            initialization=config.optimizer.initialization,
            gain=config.optimizer.init_gain,
        )
    return with_fresh_optimizers(
        config, variables['generator'], variables['discriminator'], variables.get('encoder')
    )


def faults_of(state: State, expected: State) -> list[str]:
    """What is wrong with the entries of a network, grouped; the arrays of `expected` count by their shapes alone."""
    present = {name: array for name, array in state.items() if name in expected}
    fitting = {
        name: array for name, array in present.items() if array.shape == expected[name].shape
    }
    groups = {
        'missing': [name for name in expected if name not in state],
        'not known': [name for name in state if name not in expected],
        'of another shape': [
            f'{name} {array.shape}, expected {expected[name].shape}'
            for name, array in present.items()
            if name not in fitting
        ],
        'not float32': [
            f'{name} {array.dtype}' for name, array in fitting.items() if array.dtype != np.float32
        ],
        'not finite': [
            name
            for name, array in fitting.items()
            if array.dtype == np.float32 and not np.isfinite(array).all()
        ],
    }
    return [
        f'{len(names)} {group} ({", ".join(names)})' for group, names in groups.items() if names
    ]


def _shapes_alone(abstract):
    """Arrays of the shapes of abstract variables that take no memory."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), abstract)
