"""From a Config and a work directory to a trained generator."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any, Callable, Iterator

import jax
import numpy as np
from tqdm import tqdm

from spade_jax import replicas
from spade_jax.batch import Batch
from spade_jax.config import Config, conflicts
from spade_jax.data.input_pipeline import Skipped, steps_in_epochs, training_batches, validation_examples
from spade_jax.data.palette import shown
from spade_jax.data.sources.opening import change_since_prepared, check_source, open_source, pointing_to_the_report
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.errors import UserError
from spade_jax.image_grid import image_grid
from spade_jax.models import build_networks
from spade_jax.networks.vgg19 import load_vgg19
from spade_jax.sampling import TrainedGenerator
from spade_jax.training import placement, run_report
from spade_jax.training.checkpoints import Checkpoints
from spade_jax.training.gauges import weight_norms
from spade_jax.training.profiling import StepProfiler
from spade_jax.training.run_facts import RunFacts
from spade_jax.training.run_log import RunLog, Stopwatch, progress_fields
from spade_jax.training.train_state import TrainState, init_train_state
from spade_jax.training.train_step import train_step

Metrics = dict[str, float]


def train(config: Config, workdir: str) -> None:
    """Trains until the configured end; where the work directory has a checkpoint, from there on.

    Raises:
      UserError: before any device work, when data, weights, batch size or an earlier run in the directory do not fit the configuration.
      FloatingPointError: when a loss is not finite.
    """
    with Checkpoints(workdir, keep=config.keep_checkpoints) as checkpoints:
        latest = checkpoints.latest_step()
        first_step = latest or 0
        saved, saved_examples = (config, None) if latest is None else checkpoints.restore_run(latest)
        check_same_run(saved, config, workdir)
        replicas.check_divisible(config.batch_size, jax.device_count(), config.accumulation_steps)
        vgg19 = load_vgg19(config.vgg19_weights) if config.perceptual_weight else None
        skipped = Skipped()
        with pointing_to_the_report(config):
            source, shown = open_data(config, skipped)
        check_same_examples(saved_examples, len(source), workdir)

        last_step = steps_in_epochs(config.constant_epochs + config.decay_epochs, config.batch_size, len(source))
        if config.max_steps:
            last_step = min(last_step, config.max_steps)
        if first_step >= last_step:
            print(f'{workdir} has done all {last_step} steps already.')
            return
        print(f'{len(source)} training examples of {config.image_width}x{config.image_height}, {jax.local_device_count()} x {jax.devices()[0].device_kind}, '
              f'steps {first_step + 1} to {last_step}; compiling the train step ...', flush=True)

        profiler = StepProfiler(workdir, config.profile_steps, first_step, last_step)
        state = init_train_state(config, build_networks(config))
        if latest is not None:  # a converted model is one of step 0
            state = checkpoints.restore(latest, like=state)
        facts = RunFacts(workdir, config, len(source), first_step, f'{jax.device_count()} x {jax.devices()[0].device_kind}')
        with RunLog(workdir, first_step, facts) as log, profiler, contextlib.closing(training_batches(source, config, first_step=first_step, skipped=skipped)) as batches:
            steps = mapped_steps(config, len(source), vgg19, placement.axes(state, config))
            run = Run(config, steps, log, checkpoints, shown, len(source), skipped, profiler)
            run.train(placement.to_devices(state, config), batches, first_step, last_step)
        print(f'Done. Checkpoints: {checkpoints.directory}\nPictures (label | generated | real): {log.samples}')
    print(f'Report: {run_report.write(workdir)}')


class Run:
    """The loop around the train step: records, grids and checkpoints at their intervals."""

    def __init__(self, config: Config, step_of: Callable[[int], Callable], log: RunLog, checkpoints: Checkpoints, shown: Batch, num_examples: int,
                 skipped: Skipped, profiler: StepProfiler):
        self.config, self.step_of, self.log, self.checkpoints = config, step_of, log, checkpoints
        self.shown, self.num_examples, self.skipped, self.profiler = shown, num_examples, skipped, profiler

    def train(self, state: TrainState, batches: Iterator[Batch], first_step: int, last_step: int) -> None:
        config, pending, stopwatch = self.config, [], Stopwatch()
        with tqdm(total=last_step, initial=first_step, unit='step', dynamic_ncols=True, smoothing=0.05, mininterval=0.5 if sys.stderr.isatty() else 20) as progress:
            for step in range(first_step + 1, last_step + 1):
                with stopwatch.waiting(), pointing_to_the_report(config):
                    batch = replicas.split(next(batches), jax.local_device_count(), config.accumulation_steps)
                state, metrics = self.profiler.run(step, self.step_of(step - 1), state, batch)
                pending.append(metrics)
                progress.update()
                if step == first_step + 1:  # its compilation belongs in no rate
                    jax.block_until_ready(metrics)
                    stopwatch = Stopwatch()

                due = functools.partial(is_due, step, last_step)
                if due(config.log_every) or due(config.checkpoint_every):
                    values = average(pending) | weight_norms(state)  # waits for the device
                    check_finite(step, values, self.checkpoints)
                    values |= stopwatch.rates(config.batch_size)
                    if config.on_bad_example == 'skip':
                        values['skipped_examples'] = self.skipped.count
                    self.log.scalars(step, values)
                    progress.set_postfix(progress_fields(values))
                    pending, stopwatch = [], Stopwatch()
                if due(config.sample_every):
                    self.show(step, state)
                    stopwatch = Stopwatch()
                if due(config.checkpoint_every):
                    self.checkpoints.save(placement.to_host(state, config), config, self.num_examples)
                    stopwatch = Stopwatch()

    def show(self, step: int, state: TrainState) -> None:
        """Writes the grid label | generated | real of the fixed validation examples."""
        state = replicas.first(state)
        trained = TrainedGenerator(self.config, state.generator, state.encoder)
        styles = None if state.encoder is None else trained.encode(self.shown.image)
        fake = trained(self.shown.label, self.shown.instance, style=styles)
        self.log.grid(step, image_grid([shown(self.shown.label, self.config), fake, self.shown.image]))


def open_data(config: Config, skipped: Skipped) -> tuple[Source, Batch]:
    """The checked training examples, and the fixed examples of the sample grids. Those that will be skipped are named."""
    source, validation = open_source(config, 'train'), open_source(config, 'validation')
    for split in SPLITS:
        if change := change_since_prepared(config, split):
            print(f'warning: {change}', file=sys.stderr)
    for checked in filter(None, (source, validation)):
        if bad := check_source(checked, config):
            print(f'{len(bad)} of {len(checked)} examples will be skipped:', file=sys.stderr)
            for location, error in bad.items():
                skipped.name(location, error)
    if validation is None:
        print('There is no validation set; the sample grids show training examples.')
    return source, validation_examples(validation or source, config, config.num_samples_shown, skipped)


def mapped_steps(config: Config, num_examples: int, vgg19: dict | None, state_axes: Any = None) -> Callable[[int], Callable]:
    """From the number of a step to its mapped train step: with the generator update, or in the steps between those without."""
    networks = build_networks(config, replicas.REPLICA_AXIS)

    @functools.cache
    def mapped(update_generator):
        step = functools.partial(train_step, config=config, networks=networks, num_examples=num_examples, update_generator=update_generator,
                                 axis_name=replicas.REPLICA_AXIS)
        return replicas.replicate(step, state_axes=state_axes, constants=vgg19 if update_generator else None)

    return lambda step: mapped(step % config.discriminator_steps_per_generator_step == 0)


def check_same_run(saved: Config, given: Config, workdir: str) -> None:
    """Raises UserError when the checkpoint in the work directory was written by another configuration."""
    if differing := conflicts(saved, given):
        raise UserError(f'workdir={workdir} holds a run of another configuration ({"; ".join(differing)}); '
                        'give these the saved values to resume it, or choose another --workdir')


def check_same_examples(saved: int | None, given: int, workdir: str) -> None:
    """Raises UserError when a resumed run would see another number of examples: order and learning rate depend on it."""
    if saved not in (None, given):
        raise UserError(f'workdir={workdir} holds a run over {saved} training examples, now there are {given}; restore the data to resume it, '
                        'or choose another --workdir')


def is_due(step: int, last_step: int, interval: int) -> bool:
    """True every `interval` steps and after the last one."""
    return step % interval == 0 or step == last_step


def average(records: list[dict[str, jax.Array]]) -> Metrics:
    """Mean of each metric over the records that have it."""
    records = jax.device_get(records)
    names = dict.fromkeys(name for record in records for name in record)
    return {name: float(np.mean([record[name] for record in records if name in record])) for name in names}


def check_finite(step: int, values: Metrics, checkpoints: Checkpoints) -> None:
    """Raises FloatingPointError when a metric is NaN or infinite: nothing good comes after it."""
    broken = {name: value for name, value in values.items() if not np.isfinite(value)}
    if broken:
        raise FloatingPointError(f'step {step}: {broken} is not finite; training stops, the newest checkpoint is that of step {checkpoints.latest_step()}. '
                                 'A lower --learning_rate or --compute_dtype=float32, in a new --workdir, may help.')
