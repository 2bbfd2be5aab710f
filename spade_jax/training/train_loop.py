"""From a Config and a work directory to a trained model.

`train` prepares a session, `_run_steps` is the loop; on a first reading, go straight to the latter.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.config.config import Config
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.pipeline.example_order import steps_in_epochs
from spade_jax.data.pipeline.input_pipeline import locations_of_step
from spade_jax.data.sources.open_source import pointing_to_the_report
from spade_jax.distributed import processes, replicas
from spade_jax.files.image_grid import image_grid
from spade_jax.files.run_lock import exclusive_lock
from spade_jax.models.model import build_model
from spade_jax.models.train_state import TrainState, sampling_variables
from spade_jax.reports import run_report
from spade_jax.reports.run_log import Stopwatch, progress_fields
from spade_jax.sampling import TrainedGenerator
from spade_jax.training.divergence import check_finite
from spade_jax.training.metrics import mean_metrics, weight_norms
from spade_jax.training.preemption import Preemption
from spade_jax.training.resume import check_same_examples, initial_state
from spade_jax.training.session import Session, open_training_data, progress_bar, shared_options
from spade_jax.training.state_sharding import StateSharding
from spade_jax.training.train_step import seeded_noise, train_step


def train(config: Config, workdir: str) -> None:
    """Train until the configured end; resume if the work directory has a checkpoint.

    Raises:
      UserError: Before any device work, when data, weights, batch size or an earlier run in the
        directory do not fit the configuration, or another process trains there; later, when data
        or disk fail.
      FloatingPointError: A loss is not finite.
      SystemExit: After SIGTERM or SIGINT, see `Preemption`.
    """
    optimizer = config.optimizer
    with _lock(workdir), Preemption() as preemption, _checkpointer(workdir, config) as checkpointer:
        microbatches = optimizer.accumulation_steps
        replicas.check_divisible(optimizer.batch_size, jax.device_count(), microbatches)
        model = build_model(config, replicas.REPLICA_AXIS)
        constants = model.load_constants()
        processes.check_agreed(shared_options(config))
        initial = initial_state(checkpointer, config, workdir)
        with pointing_to_the_report(config.data):
            data = open_training_data(config)
        num_examples = len(data.source)
        processes.check_agreed({'number of training examples': num_examples})
        check_same_examples(initial.num_examples, num_examples, workdir)

        epochs = optimizer.constant_epochs + optimizer.decay_epochs
        last_step = steps_in_epochs(epochs, optimizer.batch_size, num_examples)
        last_step = min(last_step, optimizer.max_steps or last_step)
        if initial.step >= last_step:
            print(f'{workdir} has done all {last_step} steps already.')
            return
        session = Session(config, workdir, model, constants, data, checkpointer, preemption)
        print(session.summary(initial.state, last_step), flush=True)
        samples = _run_steps(session, initial.state, last_step)
        print(f'Done. Checkpoints: {checkpointer.directory}')
        print(f'Sample grids (label map | fake | real): {samples}')
    if processes.is_first():
        print(f'Report: {run_report.write(workdir)}')


def _run_steps(session: Session, state: TrainState, last_step: int) -> str:
    """Train a state from the host up to a step. Returns the directory of the sample grids."""
    config, first_step = session.config, int(state.step)
    began, stopwatch, pending = time.monotonic(), Stopwatch(), []
    shard = config.optimizer.shard_optimizer
    sharding = StateSharding(session.model, state, shard=shard)
    with contextlib.ExitStack() as stack:
        batches = stack.enter_context(contextlib.closing(session.batches(first_step)))
        log = stack.enter_context(session.open_log(first_step))
        profiler = stack.enter_context(session.profiler(first_step, last_step))
        progress = stack.enter_context(progress_bar(first_step, last_step))
        step_at = _pmapped_steps(session, sharding.pmap_axes(state))
        state = sharding.to_devices(state)
        step_at(first_step).compile_ahead(state, session.zero_batch())  # While data is read.
        for step in range(first_step + 1, last_step + 1):
            with stopwatch.waiting(), pointing_to_the_report(config.data):
                batch = session.put(next(batches))
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
                values = _means(session, step, state, pending)
                values |= stopwatch.rates(config.optimizer.batch_size)
                log.scalars(step, values)
                progress.set_postfix(progress_fields(values))
                pending, stopwatch = [], Stopwatch()
            if due(config.run.sample_every) and processes.is_first():
                log.grid(step, _sample_grid(session, state))
                stopwatch = Stopwatch()
            if due(config.run.checkpoint_every) or stop:
                host, examples = sharding.to_host(state), len(session.data.source)
                session.checkpointer.save(host, config, examples, metrics=values)
                stopwatch = Stopwatch()
            if stop:
                session.checkpointer.finish()
                session.preemption.exit_after(step)
        return log.samples


def _first_step_message(seconds: float, waited: float) -> str:
    return (
        f'First step after {seconds:.0f} s, compilation included; the first batch, read meanwhile, '
        f'was there after {waited:.0f} s.'
    )


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


def _means(
    session: Session, step: int, state: TrainState, pending: list[dict[str, jax.Array]]
) -> dict[str, float]:
    """Means of the metrics since the last log entry, and weight norms; waits for the devices."""
    source, _, skipped = session.data
    records = jax.device_get(pending)
    values = mean_metrics(records) | weight_norms(replicas.unreplicate(state))
    locations = functools.partial(locations_of_step, source, session.schedule)
    check_finite(step, records, values, session.checkpointer.latest_step(), locations)
    if session.config.data.on_bad_example == 'skip':
        values['skipped_examples'] = skipped.count
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
    style = generator.encode(preview.image) if session.model.can_encode else None
    fake = generator(preview.label, preview.instance, style=style)
    return image_grid([colorize_input(preview.label, config.data), fake, preview.image])


def _lock(workdir: str) -> contextlib.AbstractContextManager:
    """The lock of the work directory, in the first process."""
    return exclusive_lock(workdir) if processes.is_first() else contextlib.nullcontext()


def _checkpointer(workdir: str, config: Config) -> Checkpointer | NullCheckpointer:
    """The checkpoints of the work directory, in the first process."""
    if not processes.is_first():
        return NullCheckpointer()
    run = config.run
    return Checkpointer(workdir, keep=run.keep_checkpoints, keep_best=run.keep_best)
