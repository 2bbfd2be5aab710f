"""Compute the scores of a comparison, print them with their protocols, and write them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from spade_jax.evaluation.comparison import Comparison, Result
from spade_jax.evaluation.scores import SCORES
from spade_jax.files.atomic_write import atomic_write

Results = Mapping[str, Result]


def prepare(comparison: Comparison) -> None:
    """Load what the scores need besides the images.

    Raises:
      UserError: Something is missing.
    """
    for name in comparison.names:
        SCORES[name].prepare(comparison)


def score_all(comparison: Comparison) -> dict[str, Result]:
    """The results of all scores of a comparison by name."""
    return {name: SCORES[name].compute(comparison) for name in comparison.names}


def finite_values(results: Results) -> dict[str, float]:
    """The scores by name, as a log holds them."""
    values = {name: result.value for name, result in results.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def table(results: Results) -> str:
    """A line for each score, with what it is, and one with its protocol."""
    lines = []
    for name, (value, deviation, protocol, _) in results.items():
        score = SCORES[name]
        spread = '' if deviation is None else f' +- {deviation:.4g}'
        lines.append(f'{name:<6} {value:.6g}{spread}  {score.help}; {score.is_better} is better')
        choices = (f'{key}={_short(choice)}' for key, choice in protocol.items())
        lines.append(7 * ' ' + ', '.join(choices))
    return '\n'.join(lines)


def write_json(results: Results, path: str, about: Mapping[str, Any]) -> None:
    """Write `about`, what was compared, and the scores with their protocols.

    Other scores that the file has of the same comparison stay in it.
    """
    about, earlier = json.loads(json.dumps(about)), _read_json(path)
    kept = earlier.pop('scores', {}) if isinstance(earlier, dict) else {}
    scores = {
        name: {'value': _json_number(value), 'deviation': deviation, 'protocol': protocol}
        for name, (value, deviation, protocol, _) in results.items()
    }
    with atomic_write(path) as unfinished, open(unfinished, 'w', encoding='utf-8') as file:
        all_scores = kept | scores if earlier == about else scores
        json.dump({**about, 'scores': all_scores}, file, indent=1)


def _read_json(path: str) -> Any:
    """The content of a file; None if it has none."""
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def _short(choice: Any) -> Any:
    return f'{choice:.4g}' if isinstance(choice, float) else choice


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no infinity.
