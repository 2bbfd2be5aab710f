"""Which checkpoints of a run are kept."""

from collections.abc import Callable, Iterable, Mapping


class Retention:
    """Tells Orbax which checkpoints to keep once a new one is complete.

    Attributes:
      keep_all: Keep all of them.
    """

    def __init__(self, metrics_of: Callable[[int], dict[str, float]], keep: int, keep_best: str):
        self._metrics_of, self._keep, self._keep_best = metrics_of, keep, keep_best
        self.keep_all = False

    def should_preserve(self, checkpoints, *, context):
        del context
        steps = [info.step for info in checkpoints]
        kept = steps if self.keep_all else self.kept(steps)
        return [step in kept for step in steps]

    def kept(self, steps: Iterable[int]) -> set[int]:
        """Those of the steps whose checkpoints are kept."""
        metrics = {step: self._metrics_of(step) if self._keep_best else {} for step in steps}
        return kept_steps(metrics, self._keep, self._keep_best)


def kept_steps(
    metrics: Mapping[int, Mapping[str, float]], keep: int, keep_best: str = ''
) -> set[int]:
    """The newest `keep` steps, and the one with the lowest `keep_best`, the older one of equals."""
    kept = set(sorted(metrics)[-keep:])
    ranked = [(values[keep_best], step) for step, values in metrics.items() if keep_best in values]
    return kept | ({min(ranked)[1]} if ranked else set())
