"""From a work directory to a trained generator."""

import contextlib
import dataclasses
import os
from typing import Any

from spade_jax.checkpoints.checkpointer import Checkpointer, open_latest
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.files.names import run_directory
from spade_jax.forking import check_not_forked
from spade_jax.layers.spectral_norm import fold_spectral_norm
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_networks, ema_part, sampling_variables
from spade_jax.sampling import feature_clusters
from spade_jax.sampling.arguments import whole_number
from spade_jax.sampling.trained_generator import TrainedGenerator

_REMEDY = 'give the work directory of a run, or demo for that of the package'


def load(workdir: str, step: int | None = None, *, use_ema: bool | None = None) -> TrainedGenerator:
    """The generator of a checkpoint, with spectral norms folded into the kernels for speed.

    Args:
      workdir: Of the run; `demo`: that of the package.
      step: Of the checkpoint; None: the newest.
      use_ema: Sample with the EMA of the weights, or with the raw weights; None: EMA if there is.

    Raises:
      UserError: There is no such checkpoint, it has no EMA, or it is corrupt (the message names the
        newest intact one).
    """
    check_not_forked()
    if not isinstance(workdir, str | os.PathLike):
        raise UserError(f'workdir={workdir!r} is not a path', _REMEDY)
    workdir = run_directory(workdir)
    step = None if step is None else whole_number('step', step, 0)
    with open_latest(workdir, remedy=_REMEDY) as (checkpointer, newest):
        step = newest if step is None else step
        try:
            config, item = _read_generator(checkpointer, step)
        except CorruptCheckpoint as error:
            remedy = _remedy(checkpointer, step)
            raise UserError(f'corrupt checkpoint {error.problem}', remedy) from error
    if use_ema and item['ema'] is None:
        problem = f'workdir={workdir}: the run has no EMA of its weights (ema_decay=0)'
        raise UserError(problem, 'sample with the raw weights')
    ema = None if use_ema is False else item['ema']
    config = dataclasses.replace(config, model=config.model.portable())
    names = build_model(config).sampling_networks
    variables = sampling_variables(item['networks'], ema, names)
    folded = {name: fold_spectral_norm(variables[name]) for name in names}
    clusters = feature_clusters.read(workdir) if config.model.feature_table else None
    return TrainedGenerator(config, folded, step=step, clusters=clusters)


def _read_generator(checkpointer: Checkpointer, step: int) -> tuple[Config, dict[str, Any]]:
    """The Config and the item `generator` of a checkpoint."""
    config = checkpointer.metadata(step).config
    model = build_model(config)
    networks = abstract_networks(model, model.sampling_networks)
    ema = ema_part(networks, model.sampling_networks) if config.optimizer.ema_decay else None
    return config, checkpointer.restore_generator(step, {'networks': networks, 'ema': ema})


def _remedy(checkpointer: Checkpointer, corrupt_step: int) -> str:
    """What to sample with instead of a corrupt checkpoint."""
    for step in sorted({*checkpointer.steps()} - {corrupt_step}, reverse=True):
        with contextlib.suppress(UserError):
            _read_generator(checkpointer, step)
            newest = f'--checkpoint_step={step} is the newest intact one'
            return f'{newest}; training moves corrupt ones aside when it resumes'
    return 'there is no other intact one; restore its files'
