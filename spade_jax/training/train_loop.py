"""From a Config and a work directory to a trained model.

`train` prepares a session, `_run_steps` is the loop; on a first reading, go straight to the latter.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from spade_jax.batch import Batch
from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.config.config import Config, option_fields, shared_option_fields
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.pipeline.example_order import BatchSchedule, steps_in_epochs
from spade_jax.data.pipeline.input_pipeline import (
    abstract_batch,
    locations_of_step,
    training_batches,
)
from spade_jax.data.sources.open_source import pointing_to_the_report
from spade_jax.distributed import processes, replicas
from spade_jax.files.image_grid import image_grid
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.models.model import Model, Variables, build_model
from spade_jax.models.train_state import (
    TrainState,
    parameter_count,
    sampling_variables,
    trained_params,
)
from spade_jax.reports import run_report
from spade_jax.reports.run_log import NoLog, RunLog, Stopwatch, progress_fields
from spade_jax.reports.run_metadata import RunMetadata
from spade_jax.sampling import TrainedGenerator
from spade_jax.training import state_sharding
from spade_jax.training.divergence import check_finite
from spade_jax.training.metrics import mean_metrics, weight_norms
from spade_jax.training.preemption import Preemption
from spade_jax.training.profiling import StepProfiler
from spade_jax.training.resume import check_same_examples, initial_state
from spade_jax.training.train_step import seeded_noise, train_step
from spade_jax.training.training_data import TrainingData, open_training_data

# Options that may change on resume but must agree across processes, because they decide when
# collective operations run.
_SHARED_BY_PROCESSES = (
    *('max_steps', 'rematerialize', 'label_conv', 'shard_optimizer'),
    *('log_every', 'checkpoint_every'),
)


class Session(NamedTuple):
    """What a session of a run works with; nothing here changes while it trains.

    Attributes:
      config: Of the run.
      workdir: Its directory.
      model: Built for the mapped step.
      constants: Variables that do not train.
      data: Training and preview examples.
      schedule: The examples of each step.
      checkpointer: Of the work directory, in the first process.
      preemption: Signals.
    """

    config: Config
    workdir: str
    model: Model
    constants: dict[str, Variables]
    data: TrainingData
    schedule: BatchSchedule
    checkpointer: Checkpointer | NullCheckpointer
    preemption: Preemption


def train(config: Config, workdir: str) -> None:
    """Train until the configured end; resume if the work directory has a checkpoint.

    Raises:
      UserError: Before any device work, when data, weights, batch size or an earlier run in the
        directory do not fit the configuration, or another process trains there; later, when data
        or disk fail.
      FloatingPointError: A loss is not finite.
      SystemExit: After SIGTERM or SIGINT, see `Preemption`.
    """
    with _lock(workdir), Preemption() as preemption, _checkpointer(workdir, config) as checkpointer:
        steps = config.optimizer
        replicas.check_divisible(steps.batch_size, jax.device_count(), steps.accumulation_steps)
        model = build_model(config, replicas.REPLICA_AXIS)
        constants = model.load_constants()
        processes.check_agreed(_shared_options(config))
        initial = initial_state(checkpointer, config, workdir)
        with pointing_to_the_report(config.data):
            data = open_training_data(config)
        processes.check_agreed({'number of training examples': len(data.source)})
        check_same_examples(initial.num_examples, len(data.source), workdir)

        epochs = steps.constant_epochs + steps.decay_epochs
        last_step = steps_in_epochs(epochs, steps.batch_size, len(data.source))
        last_step = min(last_step, steps.max_steps or last_step)
        if initial.step >= last_step:
            print(f'{workdir} has done all {last_step} steps already.')
            return
        session = Session(
            config, workdir, model, constants, data, _schedule(config), checkpointer, preemption
        )
        print(_summary(session, initial.state, last_step), flush=True)
        samples = _run_steps(session, initial.state, last_step)
        print(
            f'Done. Checkpoints: {checkpointer.directory}\n'
            f'Sample grids (label map | fake | real): {samples}'
        )
    if processes.is_first():
        print(f'Report: {run_report.write(workdir)}')


def _run_steps(session: Session, state: TrainState, last_step: int) -> str:
    """Train a state from the host up to a step. Returns the directory of the sample grids."""
    config, first_step = session.config, int(state.step)
    began, stopwatch, pending = time.monotonic(), Stopwatch(), []
    params = _abstract_params(session.model, state)
    shard = config.optimizer.shard_optimizer
    with contextlib.ExitStack() as stack:
        batches = stack.enter_context(contextlib.closing(_batches(session, first_step)))
        log = stack.enter_context(_open_log(session, first_step))
        profiler = stack.enter_context(_profiler(session, first_step, last_step))
        progress = stack.enter_context(_progress_bar(first_step, last_step))
        step_at = _pmapped_steps(session, state_sharding.pmap_axes(state, params, shard=shard))
        state = state_sharding.to_devices(state, params, shard=shard)
        step_at(first_step).compile_ahead(state, _zero_batch(session))  # While data is read.
        for step in range(first_step + 1, last_step + 1):
            with stopwatch.waiting(), pointing_to_the_report(config.data):
                batch = _put(next(batches), config)
            with jax.transfer_guard('disallow'):  # Implicit transfers would stall the devices.
                state, metrics = profiler.run(step, step_at(step - 1), state, batch)
            pending.append(metrics)
            progress.update()
            if step == first_step + 1:
                jax.block_until_ready(metrics)  # Its compilation belongs in no rate.
                progress.write(_first_step_message(time.monotonic() - began, stopwatch.waited))
                stopwatch = Stopwatch()
                session.preemption.enable_saving()

            due = functools.partial(is_due, step, last_step)
            stop = _stop_requested(session, due)
            values = {}
            if due(config.run.log_every) or due(config.run.checkpoint_every) or stop:
                values = _log(session, log, step, state, pending, stopwatch)
                progress.set_postfix(progress_fields(values))
                pending, stopwatch = [], Stopwatch()
            if due(config.run.sample_every) and processes.is_first():
                log.grid(step, _sample_grid(session, state))
                stopwatch = Stopwatch()
            if due(config.run.checkpoint_every) or stop:
                host = state_sharding.to_host(state, params, shard=shard)
                examples = len(session.data.source)
                session.checkpointer.save(host, config, examples, metrics=values)
                stopwatch = Stopwatch()
            if stop:
                session.checkpointer.finish()
                session.preemption.exit_after(step)
        return log.samples


def is_due(step: int, last_step: int, interval: int) -> bool:
    """True every `interval` steps and after the last one."""
    return step % interval == 0 or step == last_step


def _pmapped_steps(session: Session, state_axes: Any) -> Callable[[int], replicas.PmappedStep]:
    """From the number of a step to its pmapped train step; steps with the same updates share it."""
    config, num_examples = session.config, len(session.data.source)
    constants = replicas.replicate(session.constants)

    @functools.cache
    def pmapped(updates):
        step = functools.partial(
            train_step,
            model=session.model,
            config=config.optimizer,
            num_examples=num_examples,
            noise=seeded_noise(config.run.seed),
            updates=updates,
        )
        return replicas.pmap_step(step, state_axes=state_axes, constants=constants)

    def step_at(step: int) -> replicas.PmappedStep:
        epoch = step * config.optimizer.batch_size // num_examples
        return pmapped(session.model.updates_at(step, epoch))

    return step_at


def _log(
    session: Session,
    log: RunLog | NoLog,
    step: int,
    state: TrainState,
    pending: list[dict[str, jax.Array]],
    stopwatch: Stopwatch,
) -> dict[str, float]:
    """Log the means of the metrics since the last log entry; waits for the devices."""
    config, data = session.config, session.data
    records = jax.device_get(pending)
    values = mean_metrics(records) | weight_norms(replicas.unreplicate(state))
    locations = functools.partial(locations_of_step, data.source, session.schedule)
    check_finite(step, records, values, session.checkpointer.latest_step(), locations)
    values |= stopwatch.rates(config.optimizer.batch_size)
    if config.data.on_bad_example == 'skip':
        values['skipped_examples'] = data.skipped.count
    log.scalars(step, values)
    return values


def _stop_requested(session: Session, due: Callable[[int], bool]) -> bool:
    """True to stop after this step; several processes agree on it when a log entry is due."""
    requested = session.preemption.requested
    if jax.process_count() == 1:
        return requested
    return due(session.config.run.log_every) and replicas.any_across_processes(requested)


def _sample_grid(session: Session, state: TrainState) -> np.ndarray:
    """The grid label map | fake | real of the preview examples."""
    config, preview = session.config, session.data.preview
    networks, ema = replicas.unreplicate((state.networks, state.ema))
    variables = sampling_variables(networks, ema, session.model.sampling_networks)
    generator = TrainedGenerator(config, variables)
    style = None if generator.latent_dim is None else generator.encode(preview.image)
    fake = generator(preview.label, preview.instance, style=style)
    return image_grid([colorize_input(preview.label, config.data), fake, preview.image])


def _abstract_params(model: Model, state: TrainState) -> dict[str, Any]:
    """Shapes of the parameters that each player's optimizer moves."""
    return {
        update.player: jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
            trained_params(state.networks, update),
        )
        for update in model.updates
    }


