"""What a run leaves for people to look at: scalars as JSON lines and for TensorBoard, and sample grids."""

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


class RunLog:
    """The records of one work directory.

    metrics.jsonl: one object a record, with "step". A resumed run drops the records of steps that it does again.
    tensorboard/: the same scalars, and the grids.
    samples/: the grids as PNG files.
    run.json: see `RunMetadata`, where some are given.
    """

    def __init__(self, workdir: str, first_step: int, facts: RunMetadata | None = None):
        os.makedirs(workdir, exist_ok=True)
        self._facts = facts
        self.samples = os.path.join(workdir, 'samples')
        self._path = os.path.join(workdir, 'metrics.jsonl')
        _drop_records_after(self._path, first_step)
        self._tensorboard = SummaryWriter(
            os.path.join(workdir, 'tensorboard'), purge_step=first_step + 1
        )

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exception) -> None:
        self._tensorboard.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Records numbers under a step."""
        with open(self._path, 'a') as file:
            file.write(
                json.dumps({'step': step} | {name: float(value) for name, value in values.items()})
                + '\n'
            )
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)
        if self._facts is not None:
            self._facts.reached(step)

    def grid(self, step: int, image: np.ndarray) -> str:
        """Records a sample grid [H, W, 3] uint8; returns the path of its PNG file."""
        path = os.path.join(self.samples, f'step_{step:07d}.png')
        write_png(path, image)
        self._tensorboard.add_image('samples', image, step, dataformats='HWC')
        return path


class NoLog:
    """In the place of `RunLog` in the processes that leave it to the first."""

    samples = ''

    def __enter__(self) -> NoLog:
        return self

    def __exit__(self, *exception) -> None:
        pass

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Records nothing."""


class Stopwatch:
    """Time since it was made, counted for the steps that passed through `waiting`.

    waited: seconds spent there.
    """

    def __init__(self):
        self._since, self.waited, self._steps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a step's batch."""
        asked = time.perf_counter()
        yield
        self.waited += time.perf_counter() - asked
        self._steps += 1

    def rates(self, batch_size: int) -> dict[str, float]:
        """Images a second, and the share of the time spent waiting for data; nothing where no step was counted."""
        seconds = time.perf_counter() - self._since
        return (
            {
                'images_per_second': self._steps * batch_size / seconds,
                'share_of_time_waiting_for_data': self.waited / seconds,
            }
            if self._steps
            else {}
        )


def progress_fields(values: dict[str, float]) -> dict[str, str]:
    """What the progress bar shows of a record: the speed, and the losses without norms and scores, which would not fit."""
    fields = {}
    if 'images_per_second' in values:
        fields = {
            'images/s': f'{values["images_per_second"]:.3g}',
            'waiting': f'{values["share_of_time_waiting_for_data"]:.0%}',
        }
    return fields | {
        name: f'{value:.3g}'
        for name, value in values.items()
        if name.startswith(('g_', 'd_')) and not name.endswith('_norm') and '_score_' not in name
    }


def read_scalars(workdir: str) -> list[dict[str, float]]:
    """The records of a run in order; a line that a crash cut off is left out."""
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
