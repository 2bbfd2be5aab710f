"""From a work directory to its generator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

from spade_jax.checkpoints.checkpointer import Checkpointer, newest_of_run
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.layers.spectral_norm import fold_spectral_norm
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import abstract_networks, averaged_part, weights_to_draw_with
from spade_jax.sampling.trained_generator import TrainedGenerator


def load(
    workdir: str, step: int | None = None, *, averaged: bool | None = None
) -> TrainedGenerator:
    """The generator of a checkpoint, with its spectral norms folded into the kernels: drawing does not divide by them again for every batch.

    Args:
      workdir: of the run.
      step: of the checkpoint; None: the newest.
      averaged: draw with the averaged weights, or with those of the last step; None: averaged where the run has kept an average.

    Raises:
      UserError: there is no such checkpoint, it has no averaged weights, or it is damaged; then with the newest one that is whole.
    """
    workdir = os.path.expanduser(workdir)
    with newest_of_run(workdir) as (checkpoints, newest):
        step = newest if step is None else step
        try:
            config, variables = _drawing(checkpoints, step)
        except CorruptCheckpoint as error:
            raise UserError(
                f'damaged checkpoint {error.problem}', _remedy(checkpoints, step)
            ) from error
    if averaged and variables['average'] is None:
        raise UserError(
            f'workdir={workdir}: the run kept no average of its weights (ema_decay=0)',
            'draw with those of the last step',
        )
    if averaged is False:
        variables['average'] = None
    generator, encoder = weights_to_draw_with(**variables)
    config = dataclasses.replace(
        config, label_conv='auto'
    )  # a matter of this device, not of the one that trained
    return TrainedGenerator(config, fold_spectral_norm(generator), encoder)


def _drawing(checkpoints: Checkpointer, step: int) -> tuple[Config, dict[str, Any]]:
    """The Config of a checkpoint, and the variables of generator and encoder, with their averages."""
    config, _ = checkpoints.restore_run(step)
    generator, _, encoder = abstract_networks(config, build_networks(config))
    average = averaged_part(generator, encoder) if config.optimizer.ema_decay else None
    return config, checkpoints.restore_drawing(
        step, like={'generator': generator, 'encoder': encoder, 'average': average}
    )


def _remedy(checkpoints: Checkpointer, damaged_step: int) -> str:
    """What to draw with instead of a damaged checkpoint."""
    for step in reversed(checkpoints.steps()):
        with contextlib.suppress(CorruptCheckpoint):
            if step != damaged_step:
                _drawing(checkpoints, step)
                return f'--checkpoint_step={step} is the newest that is whole; training moves damaged ones aside when it goes on'
    return 'there is no other that is whole; bring back its files'
