"""From a Config and a work directory to a trained generator."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from spade_jax.batch import Batch
from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.config.config import Config
from spade_jax.data.files.palette import shown
from spade_jax.data.pipeline.awaited_batches import AwaitedBatches
from spade_jax.data.pipeline.input_pipeline import (
    Skipped,
    locations_of_step,
    steps_in_epochs,
    training_batches,
    validation_examples,
)
from spade_jax.data.sources.open_source import (
    change_since_prepared,
    check_source,
    open_source,
    pointing_to_the_report,
)
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.distributed import processes, replicas
from spade_jax.errors import UserError
from spade_jax.files.image_grid import image_grid
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.memory.step_memory import abstract_batch
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import TrainState, weights_to_draw_with
from spade_jax.models.vgg19 import load_vgg19
from spade_jax.reports import run_report
from spade_jax.reports.run_log import NoLog, RunLog, Stopwatch, progress_fields
from spade_jax.reports.run_metadata import RunMetadata
from spade_jax.sampling import TrainedGenerator
from spade_jax.training import resume, state_sharding
from spade_jax.training.divergence import Rollbacks, check_finite, detoured
from spade_jax.training.metrics import weight_norms
from spade_jax.training.preemption import Preemption
from spade_jax.training.profiling import StepProfiler
from spade_jax.training.train_step import train_step

Metrics = dict[str, float]
# Fields that a resumed run may change, but by which processes go together through what all of them must call.
IN_STEP = (
    'max_steps',
    'rematerialize',
    'label_conv',
    'shard_optimizer',
    'log_every',
    'checkpoint_every',
    'on_nan',
)


def train(config: Config, workdir: str) -> None:
    """Trains until the configured end; where the work directory has a checkpoint, from there on.

    Raises:
      UserError: before any device work, when data, weights, batch size or an earlier run in the directory do not fit the configuration, or another process
        trains there; later, when data or disk fail.
      FloatingPointError: when a loss is not finite.
      SystemExit: after SIGTERM or SIGINT, see `Preemption`.
    """
    with (
        alone_there(workdir),
        Preemption() as interruption,
        checkpoints_of(workdir, config) as checkpoints,
    ):
        replicas.check_divisible(
            config.optimizer.batch_size, jax.device_count(), config.optimizer.accumulation_steps
        )
        vgg19 = load_vgg19(config.losses.vgg19_weights) if config.losses.perceptual_weight else None
        processes.check_agreed(fields_in_step(config))
        begin = resume.start(checkpoints, config, workdir)
        skipped = Skipped()
        with pointing_to_the_report(config.data):
            source, shown = first_process_first(lambda: open_data(config, skipped))
        processes.check_agreed({'number of training examples': len(source)})
        check_same_examples(begin.num_examples, len(source), workdir)

        last_step = steps_in_epochs(
            config.optimizer.constant_epochs + config.optimizer.decay_epochs,
            config.optimizer.batch_size,
            len(source),
        )
        if config.optimizer.max_steps:
            last_step = min(last_step, config.optimizer.max_steps)
        if begin.step >= last_step:
            print(f'{workdir} has done all {last_step} steps already.')
            return
        rollbacks = Rollbacks(config.on_nan, begin.detour)
        while True:
            print(
                f'{len(source)} training examples of {config.data.image_width}x{config.data.image_height}, {jax.device_count()} x {jax.devices()[0].device_kind}, '
                f'steps {begin.step + 1} to {last_step}; compiling the train step ...',
                flush=True,
            )
            session = Session(
                config,
                workdir,
                checkpoints,
                interruption,
                source,
                shown,
                skipped,
                vgg19,
                rollbacks.detour,
            )
            try:
                samples = session.run(begin.state, last_step)
                break
            except FloatingPointError as error:
                checkpoints.finish()
                rollbacks.take(error, newest_of_all(checkpoints))
                begin = resume.start(checkpoints, config, workdir)
        print(
            f'Done. Checkpointer: {checkpoints.directory}\nPictures (label | generated | real): {samples}'
        )
    if processes.is_first():
        print(f'Report: {run_report.write(workdir)}')


@dataclasses.dataclass
class Session:
    """The loop around the train step, from a state to the end: records, grids and checkpoints at their intervals.

    detour: names the order of the data and the noise, see `divergence.detoured`.
    """

    config: Config
    workdir: str
    checkpoints: Checkpointer | NullCheckpointer
    interruption: Preemption
    source: Source
    shown: Batch
    skipped: Skipped
    vgg19: dict | None = None
    detour: int = 0

    def run(self, state: TrainState, last_step: int) -> str:
        """Trains a state from the host up to a step. Returns the directory of the sample grids."""
        config, first_step = detoured(self.config, self.detour), int(state.step)
        self.began = time.monotonic()
        self.locations = functools.partial(locations_of_step, self.source, config)
        self.profiler = StepProfiler(
            self.workdir,
            config.run.profile_steps if processes.is_first() else '',
            first_step,
            last_step,
        )
        batches = training_batches(
            self.source,
            config,
            first_step=first_step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            skipped=self.skipped,
        )
        with (
            contextlib.closing(AwaitedBatches(batches, config.data_timeout)) as batches,
            self.open_log(first_step) as self.log,
            self.profiler,
        ):
            self.step_of = mapped_steps(
                config, len(self.source), self.vgg19, state_sharding.axes(state, config)
            )
            state = state_sharding.to_devices(state, config)
            any_batch = jax.tree.map(
                lambda array: np.zeros(array.shape, array.dtype), abstract_batch(config)
            )
            self.step_of(first_step).compile_ahead(
                state, split_among_devices(any_batch, config)
            )  # while the first batches are read
            self.train(state, batches, first_step, last_step)
            return self.log.samples

    def open_log(self, first_step: int) -> RunLog | NoLog:
        """The records of the work directory; in the first process."""
        if not processes.is_first():
            return NoLog()
        return RunLog(
            self.workdir,
            first_step,
            RunMetadata(
                self.workdir,
                self.config,
                len(self.source),
                first_step,
                f'{jax.device_count()} x {jax.devices()[0].device_kind}',
            ),
        )

    def train(
        self, state: TrainState, batches: Iterator[Batch], first_step: int, last_step: int
    ) -> None:
        config, pending, stopwatch = self.config, [], Stopwatch()
        with tqdm(
            total=last_step,
            initial=first_step,
            unit='step',
            dynamic_ncols=True,
            smoothing=0.05,
            mininterval=0.5 if sys.stderr.isatty() else 20,
            disable=not processes.is_first(),
        ) as progress:
            for step in range(first_step + 1, last_step + 1):
                with stopwatch.waiting(), pointing_to_the_report(config.data):
                    batch = split_among_devices(next(batches), config)
                state, metrics = self.profiler.run(step, self.step_of(step - 1), state, batch)
                pending.append(metrics)
                progress.update()
                if step == first_step + 1:  # its compilation belongs in no rate
                    jax.block_until_ready(metrics)
                    progress.write(
                        f'First step after {time.monotonic() - self.began:.0f} s, compilation included; the first batch, read meanwhile, was there '
                        f'after {stopwatch.waited:.0f} s.'
                    )
                    stopwatch = Stopwatch()
                    self.interruption.enable_saving()

                due = functools.partial(is_due, step, last_step)
                interrupted = self.interrupted(due)
                if due(config.run.log_every) or due(config.run.checkpoint_every) or interrupted:
                    pending = jax.device_get(pending)
                    values = average(pending) | weight_norms(state)  # waits for the device
                    check_finite(
                        step, pending, values, self.checkpoints.latest_step(), self.locations
                    )
                    values |= stopwatch.rates(config.optimizer.batch_size)
                    if config.data.on_bad_example == 'skip':
                        values['skipped_examples'] = self.skipped.count
                    self.log.scalars(step, values)
                    progress.set_postfix(progress_fields(values))
                    pending, stopwatch = [], Stopwatch()
                if due(config.run.sample_every) and processes.is_first():
                    self.show(step, state)
                    stopwatch = Stopwatch()
                if due(config.run.checkpoint_every) or interrupted:
                    self.checkpoints.save(
                        state_sharding.to_host(state, config),
                        config,
                        len(self.source),
                        metrics=values,
                        detour=self.detour,
                    )
                    stopwatch = Stopwatch()
                if interrupted:
                    self.checkpoints.finish()
                    self.interruption.leave(step)

    def interrupted(self, due: Callable[[int], bool]) -> bool:
        """Whether to stop after this step. Several processes stop together, and so agree on it when a record is due."""
        if jax.process_count() == 1:
            return self.interruption.asked
        return due(self.config.run.log_every) and replicas.any_across_processes(
            self.interruption.asked
        )

    def show(self, step: int, state: TrainState) -> None:
        """Writes the grid label | generated | real of the fixed validation examples."""
        state = replicas.unreplicate(state)
        trained = TrainedGenerator(
            self.config, *weights_to_draw_with(state.generator, state.encoder, state.average)
        )
        styles = None if state.encoder is None else trained.encode(self.shown.image)
        fake = trained(self.shown.label, self.shown.instance, style=styles)
        self.log.grid(
            step, image_grid([shown(self.shown.label, self.config.data), fake, self.shown.image])
        )


def alone_there(workdir: str) -> contextlib.AbstractContextManager:
    """Holds the work directory, in the first process."""
    return exclusive_lock(workdir) if processes.is_first() else contextlib.nullcontext()


def checkpoints_of(workdir: str, config: Config) -> Checkpointer | NullCheckpointer:
    """The checkpoints of the work directory, in the first process."""
    return (
        Checkpointer(workdir, keep=config.run.keep_checkpoints, keep_best=config.run.keep_best)
        if processes.is_first()
        else NullCheckpointer()
    )


def fields_in_step(config: Config) -> dict[str, Any]:
    """What several processes must have alike: all of the configuration but paths and what each of them does by itself."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if not field.metadata['may_change'] or field.name in IN_STEP
    }


