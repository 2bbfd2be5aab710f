"""Losses that are no numbers any more: what is said of them, and how a run goes round them."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from spade_jax.config.config import Config

MOST_ROLLBACKS = 3  # without a new checkpoint


def check_finite(
    step: int,
    records: Sequence[Mapping[str, float]],
    values: Mapping[str, float],
    newest: int | None,
    locations: Callable[[int], Sequence[str]],
) -> None:
    """Raises FloatingPointError when a metric is NaN or infinite: nothing good comes after it.

    Args:
      step: the last one done.
      records: the metrics of the steps since the last check, that of `step` the last.
      values: what is recorded of them: their averages, and norms of the weights after `step`.
      newest: step of the newest checkpoint.
      locations: the examples in the batch of a step.
    """
    if not _broken(values):
        return
    steps = range(step - len(records) + 1, step + 1)
    step, values = next(
        ((number, record) for number, record in zip(steps, records) if _broken(record)),
        (step, values),
    )
    rest = {
        name: value
        for name, value in values.items()
        if name.startswith(('g_', 'd_')) and math.isfinite(value)
    }
    raise FloatingPointError(
        f'step {step}: {_listed(_broken(values))} is not finite ({_listed(rest)}); the batch: {", ".join(locations(step))}; the newest checkpoint is that of '
        f'step {newest}. A lower --learning_rate or --compute_dtype=float32, in a new --workdir, may help, or --on_nan=rollback, which goes on from the '
        'newest checkpoint with other data'
    )


def detoured(config: Config, detour: int) -> Config:
    """The Config of the data and the noise of a run that has gone back so many times: with a seed of its own."""
    if detour == 0:
        return config
    seed = (
        int(np.random.SeedSequence((config.run.seed, detour)).generate_state(1, np.uint32)[0]) >> 1
    )  # 31 bits: every generator of random numbers takes it
    return config.replace(seed=seed)


class Rollbacks:
    """Counts how often a run went back to its newest checkpoint.

    Attributes:
      detour: how often it did in all, over all its sessions: names the order of the data and the noise, see `detoured`.
    """

    def __init__(self, on_nan: str, detour: int):
        """on_nan: see `Config.on_nan`; detour: of the checkpoint that the session began with."""
        self.detour = detour
        self._on_nan, self._target, self._count = on_nan, None, 0

    def take(self, error: FloatingPointError, newest: int | None) -> None:
        """Counts one more, to the checkpoint of step `newest`. Raises `error` where the run is to stop, or went back there too often."""
        if self._on_nan != 'rollback':
            raise error
        self._target, self._count = newest, self._count + 1 if newest == self._target else 1
        if self._count > MOST_ROLLBACKS:
            raise FloatingPointError(
                f'{error}; given up after {MOST_ROLLBACKS} rollbacks without a new checkpoint'
            ) from error
        self.detour += 1
        print(
            f'\nwarning: {error}\nwarning: rollback to step {newest or 0}, detour {self.detour}: other data order and noise',
            file=sys.stderr,
            flush=True,
        )


def _broken(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isfinite(value)}


def _listed(values: Mapping[str, float]) -> str:
    return ', '.join(f'{name}={value:.4g}' for name, value in values.items())
