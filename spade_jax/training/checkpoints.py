"""Orbax checkpoints: the state of a run and its Config."""

from __future__ import annotations

import logging
import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from spade_jax.config import Config
from spade_jax.errors import UserError
from spade_jax.training.train_state import TrainState

DIRECTORY = 'checkpoints'
DRAWING, REST, RUN = 'drawing', 'rest', 'run'


class Checkpoints:
    """The checkpoints of one work directory.

    Each holds three items: `drawing` (generator and encoder, and their averages: all that sampling reads), `rest` (discriminator, optimisers, step) and `run` (the Config, and the number of training
    examples, on which order and learning rate depend too).
    Saving is asynchronous; a save that was cut off leaves the one before in place.
    """

    def __init__(self, workdir: str, *, keep: int = 3, read_only: bool = False):
        absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax tells of every step of every save, and of every item it does not restore
        logging.getLogger('orbax').setLevel(logging.ERROR)
        self.directory = os.path.abspath(os.path.join(workdir, DIRECTORY))
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=not read_only, read_only=read_only, enable_async_checkpointing=not read_only)
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=(DRAWING, REST, RUN))

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()  # waits for a save under way

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, state: TrainState, config: Config, num_examples: int | None) -> None:
        """Saves the state under its step, in the background. A state that no data was seen for has num_examples None."""
        drawing, rest = split(state)
        self._manager.save(int(state.step), args=ocp.args.Composite(
            **{DRAWING: ocp.args.StandardSave(drawing), REST: ocp.args.StandardSave(rest), RUN: ocp.args.JsonSave({'config': config.to_json(), 'num_examples': num_examples})}))

    def restore_run(self, step: int) -> tuple[Config, int | None]:
        """The Config of the run that wrote a checkpoint, and the number of its training examples; None before it saw any."""
        run = self._restore(step, **{RUN: ocp.args.JsonRestore()})[RUN]
        return Config.from_json(run['config']), run['num_examples']

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of a checkpoint.

        Args:
          step: of the checkpoint.
          like: a state of the same shapes, concrete or abstract.
        """
        drawing, rest = split(jax.tree.map(_on_one_device, like))
        items = self._restore(step, **{DRAWING: ocp.args.StandardRestore(drawing), REST: ocp.args.StandardRestore(rest)})
        return TrainState(**items[DRAWING], **items[REST])

    def restore_drawing(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """Variables of 'generator' and 'encoder' alone, in the shapes of `like`."""
        return self._restore(step, **{DRAWING: ocp.args.StandardRestore(jax.tree.map(_on_one_device, like))})[DRAWING]

    def _restore(self, step, **items):
        steps = sorted(self._manager.all_steps())
        if step not in steps:
            raise UserError(f'{self.directory} has no checkpoint of step {step}; it has {", ".join(map(str, steps)) or "none"}')
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (MemoryError, PermissionError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # Orbax raises a dozen types for a damaged file
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise UserError(f'checkpoint {os.path.join(self.directory, str(step))} cannot be read ({reason}); if its files are damaged, '
                            'move that directory away to use the checkpoint before') from error


def split(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    """What drawing needs, and the rest."""
    drawing = {'generator': state.generator, 'encoder': state.encoder, 'average': state.average}
    rest = {name: getattr(state, name) for name in ('step', 'discriminator', 'generator_optimizer', 'discriminator_optimizer')}
    return drawing, rest


def _on_one_device(leaf) -> jax.ShapeDtypeStruct:
    """Restored arrays go to the first device; the mapped step spreads them from there."""
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0]))
