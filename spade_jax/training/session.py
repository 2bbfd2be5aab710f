"""What a session of a run works with: data, model, checkpoints, log."""

import sys
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import jax
import numpy as np

from spade_jax.batch import Batch
from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.config.config import Config, shared_option_fields
from spade_jax.data.pipeline.example_order import BatchSchedule
from spade_jax.data.pipeline.input_pipeline import (
    Skipped,
    abstract_batch,
    training_batches,
    validation_examples,
)
from spade_jax.data.sources.open_source import change_since_prepared, check_source, open_source
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.distributed import processes, replicas
from spade_jax.models.model import Model, Variables
from spade_jax.models.train_state import TrainState, parameter_count
from spade_jax.reports.run_log import Listener, NoLog, RunLog
from spade_jax.reports.run_metadata import RunMetadata
from spade_jax.sampling import TrainedGenerator
from spade_jax.training.preemption import Preemption
from spade_jax.training.profiling import StepProfiler

# Options that may change on resume but must agree across processes, because they decide when
# collective operations run.
SHARED_BY_PROCESSES = (
    *('max_steps', 'shard_optimizer'),
    *('log_every', 'checkpoint_every', 'evaluate_every'),
)


class TrainingData(NamedTuple):
    """What a run reads.

    Attributes:
      source: The training examples.
      preview: Those of the sample grids.
      skipped: Those that are unusable.
      validation: Held-out examples, for scores during training.
    """

    source: Source
    preview: Batch
    skipped: Skipped
    validation: Source | None


class Session(NamedTuple):
    """What a session of a run works with; its fields are not assigned again.

    Attributes:
      config: Of the run.
      workdir: Its directory.
      model: Built for the mapped step.
      constants: Variables that do not train.
      data: Training and preview examples.
      checkpointer: Of the work directory, in the first process.
      preemption: Signals.
      on_metrics: Called with the step and the metrics of each log entry.
      evaluate: From a generator to its scores, in the first process; None: no scores.
    """

    config: Config
    workdir: str
    model: Model
    constants: dict[str, Variables]
    data: TrainingData
    checkpointer: Checkpointer | NullCheckpointer
    preemption: Preemption
    on_metrics: Listener | None = None
    evaluate: Callable[[TrainedGenerator], dict[str, float]] | None = None

    @property
    def schedule(self) -> BatchSchedule:
        """The examples of each step."""
        optimizer, seed = self.config.optimizer, self.config.run.seed
        share = jax.process_index(), jax.process_count()
        return BatchSchedule(optimizer.batch_size, seed, optimizer.accumulation_steps, *share)

    def batches(self, first_step: int) -> Generator[Batch]:
        """The batches of this process, on the host."""
        data, options = self.data, self.config.data
        return training_batches(data.source, options, self.schedule, first_step, data.skipped)

    def zero_batch(self) -> Batch:
        """A batch of the shapes that `batches` yields, on the devices."""
        shapes = abstract_batch(self.config.data, self.schedule.local_batch_size)
        return self.put(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))

    def put(self, batch: Batch) -> Batch:
        """A batch of this process on its devices, [devices, examples, ...]."""
        number = self.config.optimizer.accumulation_steps
        return replicas.put_batch(replicas.shard_batch(batch, jax.local_device_count(), number))

    def open_log(self, state: TrainState) -> RunLog | NoLog:
        """The log of the work directory from the step of a state on, in the first process."""
        if not processes.is_first():
            return NoLog()
        first_step, examples = int(state.step), len(self.data.source)
        of_run = self.workdir, self.config, examples, first_step, devices()
        metadata = RunMetadata(*of_run, parameter_counts(state))
        return RunLog(self.workdir, first_step, metadata, self.on_metrics)

    def profiler(self, first_step: int, last_step: int) -> StepProfiler:
        """The profiler of the chosen steps, in the first process."""
        steps = self.config.run.profile_steps if processes.is_first() else ''
        return StepProfiler(self.workdir, steps, first_step, last_step)

    def summary(self, state: TrainState, last_step: int) -> str:
        """What is about to be trained."""
        number, config = len(self.data.source), self.config.data
        counts = (f'{name} {count:,}' for name, count in parameter_counts(state).items())
        return (
            f'{number} training examples of {config.image_width}x{config.image_height}, '
            f'{devices()}, steps {int(state.step) + 1} to {last_step}\n'
            f'Parameters: {", ".join(counts)}'
        )


def parameter_counts(state: TrainState) -> dict[str, int]:
    """The number of parameters of each network."""
    return {name: parameter_count(tree) for name, tree in state.networks.items()}


def devices() -> str:
    """'8 x TPU v4'."""
    return f'{jax.device_count()} x {jax.devices()[0].device_kind}'


def shared_options(config: Config) -> dict[str, Any]:
    """The options that all processes must agree on: all but paths and what each does by itself."""
    fields = shared_option_fields().items()
    own = {name for name, field in fields if field.metadata['mutable']} - set(SHARED_BY_PROCESSES)
    return {name: value for name, value in config.options().items() if name not in own}


def open_training_data(config: Config) -> TrainingData:
    """Open and check the data; the first process does it before the others.

    Opening may write files (an index, rendered scenes), which the others find if they share a disk.

    Raises:
      UserError: An example is missing or, unless `on_bad_example` is 'skip', unusable.
    """
    data = _open(config) if processes.is_first() else None
    replicas.any_across_processes(False)  # A barrier.
    return data or _open(config)


def _open(config: Config) -> TrainingData:
    skipped = Skipped()
    source, validation = open_source(config.data, 'train'), open_source(config.data, 'validation')
    assert source is not None
    for split in SPLITS:
        if change := change_since_prepared(config.data, split):
            print(f'warning: {change}', file=sys.stderr)
    for checked in (source, validation):
        if checked is not None and (bad := check_source(checked, config.data)):
            print(f'{len(bad)} of {len(checked)} examples will be skipped:', file=sys.stderr)
            for location, error in bad.items():
                skipped.name(location, error)
    if validation is None:
        print('There is no validation set; the sample grids show training examples.')
    number = config.run.num_grid_samples
    preview = validation_examples(validation or source, config.data, number, skipped)
    return TrainingData(source, preview, skipped, validation)