def newest_of_all(checkpoints: Checkpointer | NullCheckpointer) -> int | None:
    """Step of the newest checkpoint, in all processes; None if there is none."""
    newest = checkpoints.latest_step()
    newest = int(
        replicas.broadcast_one_to_all(np.array(-1 if newest is None else newest, np.int32))
    )
    return None if newest < 0 else newest


def first_process_first(work: Callable[[], Any]) -> Any:
    """Work that makes files where there are none: the first process does it, then the others at once, which find them if they see the same disk."""
    result = work() if processes.is_first() else None
    replicas.any_across_processes(False)  # waits
    return result if processes.is_first() else work()


def open_data(config: Config, skipped: Skipped) -> tuple[Source, Batch]:
    """The checked training examples, and the fixed examples of the sample grids. Those that will be skipped are named."""
    source, validation = open_source(config.data, 'train'), open_source(config.data, 'validation')
    for split in SPLITS:
        if change := change_since_prepared(config.data, split):
            print(f'warning: {change}', file=sys.stderr)
    for checked in filter(None, (source, validation)):
        if bad := check_source(checked, config.data):
            print(f'{len(bad)} of {len(checked)} examples will be skipped:', file=sys.stderr)
            for location, error in bad.items():
                skipped.name(location, error)
    if validation is None:
        print('There is no validation set; the sample grids show training examples.')
    return source, validation_examples(
        validation or source, config, config.run.num_grid_samples, skipped
    )


