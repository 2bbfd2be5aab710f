"""Where a session of a run begins: at the newest checkpoint that is whole, or afresh."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.config.config import Config, conflicts
from spade_jax.distributed import processes, replicas
from spade_jax.errors import UserError
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import TrainState, abstract_train_state, init_train_state
from spade_jax.training import fine_tuning


@dataclasses.dataclass(frozen=True)
class Start:
    """The beginning of a session.

    state: on the host.
    resumed: True where it is that of a checkpoint.
    num_examples, detour: of the checkpoint, see `CheckpointRecord`.
    """

    state: TrainState
    resumed: bool
    num_examples: int | None = None
    detour: int = 0

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.state.step)


def start(checkpoints: Checkpointer | NullCheckpointer, config: Config, workdir: str) -> Start:
    """The newest checkpoint that is whole, else the state before the first step, with the networks of `config.run.init_from` where that is set.

    Of several processes the first reads them, and all get what it has read.

    Raises:
      UserError: see `resume` and `fine_tuning.from_run`.
    """
    if not processes.is_first():
        return shared(
            Start(abstract_train_state(config), resumed=False)
        )  # its values are those of the first
    if checkpoints.steps():
        return shared(resume(checkpoints, config, workdir, like=abstract_train_state(config)))
    state = init_train_state(config, build_networks(config))
    return shared(
        Start(fine_tuning.from_run(state, config) if config.run.init_from else state, resumed=False)
    )


def shared(begin: Start) -> Start:
    """The first process's start, in all of them."""
    if jax.process_count() == 1:
        return begin
    num_examples = -1 if begin.num_examples is None else begin.num_examples
    resumed, num_examples, detour = replicas.broadcast_one_to_all(
        np.array([begin.resumed, num_examples, begin.detour], np.int32)
    ).tolist()
    return Start(
        replicas.broadcast_one_to_all(begin.state),
        bool(resumed),
        None if num_examples < 0 else num_examples,
        detour,
    )


def resume(checkpoints: Checkpointer, config: Config, workdir: str, like: TrainState) -> Start:
    """The newest checkpoint that is whole. CorruptCheckpoint ones that are newer are moved aside and named on standard error.

    Args:
      checkpoints: of the work directory; there are some.
      config: of the session.
      workdir: what messages call the directory.
      like: a state of the same shapes.

    Raises:
      UserError: another configuration wrote the checkpoint, or all of them are damaged.
    """

    def read(step):
        record = checkpoints.record(step)
        check_same_run(record.config, config, workdir)
        return record, checkpoints.restore(step, like=like)

    step, (record, state), damaged = latest_intact(checkpoints, read)
    for broken, error in damaged.items():
        print(
            f'warning: damaged checkpoint {error.problem}; moved to {checkpoints.move_aside(broken)}',
            file=sys.stderr,
        )
    if damaged:
        print(
            f'warning: going on from the checkpoint of step {step}, the newest that is whole',
            file=sys.stderr,
        )
    # To the host: what is kept of the start is not to take memory of the first device as long as the session lasts.
    return Start(jax.device_get(state), True, record.num_examples, record.detour)


def latest_intact(
    checkpoints: Checkpointer, read: Callable[[int], object]
) -> tuple[int, object, dict[int, CorruptCheckpoint]]:
    """Reads checkpoints, the newest first, until one is whole. Changes nothing.

    Args:
      checkpoints: has some.
      read: reads that of a step; raises CorruptCheckpoint.

    Returns:
      Its step, what was read, and what is wrong with those of later steps.

    Raises:
      UserError: all are damaged.
    """
    damaged: dict[int, CorruptCheckpoint] = {}
    for step in reversed(checkpoints.steps()):
        try:
            return step, read(step), damaged
        except CorruptCheckpoint as error:
            damaged[step] = error
    raise UserError(
        f'all checkpoints are damaged: {"; ".join(error.problem for error in damaged.values())}',
        'bring back their files, or start afresh in another --workdir; nothing was changed',
    )


def check_same_run(saved: Config, given: Config, workdir: str) -> None:
    """Raises UserError when the checkpoint in the work directory was written by another configuration."""
    if differing := conflicts(saved, given):
        raise UserError(
            f'workdir={workdir} holds a run of another configuration ({"; ".join(differing)}); '
            'give these the saved values to resume it, or choose another --workdir'
        )
