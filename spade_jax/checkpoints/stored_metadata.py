"""Read the metadata of a checkpoint without JAX and Orbax, which take seconds to import."""

import json
import os

from spade_jax.checkpoints.metadata import CheckpointMetadata
from spade_jax.errors import UserError, user_errors
from spade_jax.files.names import CHECKPOINTS
from spade_jax.files.whole_file import read_file

_ITEM = os.path.join('metadata', 'metadata')
_MOST_BYTES = 1 << 26


def stored_metadata(workdir: str, step: int | None = None) -> tuple[int, CheckpointMetadata]:
    """The step and the metadata of a checkpoint of a run; by default of the newest.

    Raises:
      UserError: There is no such directory or checkpoint, or it is damaged.
    """
    remedy = 'give the work directory of a run, or --workdir=demo'
    if not os.path.isdir(workdir):
        raise UserError(f'workdir={workdir}: no such directory', remedy)
    directory = os.path.join(workdir, CHECKPOINTS)
    names = os.listdir(directory) if os.path.isdir(directory) else []
    paths = {int(name): os.path.join(directory, name, _ITEM) for name in names if name.isdecimal()}
    steps = sorted(number for number, path in paths.items() if os.path.isfile(path))
    if not steps:
        raise UserError(f'workdir={workdir} has no checkpoint (yet)', remedy)
    if step is not None and step not in steps:
        listed = ', '.join(map(str, steps))
        raise UserError(f'{directory} has no checkpoint of step {step}; it has {listed}')
    chosen = steps[-1] if step is None else step
    path = paths[chosen]
    with user_errors(f'{path} cannot be read', 'restore it, or choose another --checkpoint_step'):
        values = json.loads(read_file(path, _MOST_BYTES))
    return chosen, CheckpointMetadata.from_json(values, os.path.dirname(path))
