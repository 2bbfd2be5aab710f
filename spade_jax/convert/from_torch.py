"""From published PyTorch files to a work directory that samples and trains on."""

import json
import os
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.config.model_options import MODELS
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.names import CHECKPOINTS, is_inside
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.files.weight_files import BATCH_COUNT, FORMATS, read_state
from spade_jax.models.model import build_model
from spade_jax.models.train_state import (
    TrainState,
    abstract_networks,
    create_train_state,
    init_network,
)
from spade_jax.sampling import feature_clusters
from spade_jax.sampling.feature_clusters import FeatureClusters

PROVENANCE = 'torch_provenance.json'
CLUSTERS = 'features_clustered_{:03}.npy'  # Of at most so many centers of each class.
# System without a model here -> what only the names in its generator contain.
OTHER_SYSTEMS = {'CLADE': '.class_specified_affine.', 'OASIS': 'body.0.norm_0.first_norm.'}

State = dict[str, np.ndarray]
Counts = dict[str, dict[str, int]]  # Network -> name -> count of batches.


def published_weights(model: str) -> ModuleType:
    """The module that knows the published weights of a model.

    It has `FILES`, `REQUIRED`, `recognizes`, `infer_config`, `to_reference`, `from_reference` and
    `unsupported_by_reference`; see `models/spade/published.py`.
    """
    if not MODELS[model].published:
        others = ', '.join(name for name in MODELS if MODELS[name].published)
        problem = f'model={model} has no published weights to convert'
        raise UserError(problem, f'these have some: {others}')
    return pkgutil.resolve_name(MODELS[model].published)


def convert(
    directory: str, epoch: str, workdir: str, described: Mapping[str, Any], given: Mapping[str, Any]
) -> tuple[Config, list[str]]:
    """Write published networks to a work directory, as the checkpoint of step 0.

    Networks without a file are initialized from the seed. Optimizers are fresh, since published
    files have none.

    Args:
      directory: Of the files `<epoch>_net_<letter>.<format>`.
      epoch: Start of their names, usually 'latest'.
      workdir: Of the new run; it must have no checkpoint.
      described: Options that flags, data set and palette set.
      given: Those of them that flags set.

    Returns:
      The Config, and the files that were read.

    Raises:
      UserError: Files are missing, damaged or not of this model, flags are missing or contradict
        them, or `workdir` is in use. Nothing is written then.
    """
    if os.path.isdir(os.path.join(workdir, CHECKPOINTS)):
        with Checkpointer(workdir, read_only=True) as checkpointer:
            _require_empty(checkpointer, workdir)
    model = given.get('model', 'spade')
    published = published_weights(model)
    files = find_files(directory, epoch, published.FILES, published.REQUIRED)
    states, counts = read_networks(files)
    for network in published.REQUIRED:
        check_system(states[network], files[network], model)
    config = published.infer_config(states, described, given)
    state = train_state(states, config, directory)
    clusters = published_clusters(directory, config)
    os.makedirs(workdir, exist_ok=True)
    keep = config.run.keep_checkpoints
    with exclusive_lock(workdir), Checkpointer(workdir, keep=keep) as checkpointer:
        _require_empty(checkpointer, workdir)  # Another conversion may just have ended.
        path = os.path.join(workdir, PROVENANCE)
        with atomic_write(path) as partial, open(partial, 'w') as file:
            json.dump({'batch_counts': counts}, file, indent=1)
        checkpointer.save(state, config, num_examples=None)
        if clusters is not None:
            feature_clusters.write(workdir, clusters)
    return config, list(files.values())


def published_clusters(directory: str, config: Config) -> FeatureClusters | None:
    """The clusters next to published files, if the latent of the model is a table of features."""
    if not (table := config.model.feature_table):
        return None
    path = os.path.join(directory, CLUSTERS.format(table.clusters))
    return feature_clusters.from_published(path, config) if os.path.exists(path) else None


def _require_empty(checkpointer: Checkpointer, workdir: str) -> None:
    if checkpointer.steps():
        problem = f'workdir={workdir} has checkpoints already'
        raise UserError(problem, 'choose another --workdir for the converted model')


def check_epoch(epoch: str) -> None:
    """Raises UserError for a --torch_epoch that is not the start of a file name."""
    if not is_inside(epoch) or os.sep in epoch:
        problem = f'torch_epoch={epoch} is not the start of a file name'
        raise UserError(problem, 'write the part before _net_G, e.g. latest or 40')


def find_files(
    directory: str, epoch: str, letters: Mapping[str, str], required: tuple[str, ...]
) -> dict[str, str]:
    """Network -> path of its file.

    Raises:
      UserError: A required file is missing, a network has several files, or `epoch` is no name.
    """
    check_epoch(epoch)
    if not os.path.isdir(directory):
        problem = f'torch_checkpoint_dir={directory}: no such directory'
        raise UserError(problem, 'give the one with the files latest_net_G.pth, ...')
    files = {}
    for network, letter in letters.items():
        paths = (os.path.join(directory, f'{epoch}_net_{letter}.{format}') for format in FORMATS)
        found = [path for path in paths if os.path.lexists(path)]
        if len(found) > 1:
            problem = f'the {network} has several files: {", ".join(found)}'
            raise UserError(problem, 'move all but one away')
        if not found and network in required:
            raise _missing_file(directory, epoch, letter)
        if found:
            files[network] = found[0]
    return files


