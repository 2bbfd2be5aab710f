"""The initial state of a session: the newest intact checkpoint, or fresh networks."""

import json
import os
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer, newest_config
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.checkpoints.metadata import CheckpointMetadata
from spade_jax.config.config import Config
from spade_jax.config.resumption import command_of_new_run, conflicts
from spade_jax.distributed import processes, replicas
from spade_jax.errors import UserError
from spade_jax.files.names import CHECKPOINTS
from spade_jax.models.optimizers import decay_factor
from spade_jax.models.train_state import TrainState, abstract_train_state, init_train_state
from spade_jax.training import fine_tuning


class InitialState(NamedTuple):
    """Where a session starts.

    Attributes:
      state: On the host.
      num_examples: Size of the training set of the checkpoint; None without one.
      new_run: Command of a new run from the networks of the checkpoint; '' without one.
    """

    state: TrainState
    num_examples: int | None = None
    new_run: str = ''

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.state.step)


def initial_state(
    checkpointer: Checkpointer | NullCheckpointer, config: Config, workdir: str
) -> InitialState:
    """The newest intact checkpoint; without one fresh networks, with the arrays of `init_from`.

    The first of several processes reads it and sends it to the others.

    Raises:
      UserError: See `resume` and `fine_tuning.from_run`.
    """
    if isinstance(checkpointer, NullCheckpointer):
        abstract = abstract_train_state(config)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        return _broadcast(InitialState(zeros))
    if checkpointer.steps():
        return _broadcast(resume(checkpointer, config, workdir))
    state = init_train_state(config)
    if config.run.init_from:
        state = fine_tuning.from_run(state, config)
    return _broadcast(InitialState(state))


def saved_config(workdir: str, init_from: str) -> Config | None:
    """The configuration of the run in `workdir`, else of the run `init_from`; None without both.

    The first of several processes reads it and sends it to the others.

    Raises:
      UserError: All checkpoints in `workdir` are corrupt, or there is no run `init_from`.
    """
    config = _read_config(workdir, init_from) if processes.is_first() else None
    sections = json.loads(replicas.broadcast_text(json.dumps(config and config.to_json())))
    return sections and Config.from_json(sections)


def _read_config(workdir: str, init_from: str) -> Config | None:
    if os.path.isdir(os.path.join(workdir, CHECKPOINTS)):
        with Checkpointer(workdir, read_only=True) as checkpointer:
            corrupt = {}
            for step in reversed(checkpointer.steps()):
                try:
                    return checkpointer.metadata(step).config
                except CorruptCheckpoint as error:
                    corrupt[step] = error.problem
            if corrupt:
                raise _all_corrupt(corrupt)
    return newest_config(init_from, flag='init_from') if init_from else None


def resume(checkpointer: Checkpointer, config: Config, workdir: str) -> InitialState:
    """The newest intact checkpoint; corrupt ones that are newer are moved aside, with a warning.

    Args:
      checkpointer: Of the work directory; it has checkpoints.
      config: Of the session.
      workdir: Name of the directory in messages.

    Raises:
      UserError: Another configuration wrote it, or all are corrupt; nothing is changed then.
    """
    like, corrupt = abstract_train_state(config), {}
    for step in reversed(checkpointer.steps()):
        try:
            metadata = checkpointer.metadata(step)
            new_run = command_of_new_run(metadata.config, config, workdir)
            if differing := '; '.join(_conflicts_at(step, metadata, config, like)):
                raise UserError(
                    f'workdir={workdir} holds a run of another configuration ({differing})',
                    f'leave these flags out to resume it, or start from its networks: {new_run}',
                )
            state = checkpointer.restore(step, like, config)
        except CorruptCheckpoint as error:
            corrupt[step] = error.problem
            continue
        for other, problem in corrupt.items():
            target = checkpointer.move_aside(other)
            print(f'warning: corrupt checkpoint {problem}; moved to {target}', file=sys.stderr)
        if corrupt:
            print(f'warning: resuming from step {step}, the newest intact one', file=sys.stderr)
        # On the host, so that the first device does not hold a second state during the session.
        return InitialState(jax.device_get(state), metadata.num_examples, new_run)
    raise _all_corrupt(corrupt)


def _all_corrupt(corrupt: dict[int, str]) -> UserError:
    return UserError(
        f'all checkpoints are corrupt: {"; ".join(corrupt.values())}',
        'restore their files, or start in another --workdir; nothing was changed',
    )


def _conflicts_at(
    step: int, metadata: CheckpointMetadata, config: Config, like: TrainState
) -> list[str]:
    """The options that may not change after a step: the past must be what they would have made.

    Before the first step (a converted model) nothing is trained yet, so only shapes must stay.
    """
    saved, number = metadata.config, metadata.num_examples or 1
    if step == 0 and _shapes(abstract_train_state(saved)) == _shapes(like):
        return []
    done: Any = np.arange(step)
    optimizers = (saved.optimizer, config.optimizer)
    rates = [decay_factor(done, num_examples=number, config=options) for options in optimizers]
    return conflicts(saved, config, same_rates=np.array_equal(rates[0], rates[1]))


def _shapes(state: TrainState) -> TrainState:
    return jax.tree.map(np.shape, state)


def check_same_examples(initial: InitialState, given: int, workdir: str) -> None:
    """Raises UserError when the training set has changed: order and learning rate depend on it."""
    if initial.num_examples not in (None, given):
        had = f'a run over {initial.num_examples} training examples'
        raise UserError(
            f'workdir={workdir} holds {had}, now there are {given}',
            'restore the data to resume it, or, with steps from 0 on, start from its networks: '
            f'{initial.new_run}',
        )


def _broadcast(initial: InitialState) -> InitialState:
    """The initial state of the first process, in all processes."""
    number = np.array(initial.num_examples or -1, np.int32)
    state, number = replicas.broadcast_one_to_all((initial.state, number))
    new_run = replicas.broadcast_text(initial.new_run)
    return InitialState(state, int(number) if number > 0 else None, new_run)
