"""Orbax checkpoints: the state of a run and its metadata, with checksums."""

import contextlib
import errno
import functools
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp

from spade_jax.checkpoints import checksums
from spade_jax.checkpoints.metadata import CheckpointMetadata
from spade_jax.checkpoints.quiet_orbax import quiet_orbax
from spade_jax.checkpoints.reading import arrays_on_disk, one_line, plain_path, reading
from spade_jax.checkpoints.retention import Retention, kept_steps
from spade_jax.config.config import Config
from spade_jax.distributed.devices import start_devices
from spade_jax.errors import SYSTEM_REMEDIES, UserError, system_error, user_errors
from spade_jax.files.names import CHECKPOINTS, run_directory
from spade_jax.files.writable import check_writable
from spade_jax.models.model import build_model
from spade_jax.models.train_state import TrainState

CORRUPT_DIRECTORY = 'corrupt'
GENERATOR, OPTIMIZATION, METADATA = 'generator', 'optimization', 'metadata'


class Checkpointer:
    """The checkpoints of one work directory.

    A checkpoint has three items: `generator` (the sampling networks and their EMA, all that
    sampling reads), `optimization` (the other networks, optimizers, step) and `metadata`
    (`CheckpointMetadata`, with the checksums of the other two, which every restore verifies).
    Saving is asynchronous; an interrupted save leaves the earlier checkpoints intact. Its error is
    raised by the next save, or at the end. The first save of a session is also read back; until
    then all earlier checkpoints are kept.
    """

    def __init__(
        self,
        workdir: str,
        *,
        keep: int = 3,
        keep_best: str = '',
        scores: Mapping[str, str] = MappingProxyType({}),
        read_only: bool = False,
    ):
        """Open the checkpoints.

        Args:
          workdir: Of the run; its directory of checkpoints is created.
          keep: Number of the newest checkpoints that are kept.
          keep_best: Also keep the checkpoint with the best value of this metric; '': none.
          scores: Metrics that only some checkpoints have, and whether the 'lower' or the 'higher'
            value is better; of other metrics it is the lower.
          read_only: Save and change nothing.

        Raises:
          UserError: The directory cannot be made, read or written, or JAX cannot compute here.
        """
        start_devices()
        self.directory = os.path.abspath(os.path.join(workdir, CHECKPOINTS))
        self._metrics: dict[int, dict[str, float]] = {}
        self._saving: int | None = None
        self._saved: dict[str, Any] = {}  # Shapes of the last save.
        self._unseen_best = keep_best if keep_best not in scores else ''
        order = dict(keep_best=keep_best, is_higher_better=scores.get(keep_best) == 'higher')
        choose = functools.partial(kept_steps, keep=keep, **order)
        metrics_of = self._metrics_of if keep_best else lambda step: {}
        self._retention = Retention(metrics_of, choose)
        self._retention.keep_all = True  # Until the first save has been read back.
        if not read_only:
            check_writable([self.directory])
        with contextlib.ExitStack() as opened:
            self._hook = opened.enter_context(quiet_orbax())
            self._plain = opened.enter_context(plain_path(self.directory))
            self._manager = self._open_manager(read_only)
            if not read_only:
                self._check_names()
            self._opened = opened.pop_all()

    def _open_manager(self, read_only: bool) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._retention,
            create=False,
            read_only=read_only,
            enable_async_checkpointing=not read_only,
            # In the background, writers would wait five minutes for a directory that failed.
            async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
            cleanup_tmp_directories=not read_only,
            multiprocessing_options=_this_process_alone(),
        )
        items = (GENERATOR, OPTIMIZATION, METADATA)
        remedy = 'choose another --workdir, or fix its permissions'
        with user_errors(f'{self.directory} cannot be used', remedy):
            return ocp.CheckpointManager(self._plain, options=options, item_names=items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, *exception) -> None:
        failures = []
        for end in (self.finish, lambda: self._write(self._manager.close)):
            try:
                end()
            except UserError as error:
                failures.append(error)
        self._opened.close()
        if failures and kind is None:
            raise failures[0]
        if failures:  # Do not replace the exception that is propagating.
            print(f'error: {failures[0]}', file=sys.stderr)

    def steps(self) -> list[int]:
        """Steps of all checkpoints in order."""
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
    ) -> None:
        """Save a state from the host under its step, in the background.

        The other arguments go to `CheckpointMetadata`.

        Raises:
          FloatingPointError: An array is not finite; nothing is saved.
          UserError: This save, or the previous one, cannot be written, or not be read back.
        """
        self.finish()
        step, latest = int(state.step), self.latest_step()
        if latest is not None and step <= latest:  # Orbax would skip it silently.
            raise ValueError(f'step {step} is saved after step {latest}')
        check_finite_state(state, f', the newest checkpoint is that of step {latest}')
        items = split_items(state, build_model(config).sampling_networks)
        sums = {name: checksums.checksums(tree) for name, tree in items.items()}
        metadata = CheckpointMetadata(config, num_examples, metrics or {}, sums)
        self._metrics[step], self._saving = metadata.metrics, step
        self._saved = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), items)
        if self._unseen_best and self._unseen_best not in metadata.metrics:
            problem = f'keep_best={self._unseen_best} keeps nothing: there is no such metric'
            names = ', '.join(sorted(metadata.metrics))
            print(f'warning: {problem}; there are {names}', file=sys.stderr)
        self._unseen_best = ''
        arguments: dict[str, Any] = {name: ocp.args.StandardSave(items[name]) for name in items}
        arguments[METADATA] = ocp.args.JsonSave(metadata.to_json())
        self._write(lambda: self._manager.save(step, args=ocp.args.Composite(**arguments)))

    def finish_first(self) -> None:
        """Finish the first save of the session, so that it fails at once and not hours later."""
        if self._retention.keep_all:
            self.finish()

    def finish(self) -> None:
        """Wait until the last save is on the disk.

        Raises:
          UserError: It cannot be written or, if it is the first of the session, not be read back.
        """
        if self._saving is None:
            return
        self._write(self._manager.wait_until_finished)
        step, self._saving = self._saving, None
        if self._retention.keep_all:
            self._read_back(step)
            self._retention.keep_all = False
            for other in set(self.steps()) - self._retention.kept(self.steps()):
                self._manager.delete(other)

    def metadata(self, step: int) -> CheckpointMetadata:
        """The metadata of a checkpoint.

        Raises:
          CorruptCheckpoint: It is damaged.
          UserError: There is no such checkpoint, or another version wrote it.
        """
        values = self._restore(step, **{METADATA: ocp.args.JsonRestore()})[METADATA]
        return CheckpointMetadata.from_json(values, f'{self.path(step)}/{METADATA}')

    def restore(self, step: int, like: TrainState, config: Config) -> TrainState:
        """The state of a checkpoint, in the shapes of `like`, which is concrete or abstract.

        Raises:
          CorruptCheckpoint: It is not the state that was saved.
          UserError: The saved state has other arrays or is that of another step, or the files
            cannot be read now.
        """
        names = build_model(config).sampling_networks
        state = join_items(self._verified(step, split_items(like, names)))
        if (saved := int(state.step)) != step:
            problem = f'{self.path(step)} is the checkpoint of step {saved} under another name'
            raise UserError(problem, f'move it out of {self.directory}, or rename it to {saved}')
        return state

    def restore_generator(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """The item `generator` of a checkpoint, in the shapes of `like`; raises as `restore`."""
        return self._verified(step, {GENERATOR: like})[GENERATOR]

    def move_aside(self, step: int) -> str:
        """Move a corrupt checkpoint out of the way and keep it. Returns its new path."""
        target = os.path.join(self.directory, CORRUPT_DIRECTORY, str(step))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        candidates = itertools.chain([target], (f'{target}.{i}' for i in itertools.count(2)))
        free = next(path for path in candidates if not os.path.lexists(path))
        os.rename(self.path(step), free)
        self._manager.reload()
        return free

    def _check_names(self) -> None:
        """Warn of renamed checkpoints; raises UserError for a file in the place of one."""
        for name in sorted({*os.listdir(self.directory)} - {*map(str, self.steps())}):
            path = os.path.join(self.directory, name)
            if name.isdecimal() and os.path.isfile(path):
                raise UserError(
                    f'{path} is a file; it has the place of a checkpoint', 'move it away'
                )
            if os.path.isdir(os.path.join(path, METADATA)):
                problem = f'{path} is left out, since its name is not the number of a step'
                print(f'warning: {problem}; rename it to use it', file=sys.stderr)

    def _metrics_of(self, step: int) -> dict[str, float]:
        """The metrics of a checkpoint; {} if it is corrupt."""
        if step not in self._metrics:
            self._metrics[step] = {}
            with contextlib.suppress(UserError):
                self._metrics[step] = self.metadata(step).metrics
        return self._metrics[step]

    def _verified(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
        """Items of a checkpoint, compared with their checksums."""
        metadata = self.metadata(step)
        targets = jax.tree.map(_on_one_device, dict(like))
        for name, target in targets.items():
            other = metadata.checksums.get(name, {}).keys() ^ set(checksums.paths(target))
            if other:
                what = 'does not hold the state of this version and configuration'
                problem = f'{self.path(step)} {what} ({min(other)}, ... {len(other)} arrays)'
                remedy = 'use the version that wrote it, or choose another --workdir'
                raise UserError(problem, remedy)
        items = self._restore(step, **{k: ocp.args.StandardRestore(targets[k]) for k in targets})
        for name in targets:
            checksums.check(items[name], metadata.checksums[name], f'{self.path(step)}/{name}')
        return items

    def _restore(self, step: int, **items) -> Any:
        if step not in self.steps():
            steps = ', '.join(map(str, self.steps())) or 'none'
            raise UserError(f'{self.directory} has no checkpoint of step {step}; it has {steps}')
        try:
            with reading(self.path(step), ' and '.join(items)):
                return self._manager.restore(step, args=ocp.args.Composite(**items))
        except UserError:
            self._hook.expect_late_reports()
            raise

    def _read_back(self, step: int) -> None:
        """Raises UserError when a checkpoint is not what was saved, or cannot be read."""
        try:
            for name, sums in self.metadata(step).checksums.items():
                directory, place = f'{self._plain}/{step}/{name}', f'{self.path(step)}/{name}'
                with reading(self.path(step), name):
                    for arrays in arrays_on_disk(
                        directory, self._saved[name], _this_process_alone()
                    ):
                        checksums.check(arrays, {path: sums[path] for path in arrays}, place)
        except UserError as error:
            self._hook.expect_late_reports()
            problem = f'the checkpoint of step {step} was written but not as saved: {error.problem}'
            raise UserError(problem, 'choose another --workdir, on another disk') from error

    def _write(self, write) -> None:
        try:
            write()
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # As many types as for reading.
            self._hook.expect_late_reports()
            step, self._saving = self._saving, None
            self._metrics.pop(step or 0, None)
            with contextlib.suppress(OSError):
                self._manager.reload()
            others = ', '.join(str(other) for other in self.steps() if other != step)
            intact = f'intact are those of {others}' if others else 'there is none before'
            # Several threads write; which of them fails first says less than what is there now.
            is_file = os.path.isfile(self.directory)
            number = errno.ENOTDIR if is_file else system_error(error)
            reason = os.strerror(number) if number else one_line(error)
            raise UserError(
                f'the checkpoint of step {step} cannot be written to {self.directory} ({reason}); '
                f'{intact}',
                f'{SYSTEM_REMEDIES.get(number, "fix it")} and run the same command again',
            ) from error


class NullCheckpointer:
    """Replaces `Checkpointer` in all processes but the first, which reads and writes alone."""

    def latest_step(self) -> int | None:
        """Unknown here."""
        return None

    def save(self, state: TrainState, *arguments, **metadata) -> None:
        """Save nothing; raise FloatingPointError as the first process does, to stay in lockstep."""
        check_finite_state(state)

    def finish(self) -> None:
        """Nothing to wait for."""

    finish_first = finish


@contextlib.contextmanager
def open_latest(
    workdir: str,
    *,
    flag: str = 'workdir',
    remedy: str = 'give the work directory of a run that was trained or converted',
) -> Iterator[tuple[Checkpointer, int]]:
    """The checkpoints of an existing run, or of `demo`, read-only, and the step of the newest.

    Raises:
      UserError: There is no such directory, or it has no checkpoint.
    """
    workdir = run_directory(workdir)
    if not os.path.isdir(workdir):
        problem = ' is a file' if os.path.isfile(workdir) else ': no such directory'
        raise UserError(f'{flag}={workdir}{problem}', remedy)
    with Checkpointer(workdir, read_only=True) as checkpointer:
        step = checkpointer.latest_step()
        if step is None:
            raise UserError(f'{flag}={workdir} has no checkpoint (yet)', remedy)
        yield checkpointer, step


def newest_config(workdir: str, *, flag: str) -> Config:
    """The configuration of the newest checkpoint; raises UserError as `open_latest`."""
    with open_latest(workdir, flag=flag) as (checkpointer, step):
        return checkpointer.metadata(step).config


def split_items(state: TrainState, sampling_networks: tuple[str, ...]) -> dict[str, Any]:
    """The items `generator` and `optimization` of a state."""
    sampled = {name: state.networks[name] for name in sampling_networks}
    others = {name: tree for name, tree in state.networks.items() if name not in sampled}
    return {
        GENERATOR: {'networks': sampled, 'ema': state.ema},
        OPTIMIZATION: {'step': state.step, 'networks': others, 'optimizers': state.optimizers},
    }


def join_items(items: Mapping[str, Any]) -> TrainState:
    """The inverse of `split_items`."""
    sampled, rest = items[GENERATOR], items[OPTIMIZATION]
    networks = sampled['networks'] | rest['networks']
    return TrainState(rest['step'], networks, rest['optimizers'], sampled['ema'])


def check_finite_state(state: TrainState, newest: str = '') -> None:
    """Raises FloatingPointError when an array of a state on the host is not finite."""
    if broken := checksums.not_finite(state):
        raise FloatingPointError(
            f'step {int(state.step)}: {len(broken)} arrays of the state ({broken[0]}, ...) are not '
            f'finite; it is not saved{newest}'
        )


def _this_process_alone() -> ocp.options.MultiprocessingOptions:
    """The process that made this object reads and writes without waiting for the others."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=index, active_processes={index})


def _on_one_device(leaf: Any) -> jax.ShapeDtypeStruct | np.ndarray:
    """Restored arrays go to the first device; with several processes they stay on the host."""
    if jax.process_count() > 1:
        return np.empty(np.shape(leaf), leaf.dtype)
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)
