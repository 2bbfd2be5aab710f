"""Means of metrics over steps, norms of weights, and the end of a run that diverges."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import optax

from spade_jax.models.train_state import TrainState

_global_norm = jax.jit(optax.tree.norm)


def weight_norms(state: TrainState) -> dict[str, float]:
    """Euclidean norm of the parameters of each network; NaN if one of them is."""
    return {
        f'{name}_weight_norm': float(_global_norm(variables['params']))
        for name, variables in state.networks.items()
        if 'params' in variables
    }


def mean_metrics(records: Sequence[dict[str, jax.Array]]) -> dict[str, float]:
    """Mean of each metric over the steps that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {
        name: float(np.mean([record[name] for record in records if name in record]))
        for name in names
    }


def check_finite(
    step: int,
    records: Sequence[Mapping[str, float]],
    values: Mapping[str, float],
    newest: int | None,
    locations: Callable[[int], list[str]],
) -> None:
    """Raises FloatingPointError when a metric of the last steps is not finite.

    Args:
      step: The last step.
      records: The metrics of the steps since the last check; the last ones are those of `step`.
      values: What is logged of them: their means, and the weight norms after `step`.
      newest: Step of the newest checkpoint.
      locations: The examples in the batch of a step.
    """
    if all(map(math.isfinite, values.values())):
        return
    numbered = zip(range(step - len(records) + 1, step + 1), records, strict=True)
    diverged = ((i, record) for i, record in numbered if not np.isfinite([*record.values()]).all())
    step, values = next(diverged, (step, values))
    finite, broken = [], []
    for name, value in values.items():
        if not math.isfinite(value):
            broken.append(f'{name}={value:.4g}')
        elif name.startswith(('g_', 'd_')):
            finite.append(f'{name}={value:.4g}')
    raise FloatingPointError(
        f'step {step}: {", ".join(broken)} is not finite ({", ".join(finite)}); '
        f'the batch: {", ".join(locations(step))}; the newest checkpoint is that of step {newest}. '
        'Try a lower --learning_rate or --compute_dtype=float32 in a new --workdir, with '
        '--init_from to start from the weights of this run'
    )
