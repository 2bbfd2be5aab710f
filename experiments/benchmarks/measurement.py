"""Measure variants in turn: a round gives each of them one turn, in rotating order."""

import statistics
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from experiments.benchmarks.benchmark_tables import print_rows, size_title
from experiments.benchmarks.device_peaks import peak_flops
from experiments.benchmarks.model_flops import sampling_flops, spade_options, training_flops
from experiments.benchmarks.presets import PRECISIONS
from experiments.benchmarks.variant_worker import Variant, Worker, WorkerError
from spade_jax.config.config import Config

MODEL_FLOPS = {'train': training_flops, 'sampling': sampling_flops}


def sessions_of(group: list[Variant], size: int) -> list[list[Variant]]:
    """Divide a group into sessions of at most `size` variants; 0: a single session.

    The first variant is in every session, for comparison, if there is room for two.
    """
    if not 0 < size < len(group):
        return [group]
    if size == 1:
        return [[variant] for variant in group]
    starts = range(1, len(group), size - 1)
    return [group[:1] + group[first : first + size - 1] for first in starts]


class Session:
    """The variants whose processes run at the same time, and a row of figures for each of them.

    Attributes:
      rows: The figures by variant; 'error' says why one failed.
    """

    def __init__(self, variants: Sequence[Variant]):
        self._variants, self._workers = variants, []
        self.rows = {variant: description_of(variant) for variant in variants}
        self.title = size_title(self.rows[variants[0]])

    def measure(self, rounds: int) -> None:
        """Start the processes one after the other, take turns, and end them."""
        try:
            for variant in tqdm(self._variants, f'{self.title}: first steps', leave=False):
                worker = Worker(variant)
                self._workers.append(worker)
                self.rows[variant] |= self._request(worker, 'start') or {}
            for number in tqdm(range(rounds), f'{self.title}: rounds', leave=False):
                self._take_turns(number)
            for worker in list(self._workers):
                self.rows[worker.variant] |= self._request(worker, 'finish') or {}
        finally:
            for worker in self._workers:
                worker.close()

    def _take_turns(self, number: int) -> None:
        first = number % max(1, len(self._workers))
        # Rotated, so that no variant always follows the same one.
        for worker in self._workers[first:] + self._workers[:first]:
            if (seconds := self._request(worker, 'turn')) is not None:
                self.rows[worker.variant]['seconds'].append(seconds)

    def _request(self, worker: Worker, method: str) -> Any:
        """The answer of a worker; one that fails is closed and its error noted."""
        try:
            return worker.request(method)
        except WorkerError as error:
            self.rows[worker.variant]['error'] = str(error)
            self._workers.remove(worker)
            worker.close()
            return None


class Peaks:
    """The FLOP/s that devices reach at best.

    Attributes:
      measured: Those of this CPU by precision, from large matrix products; empty until asked for.
    """

    def __init__(self, config: Config, frameworks: list[str]):
        self._config, self._frameworks = config, frameworks
        self.measured: dict[str, float | None] = {}

    def of(self, device: str, precision: str) -> float | None:
        """The peak of a device: from the table, or of a CPU measured on the first call."""
        if device != 'cpu':
            return peak_flops(device, precision)
        if not self.measured:
            rates = [rate for rate in map(self._measure, self._frameworks) if rate]
            for name in PRECISIONS:
                self.measured[name] = max((rate[name] for rate in rates), default=None)
        return self.measured[precision]

    def _measure(self, framework: str) -> dict[str, float] | None:
        worker = Worker(Variant('matmul', framework, 'matrix product', self._config))
        try:
            return worker.request('start')
        except WorkerError:
            return None
        finally:
            worker.close()


def measure_session(variants: list[Variant], peaks: Peaks, rounds: int) -> list[dict[str, Any]]:
    """Measure variants in turn, and print and return their rows."""
    session = Session(variants)
    session.measure(rounds)
    for variant, row in session.rows.items():
        if 'error' not in row:
            row |= derived_figures(variant, row, peaks)
    rows = list(session.rows.values())
    print_rows(session.title, rows, rounds)
    return rows


def description_of(variant: Variant) -> dict[str, Any]:
    """The row of a variant before it is measured."""
    config = variant.config
    return {
        'part': variant.part,
        'variant': variant.name,
        'framework': variant.framework,
        'precision': variant.precision,
        'width': config.data.image_width,
        'height': config.data.image_height,
        'batch_size': config.optimizer.batch_size,
        'rematerialize': spade_options(config).rematerialize,
        'seconds': [],
    }


def derived_figures(variant: Variant, row: dict[str, Any], peaks: Peaks) -> dict[str, Any]:
    """The figures that follow from the seconds of the turns."""
    seconds, batch_size = row['seconds'], row['batch_size']
    median = statistics.median(seconds)
    figures = {
        'seconds_per_step': {'median': median, 'min': min(seconds), 'max': max(seconds)},
        'images_per_second': batch_size / median,
    }
    if variant.part not in MODEL_FLOPS:
        return figures
    flops = batch_size * MODEL_FLOPS[variant.part](variant.config)
    peak = peaks.of(row['device'], variant.precision)
    return figures | {
        'model_flops': flops,
        'model_flops_per_second': flops / median,
        'xla_flops_per_second': row['xla_flops'] and row['xla_flops'] / median,
        'mfu': peak and flops / median / peak,
    }