def _put(batch: Batch, config: Config) -> Batch:
    """The batch of this process on its devices, [devices, examples, ...]."""
    number = config.optimizer.accumulation_steps
    return replicas.put_batch(replicas.shard_batch(batch, jax.local_device_count(), number))


def _zero_batch(session: Session) -> Batch:
    """A batch of the shapes that the input pipeline yields to this process."""
    shapes = abstract_batch(session.config.data, session.schedule.local_batch_size)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return _put(zeros, session.config)


def _schedule(config: Config) -> BatchSchedule:
    optimizer = config.optimizer
    return BatchSchedule(
        optimizer.batch_size,
        config.run.seed,
        optimizer.accumulation_steps,
        jax.process_index(),
        jax.process_count(),
    )


def _batches(session: Session, first_step: int) -> Generator[Batch]:
    data = session.data
    config, schedule = session.config.data, session.schedule
    return training_batches(data.source, config, schedule, first_step, data.skipped)


def _open_log(session: Session, first_step: int) -> RunLog | NoLog:
    """The log of the work directory, in the first process."""
    if not processes.is_first():
        return NoLog()
    examples, devices = len(session.data.source), _devices()
    metadata = RunMetadata(session.workdir, session.config, examples, first_step, devices)
    return RunLog(session.workdir, first_step, metadata)


