"""The log of a run: scalars as JSON lines and for TensorBoard, and sample grids."""

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

FILE = 'metrics.jsonl'
# Metrics of an update that are no losses; the progress bar leaves them out.
_DIAGNOSTICS = ('_gradient_norm', '_logits_fake', '_logits_real')


class NoLog(contextlib.AbstractContextManager):
    """Replaces `RunLog` in all processes but the first: records nothing."""

    samples = ''
    last_compilation: float | None = None

    def __exit__(self, *exception) -> None:
        pass

    def compiled(self, seconds: float) -> None:
        pass

    def scalars(self, step: int, values: dict[str, float]) -> None:
        pass

    def grid(self, step: int, image: np.ndarray) -> str:
        return ''


class RunLog(NoLog):
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
      last_compilation: Seconds of the compilation of the previous session, if there was one.
    """

    def __init__(self, workdir: str, first_step: int, metadata: RunMetadata | None = None):
        self._metadata, self._path = metadata, os.path.join(workdir, FILE)
        self.samples = os.path.join(workdir, 'samples')
        self.last_compilation = metadata and metadata.last_compilation
        kept = [record for record in read_scalars(workdir) if record['step'] <= first_step]
        with atomic_write(self._path) as partial, open(partial, 'w') as file:
            file.writelines(json.dumps(record) + '\n' for record in kept)
        events = os.path.join(workdir, 'tensorboard')
        self._tensorboard = SummaryWriter(events, purge_step=first_step + 1)

    def __exit__(self, *exception) -> None:
        self._tensorboard.close()

    def compiled(self, seconds: float) -> None:
        """Record how long the first step took, compilation included."""
        if self._metadata is not None:
            self._metadata.compiled(seconds)

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
        speed, share = self._steps * batch_size / seconds, self.waited / seconds
        return {'images_per_second': speed, 'share_of_time_waiting_for_data': share}


def progress_fields(values: dict[str, float]) -> dict[str, str]:
    """The fields of the progress bar: the speed and the losses of a record."""
    fields = {}
    if 'images_per_second' in values:
        fields['images/s'] = f'{values["images_per_second"]:.3g}'
        fields['waiting'] = f'{values["share_of_time_waiting_for_data"]:.0%}'
    losses = [name for name in values if name[1:2] == '_' and not name.endswith(_DIAGNOSTICS)]
    return fields | {name: f'{values[name]:.3g}' for name in losses}


def read_scalars(workdir: str) -> list[dict[str, float]]:
    """The records of a run in order, without a last line that a crash truncated."""
    path = os.path.join(workdir, FILE)
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return [json.loads(line) for line in file if line.endswith('}\n')]
