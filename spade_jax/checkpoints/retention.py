"""Which checkpoints of a run are kept."""

from collections.abc import Callable, Iterable, Mapping


class Retention:
    """Tells Orbax which checkpoints to keep once a new one is complete.

    Attributes:
      keep_all: Keep all of them.
    """

    def __init__(
        self,
        metrics_of: Callable[[int], dict[str, float]],
        choose: Callable[[dict[int, dict[str, float]]], set[int]],
    ):
        self._metrics_of, self._choose = metrics_of, choose
        self.keep_all = False

    def should_preserve(self, checkpoints, *, context):
        del context
        steps = [info.step for info in checkpoints]
        kept = steps if self.keep_all else self.kept(steps)
        return [step in kept for step in steps]

    def kept(self, steps: Iterable[int]) -> set[int]:
        """Those of the steps whose checkpoints are kept."""
        return self._choose({step: self._metrics_of(step) for step in steps})


def kept_steps(
    metrics: Mapping[int, Mapping[str, float]],
    keep: int,
    keep_best: str = '',
    is_higher_better: bool = False,
) -> set[int]:
    """The newest `keep` steps, and the one with the best `keep_best`, the older one of equals."""
    kept, sign = set(sorted(metrics)[-keep:]), -1 if is_higher_better else 1
    ranked = [
        (sign * values[keep_best], step) for step, values in metrics.items() if keep_best in values
    ]
    return kept | ({min(ranked)[1]} if ranked else set())
