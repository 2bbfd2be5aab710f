"""From a Config and a work directory to a trained model.

`train` prepares a session, `_run_steps` is the loop; on a first reading, go straight to the latter.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.config.config import Config, OptimizerConfig
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.pipeline.example_order import steps_in_epochs
from spade_jax.data.pipeline.input_pipeline import locations_of_step
from spade_jax.data.sources.open_source import pointing_to_the_report, source_class
from spade_jax.distributed import processes, replicas
from spade_jax.files.image_grid import image_grid
from spade_jax.files.names import CHECKPOINTS
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.models.model import build_model
from spade_jax.models.train_state import TrainState, sampling_variables
from spade_jax.reports import run_report
from spade_jax.reports.run_log import (
    Listener,
    NoLog,
    Stopwatch,
    check_log_is_writable,
    progress_fields,
)
from spade_jax.sampling import TrainedGenerator
from spade_jax.training import cluster_features
from spade_jax.training.evaluation import Evaluator, scores_of
from spade_jax.training.metrics import check_finite, mean_metrics, weight_norms
from spade_jax.training.preemption import Preemption
from spade_jax.training.progress import StepProgress
from spade_jax.training.resume import check_same_examples, initial_state
from spade_jax.training.session import Session, TrainingData, open_training_data, shared_options
from spade_jax.training.state_sharding import StateSharding
from spade_jax.training.train_step import seeded_noise, train_step

_FIRST_STEP = (
    'First step after {:.0f} s, compilation included; the first batch, read meanwhile, was there '
    'after {:.0f} s.'
)


def train(
    config: Config, workdir: str, on_metrics: Listener | None = None, *, as_guest: bool = False
) -> None:
    """Train until the configured end; resume if the work directory has a checkpoint.

    Args:
      config: Of the run.
      workdir: Its directory.
      on_metrics: Called with the step and the metrics of each log entry, in the first process.
      as_guest: Signals raise exceptions and never end the process, see `Preemption`.

    Raises:
      UserError: Before any device work, when data, weights, batch size or an earlier run in the
        directory do not fit the configuration, or another process trains there; later, when data
        or disk fail.
      FloatingPointError: A loss is not finite.
      SystemExit: After SIGTERM or SIGINT, see `Preemption`.
    """
    optimizer, num_devices = config.optimizer, jax.device_count()
    with Preemption(as_guest) as preemption, _checkpoints(workdir, config) as checkpointer:
        replicas.check_divisible(optimizer.batch_size, num_devices, optimizer.accumulation_steps)
        model = build_model(config, replicas.REPLICA_AXIS)
        constants = model.load_constants()
        processes.check_agreed(shared_options(config))
        # First, since the errors below print commands, which must not repeat illegal options.
        source_class(config.data).check_options(config.data)
        initial = initial_state(checkpointer, config, workdir)
        with pointing_to_the_report(config.data):
            data = open_training_data(config)
        num_examples = len(data.source)
        processes.check_agreed({'number of training examples': num_examples})
        check_same_examples(initial, num_examples, workdir)

        epochs = optimizer.constant_epochs + optimizer.decay_epochs
        last_step = steps_in_epochs(epochs, optimizer.batch_size, num_examples)
        last_step = min(last_step, optimizer.max_steps or last_step)
        if initial.step >= last_step:
            remedy = _how_to_extend(optimizer, last_step)
            print(
                f'{workdir} has done {initial.step} of {last_step} steps already. {remedy}'.strip()
            )
            if processes.is_first() and cluster_features.are_missing(config, workdir):
                cluster_features.write_clusters(config, workdir, data)
            return
        fixed = config, workdir, model, constants, data, checkpointer, preemption
        session = Session(*fixed, on_metrics, _evaluator(config, data))
        print(session.summary(initial.state, last_step), flush=True)
        samples = _run_steps(session, initial.state, last_step)
        if as_guest and preemption.requested:  # After the last step: the caller must know.
            checkpointer.finish()
            preemption.exit_after(last_step)
        print(f'Done. Checkpoints: {os.path.join(workdir, CHECKPOINTS)}')
        columns = ['label map'] * (not config.data.unconditional) + ['fake', 'real']
        print(f'Sample grids ({" | ".join(columns)}): {samples}')
    if processes.is_first():
        cluster_features.write_clusters(config, workdir, data)
        print(f'Report: {run_report.write(workdir)}')


def _run_steps(session: Session, state: TrainState, last_step: int) -> str:
    """Train a state from the host up to a step. Returns the directory of the sample grids."""
    config, first_step, start = session.config, int(state.step), time.monotonic()
    sharding = StateSharding(session.model, state, shard=config.optimizer.shard_optimizer)
    stopwatch, pending = Stopwatch(), []
    with contextlib.ExitStack() as stack:
        batches = stack.enter_context(contextlib.closing(session.batches(first_step)))
        log = stack.enter_context(session.open_log(state))
        profiler = stack.enter_context(session.profiler(first_step, last_step))
        progress = stack.enter_context(StepProgress(first_step, last_step))
        step_at = _pmapped_steps(session, sharding.pmap_axes(state))
        state = sharding.to_devices(state)
        step_at(first_step).compile_ahead(state, session.zero_batch())  # While data is read.
        if first_step == 0:  # Shows labels and photos while the train step compiles.
            _record_grid(session, state, log, progress, 0)
        for step in range(first_step + 1, last_step + 1):
            program = step_at(step - 1)
            with progress.compiling(program, _compiling(log)) as is_first_call:
                with stopwatch.waiting(), pointing_to_the_report(config.data):
                    batch = session.put(next(batches))
                with jax.transfer_guard('disallow'):  # Implicit transfers would stall the devices.
                    state, metrics = profiler.run(step, program, state, batch)
                if is_first_call:
                    jax.block_until_ready(metrics)
                pending.append(metrics)
            progress.count(was_first_call=is_first_call)
            if step == first_step + 1:
                session.preemption.enable_saving()
                _report_first_step(log, progress, time.monotonic() - start, stopwatch.waited)
            if is_first_call:
                stopwatch = Stopwatch()  # Its compilation belongs in no rate.
            due = functools.partial(is_due, step, last_step)
            stop = _stop_requested(session, due(config.run.log_every))
            evaluate = due(config.evaluation.evaluate_every)
            save = stop or evaluate or due(config.run.checkpoint_every)
            if save or due(config.run.log_every):
                values = _means(session, step, state, pending)  # Waits for the devices.
                values |= stopwatch.rates(config.optimizer.batch_size)
                values |= _scores(session, sharding, state, values) if evaluate else {}
                log.scalars(step, values)
                progress.set_postfix(progress_fields(values))
                if save:
                    _save(session, sharding.to_host(state), values)
                pending, stopwatch = [], Stopwatch()
            if due(config.run.sample_every):
                _record_grid(session, state, log, progress, step)
                stopwatch = Stopwatch()
            if stop:
                session.checkpointer.finish()
                session.preemption.exit_after(step)
        return log.samples


def _save(session: Session, state: TrainState, metrics: dict[str, float]) -> None:
    """Save a state from the host."""
    number = len(session.data.source)
    session.checkpointer.save(state, session.config, number, metrics=metrics)
    session.checkpointer.finish_first()


def _compiling(log: NoLog) -> str:
    """What goes on until the first step is done."""
    seconds = log.last_compilation
    return 'Compiling the train step' + (f' (last time {seconds:.0f} s)' if seconds else '')


def _report_first_step(log: NoLog, progress: StepProgress, seconds: float, waited: float) -> None:
    log.compiled(seconds)
    progress.tell(_FIRST_STEP.format(seconds, waited))


def _how_to_extend(optimizer: OptimizerConfig, last_step: int) -> str:
    """What makes a run longer that has done all its steps."""
    if last_step == optimizer.max_steps:
        return 'A larger --max_steps, or --max_steps=0 for all epochs, extends it.'
    return '' if optimizer.decay_epochs else 'A larger --constant_epochs extends it.'


def is_due(step: int, last_step: int, interval: int) -> bool:
    """True every `interval` steps and after the last one; never if it is 0."""
    return interval > 0 and (step % interval == 0 or step == last_step)


def _pmapped_steps(session: Session, state_axes: Any) -> Callable[[int], replicas.PmappedStep]:
    """From the number of a step to its pmapped train step; steps with the same updates share it."""
    model, config, num_examples = session.model, session.config.optimizer, len(session.data.source)
    fixed: dict[str, Any] = dict(model=model, config=config, num_examples=num_examples)
    noise = seeded_noise(session.config.run.seed)
    constants = replicas.replicate(session.constants)

    @functools.cache
    def pmapped(updates):
        step = functools.partial(train_step, **fixed, noise=noise, updates=updates)
        return replicas.pmap_step(step, state_axes=state_axes, constants=constants)

    return lambda step: pmapped(model.updates_at(step, step * config.batch_size // num_examples))


def _means(
    session: Session, step: int, state: TrainState, pending: list[dict[str, jax.Array]]
) -> dict[str, float]:
    """Means of the metrics since the last log entry, and weight norms; waits for the devices."""
    source, skipped = session.data.source, session.data.skipped
    records = jax.device_get(pending)
    values = mean_metrics(records) | weight_norms(replicas.unreplicate(state))
    locations = functools.partial(locations_of_step, source, session.schedule)
    check_finite(step, records, values, session.checkpointer.latest_step(), locations)
    if session.config.data.on_bad_example == 'skip':
        values['skipped_examples'] = skipped.count
    return values


def _stop_requested(session: Session, log_is_due: bool) -> bool:
    """True to stop after this step; several processes agree on it when a log entry is due."""
    requested = session.preemption.requested
    if jax.process_count() == 1:
        return requested
    return log_is_due and replicas.any_across_processes(requested)


def _generator(session: Session, state: TrainState) -> TrainedGenerator:
    """The generator of a state on the devices."""
    networks, ema = replicas.unreplicate((state.networks, state.ema))
    variables = sampling_variables(networks, ema, session.model.sampling_networks)
    return TrainedGenerator(session.config, variables)


def _scores(
    session: Session, sharding: StateSharding, state: TrainState, metrics: dict[str, float]
) -> dict[str, float]:
    """The scores of a state on the devices, in the first process; if they fail, it is saved."""
    try:
        return session.evaluate(_generator(session, state)) if session.evaluate else {}
    except Exception:
        _save(session, sharding.to_host(state), metrics)
        session.checkpointer.finish()
        raise


def _evaluator(config: Config, data: TrainingData) -> Evaluator | None:
    is_needed = config.evaluation.evaluate_every and processes.is_first()
    return Evaluator(config, data) if is_needed else None


def _record_grid(
    session: Session, state: TrainState, log: NoLog, progress: StepProgress, step: int
) -> None:
    """Sample a grid from a state on the devices, in the first process."""
    if processes.is_first():
        with progress.compiling(_sample_grid, 'Compiling the sample grid'):
            log.grid(step, _sample_grid(session, state))


def _sample_grid(session: Session, state: TrainState) -> np.ndarray:
    """The grid label map (if there is one) | fake | real of the preview examples."""
    config, preview = session.config, session.data.preview
    generator = _generator(session, state)
    style = generator.encode(*preview) if config.model.can_encode else None
    fake = generator(preview.label, preview.instance, style=style)
    panels = colorize_input(preview.label, config.data), fake, preview.image
    return image_grid([panel for panel in panels if panel.size])


@contextlib.contextmanager
def _checkpoints(workdir: str, config: Config) -> Iterator[Checkpointer | NullCheckpointer]:
    """The checkpoints of the work directory, locked, in the first process."""
    if not processes.is_first():
        yield NullCheckpointer()
        return
    keep, best = config.run.keep_checkpoints, config.run.keep_best
    with exclusive_lock(workdir):
        check_log_is_writable(workdir)
        scores = scores_of(config)
        with Checkpointer(workdir, keep=keep, keep_best=best, scores=scores) as checkpointer:
            yield checkpointer