def _profiler(session: Session, first_step: int, last_step: int) -> StepProfiler:
    steps = session.config.run.profile_steps if processes.is_first() else ''
    return StepProfiler(session.workdir, steps, first_step, last_step)


def _progress_bar(first_step: int, last_step: int) -> tqdm:
    return tqdm(
        total=last_step,
        initial=first_step,
        unit='step',
        dynamic_ncols=True,
        smoothing=0.05,
        mininterval=0.5 if sys.stderr.isatty() else 20,
        disable=not processes.is_first(),
    )


def _lock(workdir: str) -> contextlib.AbstractContextManager:
    """The lock of the work directory, in the first process."""
    return exclusive_lock(workdir) if processes.is_first() else contextlib.nullcontext()


def _checkpointer(workdir: str, config: Config) -> Checkpointer | NullCheckpointer:
    """The checkpoints of the work directory, in the first process."""
    if not processes.is_first():
        return NullCheckpointer()
    run = config.run
    return Checkpointer(workdir, keep=run.keep_checkpoints, keep_best=run.keep_best)


def _shared_options(config: Config) -> dict[str, Any]:
    """The options that all processes must agree on: all but paths and what each does by itself."""
    fields = shared_option_fields() | option_fields(type(config.model))
    shared = {
        name
        for name, field in fields.items()
        if not field.metadata['mutable'] or name in _SHARED_BY_PROCESSES
    }
    return {name: value for name, value in config.options().items() if name in shared | {'model'}}


def _summary(session: Session, state: TrainState, last_step: int) -> str:
    """What is about to be trained."""
    data = session.config.data
    counts = ', '.join(
        f'{name} {parameter_count(variables):,}' for name, variables in state.networks.items()
    )
    return (
        f'{len(session.data.source)} training examples of {data.image_width}x{data.image_height}, '
        f'{_devices()}, steps {int(state.step) + 1} to {last_step}\n'
        f'Parameters: {counts}\n'
        'Compiling the train step ...'
    )


def _devices() -> str:
    return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def _first_step_message(seconds: float, waited: float) -> str:
    return (
        f'First step after {seconds:.0f} s, compilation included; the first batch, read meanwhile, '
        f'was there after {waited:.0f} s.'
    )
