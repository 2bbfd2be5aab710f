"""Which checkpoints of a run are kept."""

from __future__ import annotations

from collections.abc import Mapping


def kept_steps(metrics: Mapping[int, Mapping[str, float]], newest: int, best: str = '') -> set[int]:
    """The steps of the checkpoints that stay.

    Args:
      metrics: step -> the metrics that were saved with its checkpoint.
      newest: so many of the newest stay, whatever their metrics.
      best: name of the metric of which the checkpoint with the lowest value stays too, the older one of equals; '': none. Checkpointer without it do not take part.
    """
    kept = set(sorted(metrics)[-newest:])
    candidates = [step for step in sorted(metrics) if best in metrics[step]]
    return kept | ({min(candidates, key=lambda step: metrics[step][best])} if candidates else set())
