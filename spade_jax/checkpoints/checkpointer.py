"""Orbax checkpoints: the state of a run and what it says of itself, each with checksums."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from spade_jax.checkpoints import checksums, manifest
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.checkpoints.record import CheckpointRecord
from spade_jax.checkpoints.retention import kept_steps
from spade_jax.config.config import Config
from spade_jax.errors import FULL_DISK, UserError
from spade_jax.models.train_state import TrainState

DIRECTORY, DAMAGED_DIRECTORY, MANIFESTS_DIRECTORY = 'checkpoints', 'damaged', 'files'
DRAWING, REST, RUN = 'drawing', 'rest', 'run'


class Checkpointer:
    """The checkpoints of one work directory.

    Each holds three items: `drawing` (generator and encoder, and their averages: all that sampling reads), `rest` (discriminator, optimisers, step) and `run`
    (`CheckpointRecord`, with the checksums of the other two). What is restored is compared with the checksums, and the files with those of a manifest.
    Saving is asynchronous; a save that was cut off leaves the ones before in place. What goes wrong with it is raised by the next save, or at the end.
    """

    def __init__(
        self, workdir: str, *, keep: int = 3, keep_best: str = '', read_only: bool = False
    ):
        """Args:
          keep: so many of the newest checkpoints stay.
          keep_best: metric of which the checkpoint with the lowest value stays too; '': none.
          read_only: nothing is saved, and nothing is changed.

        Raises:
          UserError: the directory cannot be made.
        """
        absl_logging.set_verbosity(
            absl_logging.FATAL
        )  # Orbax tells of every step of every save, and gives each error several tracebacks beside raising it
        for library in ('orbax', 'asyncio'):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        self.directory = os.path.abspath(os.path.join(workdir, DIRECTORY))
        self._metrics, self._saving, self._unseen_best = {}, None, keep_best
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Retention(self._metrics_of, keep, keep_best),
            create=False,
            read_only=read_only,
            enable_async_checkpointing=not read_only,
            cleanup_tmp_directories=not read_only,
            multiprocessing_options=_this_process_alone(),
        )
        try:
            if not read_only:
                os.makedirs(self.directory, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.directory, options=options, item_names=(DRAWING, REST, RUN)
            )
        except OSError as error:
            raise UserError(
                f'{self.directory} cannot be used ({error.strerror or error})',
                'choose another --workdir, or mend its permissions',
            ) from error

    def __enter__(self) -> Checkpointer:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(self, kind, *exception) -> None:
        failures = []
        for end in (self.finish, lambda: self._writing(self._manager.close)):
            try:
                end()
            except UserError as error:
                failures.append(error)
        sys.unraisablehook = self._hook
        if failures and kind is None:
            raise failures[0]
        if failures:
            print(
                f'error: {failures[0]}', file=sys.stderr
            )  # beside the one under way, not in its place

    def steps(self) -> list[int]:
        """Steps of all checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint; None if there is none."""
        return max(self.steps(), default=None)

    def path(self, step: int) -> str:
        """The directory of a checkpoint."""
        return os.path.join(self.directory, str(step))

    def save(
        self,
        state: TrainState,
        config: Config,
        num_examples: int | None,
        *,
        metrics: dict[str, float] | None = None,
        detour: int = 0,
    ) -> None:
        """Saves a state under its step, in the background.

        Args:
          state: on the host.
          config, num_examples, metrics, detour: see `CheckpointRecord`. A state that no data was seen for has num_examples None.

        Raises:
          FloatingPointError: an array is not finite; nothing is saved then.
          UserError: this save, or the one before, cannot be written.
        """
        self.finish()
        step, (drawing, rest) = int(state.step), split(state)
        if step <= max(self.steps(), default=-1):  # the library would leave it out without a word
            raise ValueError(f'step {step} is saved after step {self.latest_step()}')
        check_finite_state(state, f', the newest checkpoint is that of step {self.latest_step()}')
        record = CheckpointRecord(
            config,
            num_examples,
            detour,
            metrics or {},
            {DRAWING: checksums.checksums(drawing), REST: checksums.checksums(rest)},
        )
        self._metrics[step], self._saving = record.metrics, step
        if self._unseen_best and self._unseen_best not in record.metrics:
            print(
                f'warning: keep_best={self._unseen_best} keeps nothing: there is no such metric; there are {", ".join(sorted(record.metrics))}',
                file=sys.stderr,
            )
        self._unseen_best = ''
        items = {
            DRAWING: ocp.args.StandardSave(drawing),
            REST: ocp.args.StandardSave(rest),
            RUN: ocp.args.JsonSave(record.to_json()),
        }
        self._writing(lambda: self._manager.save(step, args=ocp.args.Composite(**items)))

    def finish(self) -> None:
        """Waits until what was saved is on the disk. Raises UserError where it cannot be written."""
        if self._saving is not None:
            self._writing(self._manager.wait_until_finished)
            self._writing(self._write_manifest)
            self._saving = None

    def record(self, step: int) -> CheckpointRecord:
        """What a checkpoint says of itself. Raises CorruptCheckpoint, or UserError where there is no such checkpoint."""
        place = os.path.join(self.path(step), RUN)
        return CheckpointRecord.from_json(
            self._restore(step, **{RUN: ocp.args.JsonRestore()})[RUN], place
        )

    def restore_run(self, step: int) -> tuple[Config, int | None]:
        """The Config of the run that wrote a checkpoint, and the number of its training examples; None before it saw any."""
        record = self.record(step)
        return record.config, record.num_examples

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of a checkpoint.

        Args:
          step: of the checkpoint.
          like: a state of the same shapes, concrete or abstract.

        Raises:
          CorruptCheckpoint: it is not the state that was saved.
          UserError: what was saved is a state of other arrays.
        """
        drawing, rest = split(jax.tree.map(_on_one_device, like))
        items = self._checked(step, {DRAWING: drawing, REST: rest})
        return TrainState(**items[DRAWING], **items[REST])

    def restore_drawing(self, step: int, like: dict[str, Any]) -> dict[str, Any]:
        """What `split` names for drawing alone, in the shapes of `like`. Raises CorruptCheckpoint where they are not what was saved."""
        return self._checked(step, {DRAWING: jax.tree.map(_on_one_device, like)})[DRAWING]

    def move_aside(self, step: int) -> str:
        """Moves a damaged checkpoint out of the way, for whoever wants to look at it. Returns where to."""
        target = os.path.join(self.directory, DAMAGED_DIRECTORY, str(step))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        free = next(
            path
            for number in range(1, sys.maxsize)
            if not os.path.lexists(path := target if number == 1 else f'{target}.{number}')
        )
        os.rename(self.path(step), free)
        with contextlib.suppress(FileNotFoundError):
            os.remove(self._manifest(step))
        self._manager.reload()
        return free

    def _unraisable(self, unraisable):
        if (
            str(unraisable.exc_value) != 'Event loop is closed'
        ):  # what is left of reads and writes that went on after one of them had failed
            self._hook(unraisable)

    def _checked(self, step, targets):
        record = self.record(step)
        for name, target in targets.items():
            if other := record.checksums.get(name, {}).keys() ^ set(checksums.paths(target)):
                raise UserError(
                    f'{self.path(step)} does not hold the state of this version and configuration ({min(other)}, ... {len(other)} arrays)',
                    'use the version that wrote it, or choose another --workdir',
                )
        items = self._restore(
            step, **{name: ocp.args.StandardRestore(target) for name, target in targets.items()}
        )
        for name in targets:
            checksums.check(
                items[name], record.checksums[name], os.path.join(self.path(step), name)
            )
        manifest.check(self._manifest(step), self.path(step), (RUN, *targets))
        return items

    def _manifest(self, step):
        return os.path.join(self.directory, MANIFESTS_DIRECTORY, f'{step}.json')

    def _write_manifest(self):
        """That of the checkpoint that was just written; those of checkpoints that are gone are removed."""
        manifest.write(self._manifest(self._saving), self.path(self._saving))
        for name in os.listdir(os.path.join(self.directory, MANIFESTS_DIRECTORY)):
            if name.split('.')[0] not in map(str, self.steps()):
                os.remove(os.path.join(self.directory, MANIFESTS_DIRECTORY, name))

    def _restore(self, step, **items):
        if step not in self.steps():
            raise UserError(
                f'{self.directory} has no checkpoint of step {step}; it has {", ".join(map(str, self.steps())) or "none"}'
            )
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except (MemoryError, PermissionError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # Orbax raises a dozen types for a damaged file
            raise CorruptCheckpoint(
                f'{self.path(step)}: {" and ".join(items)} cannot be read ({_reason(error)})'
            ) from error

    def _writing(self, write):
        try:
            write()
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # as many types as for reading
            step, self._saving = self._saving, None
            self._metrics.pop(step, None)
            self._manager.reload()
            whole = (
                f'whole are those of {", ".join(map(str, steps))}'
                if (steps := [other for other in self.steps() if other != step])
                else 'there is none before'
            )
            full = _full_disk(error)
            raise UserError(
                f'the checkpoint of step {step} cannot be written to {self.directory} ({full or _reason(error)}); {whole}',
                f'{"make room on the disk" if full else "mend it"} and start the same command again',
            ) from error

    def _metrics_of(self, step: int) -> dict[str, float]:
        """The metrics of a checkpoint, also one that an earlier session saved; {} where it is damaged."""
        if step not in self._metrics:
            try:
                self._metrics[step] = self.record(step).metrics
            except UserError:
                self._metrics[step] = {}
        return self._metrics[step]


class _Retention:
    """For Orbax, which removes what is not to be preserved once a new checkpoint is complete."""

    def __init__(self, metrics_of, newest: int, best: str):
        self._metrics_of, self._newest, self._best = metrics_of, newest, best

    def should_preserve(self, checkpoints, *, context):
        kept = kept_steps(
            {info.step: self._metrics_of(info.step) if self._best else {} for info in checkpoints},
            self._newest,
            self._best,
        )
        return [info.step in kept for info in checkpoints]


@contextlib.contextmanager
def newest_of_run(
    workdir: str,
    *,
    flag: str = 'workdir',
    remedy: str = 'give the work directory of a run that was trained or converted',
) -> Iterator[tuple[Checkpointer, int]]:
    """The checkpoints of a run that is there, to read, and the step of the newest.

    Args:
      flag, remedy: what messages call the directory, and what they advise.

    Raises:
      UserError: there is no such directory, or it has no checkpoint.
    """
    if not os.path.isdir(workdir):
        raise UserError(f'{flag}={workdir}: no such directory', remedy)
    with Checkpointer(workdir, read_only=True) as checkpoints:
        step = checkpoints.latest_step()
        if step is None:
            raise UserError(f'{flag}={workdir} has no checkpoint (yet)', remedy)
        yield checkpoints, step


class NullCheckpointer:
    """In the place of `Checkpointer` in the processes that leave them to the first."""

    directory = ''

    def __enter__(self) -> NullCheckpointer:
        return self

    def __exit__(self, *exception) -> None:
        pass

    def latest_step(self) -> None:
        """Not known here."""

    def save(self, state: TrainState, *arguments, **record) -> None:
        """Saves nothing. A state that is not finite is an error here as in the first process: what follows, they must do together."""
        check_finite_state(state)

    def finish(self) -> None:
        """Has nothing to wait for."""


def check_finite_state(state: TrainState, newest: str = '') -> None:
    """Raises FloatingPointError, whose message ends with `newest`, where an array of a state on the host is not finite."""
    if broken := checksums.not_finite(dict(zip((DRAWING, REST), split(state)))):
        raise FloatingPointError(
            f'step {int(state.step)}: {len(broken)} arrays of the state ({broken[0]}, ...) are not finite; it is not saved{newest}'
        )


def split(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    """What drawing needs, and the rest."""
    drawing = {'generator': state.generator, 'encoder': state.encoder, 'average': state.average}
    rest = {
        name: getattr(state, name)
        for name in ('step', 'discriminator', 'generator_optimizer', 'discriminator_optimizer')
    }
    return drawing, rest


def _reason(error: Exception) -> str:
    """An error of a library in one line."""
    return (
        f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'
        if str(error)
        else type(error).__name__
    )


def _full_disk(error: Exception) -> str:
    """What the storage says when it has no room; '' where it says something else."""
    if getattr(error, 'errno', None) in FULL_DISK:
        return os.strerror(error.errno)
    return next(
        (text for text in map(os.strerror, FULL_DISK) if text in str(error)), ''
    )  # TensorStore has it in a text of its own


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    """Of several processes, the one that has made this object reads and writes, without waiting for the others."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )


def _on_one_device(leaf) -> jax.ShapeDtypeStruct | np.ndarray:
    """Restored arrays go to the first device; the mapped step spreads them from there. Of several processes one restores, so there they stay on its host."""
    if jax.process_count() > 1:
        return np.empty(np.shape(leaf), leaf.dtype)
    return jax.ShapeDtypeStruct(
        np.shape(leaf),
        leaf.dtype,
        sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0]),
    )
