"""The log of a run: scalars as JSON lines and for TensorBoard, and sample grids."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator

import numpy as np
from tensorboardX import SummaryWriter

from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.image_grid import write_png
from spade_jax.reports.run_metadata import RunMetadata

# Metrics of an update that are no losses; the progress bar leaves them out.
_DIAGNOSTICS = ('_gradient_norm', '_logits_fake', '_logits_real')


class RunLog:
    """Writes the log of a run to its work directory.

    metrics.jsonl: one JSON object a record, with "step".
    tensorboard/: the same scalars, and the sample grids.
    samples/: the sample grids as PNG files.
    run.json: see `RunMetadata`.

    Args:
      workdir: The work directory.
      first_step: The step that the run starts from. Later records are dropped, since a resumed run
        writes them again.
      metadata: Updated with each record, if given.

    Attributes:
      samples: Directory of the sample grids.
    """

    def __init__(self, workdir: str, first_step: int, metadata: RunMetadata | None = None):
        os.makedirs(workdir, exist_ok=True)
        self._metadata = metadata
        self.samples = os.path.join(workdir, 'samples')
        self._path = os.path.join(workdir, 'metrics.jsonl')
        _drop_records_after(self._path, first_step)
        events = os.path.join(workdir, 'tensorboard')
        self._tensorboard = SummaryWriter(events, purge_step=first_step + 1)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception) -> None:
        self._tensorboard.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record the metrics of a step."""
        record = {'step': step} | {name: float(value) for name, value in values.items()}
        with open(self._path, 'a') as file:
            file.write(json.dumps(record) + '\n')
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)
        if self._metadata is not None:
            self._metadata.reached(step)

    def grid(self, step: int, image: np.ndarray) -> str:
        """Record a sample grid [H, W, 3] uint8; return the path of its PNG file."""
        path = os.path.join(self.samples, f'step_{step:07d}.png')
        write_png(path, image)
        self._tensorboard.add_image('samples', image, step, dataformats='HWC')
        return path


class NoLog:
    """Replaces `RunLog` in all processes but the first."""

    samples = ''

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *exception) -> None:
        pass

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record nothing."""


class Stopwatch:
    """Measures the rate of the steps since its construction.

    Attributes:
      waited: Seconds spent waiting for data.
    """

    def __init__(self):
        self._start, self.waited, self._steps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a step, and the time in the block as waiting for its batch."""
        start = time.perf_counter()
        yield
        self.waited += time.perf_counter() - start
        self._steps += 1

    def rates(self, batch_size: int) -> dict[str, float]:
        """Images per second and the share of time waiting for data; {} before the first step."""
        if not self._steps:
            return {}
        seconds = time.perf_counter() - self._start
        return {
            'images_per_second': self._steps * batch_size / seconds,
            'share_of_time_waiting_for_data': self.waited / seconds,
        }


def progress_fields(values: dict[str, float]) -> dict[str, str]:
    """The fields of the progress bar: the speed and the losses of a record."""
    fields = {}
    if 'images_per_second' in values:
        fields['images/s'] = f'{values["images_per_second"]:.3g}'
        fields['waiting'] = f'{values["share_of_time_waiting_for_data"]:.0%}'
    for name, value in values.items():
        is_loss = name[1:2] == '_' and not name.endswith(_DIAGNOSTICS)
        if is_loss:
            fields[name] = f'{value:.3g}'
    return fields


def read_scalars(workdir: str) -> list[dict[str, float]]:
    """The records of a run in order, without a last line that a crash truncated."""
    path = os.path.join(workdir, 'metrics.jsonl')
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file if line.endswith('}\n')]


def _drop_records_after(path: str, step: int) -> None:
    if os.path.exists(path):
        kept = [record for record in read_scalars(os.path.dirname(path)) if record['step'] <= step]
        with atomic_write(path) as partial, open(partial, 'w') as file:
            file.writelines(json.dumps(record) + '\n' for record in kept)
