"""The log of a run: scalars as JSON lines and for TensorBoard, and sample grids."""

import contextlib
import json
import operator
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.image_grid import write_png
from spade_jax.files.writable import check_writable
from spade_jax.reports import run_metadata
from spade_jax.reports.run_metadata import RunMetadata, is_count, is_number

FILE, REPORT = 'metrics.jsonl', 'report.html'
SAMPLES, EVENTS = 'samples', 'tensorboard'
# Metrics of an update that are no losses; the progress bar leaves them out.
_DIAGNOSTICS = ('_gradient_norm', '_logits_fake', '_logits_real')

Listener = Callable[[int, dict[str, float]], object]  # Gets the step and the metrics of a record.


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
      listener: Called with step and metrics of each record, if given.

    Attributes:
      samples: Directory of the sample grids.
      last_compilation: Seconds of the compilation of the previous session, if there was one.
    """

    def __init__(
        self,
        workdir: str,
        first_step: int,
        metadata: RunMetadata | None = None,
        listener: Listener | None = None,
    ):
        self._metadata, self._path = metadata, os.path.join(workdir, FILE)
        self._listener = listener
        self.samples = os.path.join(workdir, SAMPLES)
        self.last_compilation = metadata and metadata.last_compilation
        kept = [record for record in read_scalars(workdir) if record['step'] <= first_step]
        with atomic_write(self._path) as partial, open(partial, 'w') as file:
            file.writelines(json.dumps(record) + '\n' for record in kept)
        events = os.path.join(workdir, EVENTS)
        os.makedirs(events, exist_ok=True)
        # Not SummaryWriter: when its thread fails, for a full disk, the program waits for ever.
        self._events = EventsWriter(os.path.join(events, 'events'))
        # TensorBoard forgets what an earlier session recorded of the steps to come.
        self._add_event(first_step + 1, session_log=SessionLog(status=SessionLog.START))

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(OSError):  # Each event is flushed, so this says nothing new.
            self._events.close()

    def compiled(self, seconds: float) -> None:
        """Record how long the first step took, compilation included."""
        if self._metadata is not None:
            self._metadata.compiled(seconds)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record the metrics of a step."""
        record = {'step': step} | {name: float(value) for name, value in values.items()}
        with open(self._path, 'a') as file:
            file.write(json.dumps(record) + '\n')
        scalars = [Summary.Value(tag=name, simple_value=record[name]) for name in values]
        self._add_event(step, summary=Summary(value=scalars))
        if self._metadata is not None:
            self._metadata.reached(step)
        if self._listener is not None:
            self._listener(step, dict(values))

    def grid(self, step: int, image: np.ndarray) -> str:
        """Record a sample grid [H, W, 3] uint8; return the path of its PNG file."""
        path = os.path.join(self.samples, f'step_{step:07d}.png')
        write_png(path, image)
        self._add_event(step, summary=summary.image('samples', image, dataformats='HWC'))
        return path

    def _add_event(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **content))
        self._events.flush()


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
    """The records of a run by their steps, without a last line that a crash truncated.

    Other lines that are no records are left out, with a warning.
    """
    path = os.path.join(workdir, FILE)
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8', errors='replace', newline='\n') as file:
        lines = [*file]
    if lines and not lines[-1].endswith('}\n'):
        lines.pop()
    records = [_record(line) for line in lines]
    if broken := [str(number) for number, record in enumerate(records, 1) if record is None]:
        places = ', '.join(broken[:5]) + ', ...' * (len(broken) > 5)
        print(f'warning: {path}: no record, left out: line {places}', file=sys.stderr)
    return sorted(filter(None, records), key=operator.itemgetter('step'))


def append_scores(workdir: str, step: int, scores: dict[str, float]) -> None:
    """Add a record to the log of a run, also while another process trains it."""
    with open(os.path.join(workdir, FILE), 'a') as file:
        file.write(json.dumps({'step': step} | scores) + '\n')


def _record(line: str) -> dict[str, float] | None:
    """The record of a line; None if it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not is_count(record.get('step')):
        return None
    return record if all(map(is_number, record.values())) else None


def check_log_is_writable(workdir: str) -> None:
    """Raises UserError if the log or the report cannot be written; creates the directories."""
    files = (FILE, run_metadata.FILE, REPORT)
    paths = (
        [os.path.join(workdir, name) for name in names] for names in ((EVENTS, SAMPLES), files)
    )
    check_writable(*paths)
