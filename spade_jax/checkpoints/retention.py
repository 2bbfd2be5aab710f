"""Which checkpoints of a run are kept."""

from collections.abc import Callable, Mapping


class Retention:
    """Tells Orbax which checkpoints to keep once a new one is complete."""

    def __init__(self, metrics_of: Callable[[int], dict[str, float]], keep: int, keep_best: str):
        self._metrics_of, self._keep, self._keep_best = metrics_of, keep, keep_best

    def should_preserve(self, checkpoints, *, context):
        del context
        steps = [info.step for info in checkpoints]
        metrics = {step: self._metrics_of(step) if self._keep_best else {} for step in steps}
        kept = kept_steps(metrics, self._keep, self._keep_best)
        return [step in kept for step in steps]


def kept_steps(
    metrics: Mapping[int, Mapping[str, float]], keep: int, keep_best: str = ''
) -> set[int]:
    """The newest `keep` steps, and the one with the lowest `keep_best`, the older one of equals."""
    kept = set(sorted(metrics)[-keep:])
    ranked = [(values[keep_best], step) for step, values in metrics.items() if keep_best in values]
    return kept | ({min(ranked)[1]} if ranked else set())
