"""Which checkpoints of a run are kept."""

from collections.abc import Callable, Mapping


class Retention:
    """Tells Orbax which checkpoints to keep once a new one is complete."""

    def __init__(self, metrics_of: Callable[[int], dict[str, float]], keep: int, keep_best: str):
        self._metrics_of, self._keep, self._keep_best = metrics_of, keep, keep_best

    def should_preserve(self, checkpoints, *, context):
        del context
        metrics_of = self._metrics_of if self._keep_best else lambda step: {}
        metrics = {info.step: metrics_of(info.step) for info in checkpoints}
        kept = kept_steps(metrics, self._keep, self._keep_best)
        return [info.step in kept for info in checkpoints]


def kept_steps(
    metrics: Mapping[int, Mapping[str, float]], keep: int, keep_best: str = ''
) -> set[int]:
    """The steps whose checkpoints are kept: the newest `keep`, and the best one.

    Args:
      metrics: Step -> the metrics that were saved with its checkpoint.
      keep: Number of the newest.
      keep_best: Metric whose lowest value is kept (the older one of equals); '': none.
    """
    kept = set(sorted(metrics)[-keep:])
    ranked = [(values[keep_best], step) for step, values in metrics.items() if keep_best in values]
    return kept | ({min(ranked)[1]} if ranked else set())
