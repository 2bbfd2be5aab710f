"""The initial state of a session: the newest intact checkpoint, or fresh networks."""

import sys
from typing import NamedTuple

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.config.config import Config, conflicts
from spade_jax.distributed import replicas
from spade_jax.errors import UserError
from spade_jax.models.train_state import TrainState, abstract_train_state, init_train_state
from spade_jax.training import fine_tuning


class InitialState(NamedTuple):
    """Where a session starts.

    Attributes:
      state: On the host.
      num_examples: Size of the training set of the checkpoint; None without one.
    """

    state: TrainState
    num_examples: int | None = None

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
            if differing := '; '.join(conflicts(metadata.config, config)):
                raise UserError(
                    f'workdir={workdir} holds a run of another configuration ({differing})',
                    'give these options the saved values to resume it, or choose another --workdir',
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
        return InitialState(jax.device_get(state), metadata.num_examples)
    raise UserError(
        f'all checkpoints are corrupt: {"; ".join(corrupt.values())}',
        'restore their files, or start in another --workdir; nothing was changed',
    )


def check_same_examples(saved: int | None, given: int, workdir: str) -> None:
    """Raises UserError when the training set has changed: order and learning rate depend on it."""
    if saved not in (None, given):
        raise UserError(
            f'workdir={workdir} holds a run over {saved} training examples, now there are {given}',
            'restore the data to resume it, or choose another --workdir',
        )


def _broadcast(initial: InitialState) -> InitialState:
    """The initial state of the first process, in all processes."""
    number = np.array(initial.num_examples or -1, np.int32)
    state, number = replicas.broadcast_one_to_all((initial.state, number))
    return InitialState(state, int(number) if number > 0 else None)