def split_among_devices(batch: Batch, config: Config) -> Batch:
    """The batch of this process, as a mapped step takes it."""
    return replicas.shard_batch(
        batch, jax.local_device_count(), config.optimizer.accumulation_steps
    )


def mapped_steps(
    config: Config, num_examples: int, vgg19: dict | None, state_axes: Any = None
) -> Callable[[int], replicas.Replicated]:
    """From the number of a step to its mapped train step: with the generator update, or in the steps between those without."""
    networks = build_networks(config, replicas.REPLICA_AXIS)

    @functools.cache
    def mapped(update_generator):
        step = functools.partial(
            train_step,
            config=config,
            networks=networks,
            num_examples=num_examples,
            update_generator=update_generator,
            axis_name=replicas.REPLICA_AXIS,
        )
        return replicas.pmap_step(
            step, state_axes=state_axes, constants=vgg19 if update_generator else None
        )

    return lambda step: mapped(step % config.optimizer.discriminator_steps == 0)


def check_same_examples(saved: int | None, given: int, workdir: str) -> None:
    """Raises UserError when a resumed run would see another number of examples: order and learning rate depend on it."""
    if saved not in (None, given):
        raise UserError(
            f'workdir={workdir} holds a run over {saved} training examples, now there are {given}; restore the data to resume it, '
            'or choose another --workdir'
        )


def is_due(step: int, last_step: int, interval: int) -> bool:
    """True every `interval` steps and after the last one."""
    return step % interval == 0 or step == last_step


def average(records: list[dict[str, jax.Array]]) -> Metrics:
    """Mean of each metric over the records that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {
        name: float(np.mean([record[name] for record in records if name in record]))
        for name in names
    }
