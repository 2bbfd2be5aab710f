"""What a session trains on: the checked examples and the fixed ones of the sample grids."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.data.pipeline.input_pipeline import Skipped, validation_examples
from spade_jax.data.sources.open_source import change_since_prepared, check_source, open_source
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.distributed import processes, replicas


class TrainingData(NamedTuple):
    """The data of a session.

    Attributes:
      source: The training examples.
      preview: The examples of the sample grids.
      skipped: Counts the examples that cannot be used.
    """

    source: Source
    preview: Batch
    skipped: Skipped


def open_training_data(config: Config) -> TrainingData:
    """Open and check the data; the first process does it before the others.

    Opening may write files (an index, rendered scenes), which the others find if they share a disk.

    Raises:
      UserError: An example is missing or, unless `on_bad_example` is 'skip', unusable.
    """
    return _first_process_first(lambda: _open(config))


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
    return TrainingData(source, preview, skipped)


def _first_process_first(work: Callable[[], Any]) -> Any:
    result = work() if processes.is_first() else None
    replicas.any_across_processes(False)  # A barrier.
    return result if processes.is_first() else work()