def _missing_file(directory: str, epoch: str, letter: str) -> UserError:
    endings = tuple(f'_net_{letter}.{format}' for format in FORMATS)
    names = [name for name in os.listdir(directory) if name.endswith(endings)]
    epochs = sorted({name.rpartition(f'_net_{letter}.')[0] for name in names})
    remedy = f'give the directory with the files latest_net_{letter}.pth, ...'
    if epochs:
        remedy = f'it has other epochs: --torch_epoch={" or ".join(epochs)}'
    name = f'{epoch}_net_{letter}.pth (nor .npz, nor .safetensors)'
    return UserError(f'torch_checkpoint_dir={directory} has no file {name}', remedy)


def read_networks(files: Mapping[str, str]) -> tuple[dict[str, State], Counts]:
    """State dictionaries without the prefix of parallel modules; their counts of batches apart."""
    states, counts = {}, {}
    for network, path in files.items():
        state = read_state(path)
        if state and all(name.startswith('module.') for name in state):
            state = {name.removeprefix('module.'): array for name, array in state.items()}
        counted = [name for name in state if _is_batch_count(name, state)]
        counts[network] = {name: int(state.pop(name)) for name in counted}
        states[network] = state
    return states, counts


def check_system(state: State, path: str, model: str) -> None:
    """Raises UserError, with its name, for a network of another system than `model`."""
    if published_weights(model).recognizes(state):
        return
    for other in (name for name in MODELS if MODELS[name].published):
        if published_weights(other).recognizes(state):
            problem = f'{path} is the generator of a model={other}, not of model={model}'
            raise UserError(problem, f'add --model={other}')
    for system, part in OTHER_SYSTEMS.items():
        if any(part in name for name in state):
            problem = f'{path} is the generator of {system}, which is not offered'
            raise UserError(problem, f'give the files of a {model} model')


def _is_batch_count(name: str, state: State) -> bool:
    module, _, last = name.rpartition('.')
    if last != BATCH_COUNT or f'{module}.running_mean' not in state:
        return False
    return state[name].ndim == 0 and np.issubdtype(state[name].dtype, np.integer)


def train_state(states: Mapping[str, State], config: Config, place: str) -> TrainState:
    """The state before the first step, with the networks of these state dictionaries.

    Raises:
      UserError: Entries are missing, unknown, of another shape or type, or not finite (all of them
        are listed).
    """
    published = published_weights(config.model.name)
    abstract = abstract_networks(build_model(config))
    # Zeros that take no memory.
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), abstract)
    used, faults = {}, []
    for network, state in states.items():
        expected = published.to_reference(zeros[network], network, config)
        used[network] = {
            n: a for n, a in state.items() if n in expected or not _is_unused(n, state)
        }
        faults += [f'{network}: {fault}' for fault in faults_of(used[network], expected)]
    if faults:
        raise UserError(
            f'{place} does not hold the networks that its names and the flags describe: '
            f'{"; ".join(faults)}',
            f'give the files of one {config.model.name} model, as training wrote them',
        )
    networks = {}
    for network, shapes in abstract.items():
        if network in used:
            variables = published.from_reference(used[network], network, config)
            networks[network] = jax.tree.map(np.ascontiguousarray, variables)
        else:
            networks[network] = init_network(config, network, shapes)
    return create_train_state(config, networks)


def _is_unused(name: str, state: State) -> bool:
    """True for running statistics of instance normalization, in files of old PyTorch versions."""
    module, _, last = name.rpartition('.')
    return last in ('running_mean', 'running_var') and f'{module}.weight' not in state


def faults_of(state: State, expected: State) -> list[str]:
    """What is wrong with the entries of a network, grouped; `expected` counts by its shapes."""
    kinds = ('missing', 'unknown', 'of another shape', 'not float32', 'not finite')
    groups = {kind: [] for kind in kinds}
    groups['missing'] += [name for name in expected if name not in state]
    for name, array in state.items():
        if name not in expected:
            group, text = 'unknown', name
        elif array.shape != expected[name].shape:
            group, text = (
                'of another shape',
                f'{name} {array.shape}, expected {expected[name].shape}',
            )
        elif array.dtype != np.float32:
            group, text = 'not float32', f'{name} {array.dtype}'
        elif not np.isfinite(array).all():
            group, text = 'not finite', name
        else:
            continue
        groups[group].append(text)
    return [
        f'{len(texts)} {group} ({", ".join(texts)})' for group, texts in groups.items() if texts
    ]
