"""A run whose losses are not finite stops with an error that says what happened."""

import math
from collections.abc import Callable, Mapping, Sequence


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
    if not _not_finite(values):
        return
    steps = range(step - len(records) + 1, step + 1)
    for number, record in zip(steps, records, strict=True):
        if _not_finite(record):
            step, values = number, record
            break
    finite = {
        name: value
        for name, value in values.items()
        if name.startswith(('g_', 'd_')) and math.isfinite(value)
    }
    raise FloatingPointError(
        f'step {step}: {_listed(_not_finite(values))} is not finite ({_listed(finite)}); '
        f'the batch: {", ".join(locations(step))}; the newest checkpoint is that of step {newest}. '
        'Try a lower --learning_rate or --compute_dtype=float32 in a new --workdir, with '
        '--init_from to start from the weights of this run'
    )


def _not_finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not math.isfinite(value)}


def _listed(values: Mapping[str, float]) -> str:
    return ', '.join(f'{name}={value:.4g}' for name, value in values.items())
