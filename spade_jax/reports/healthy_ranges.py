"""What the records of a healthy run look like; docs/losses.md says where the numbers come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ENOUGH = 5  # records; a run that has just begun is not judged


class Healthy(NamedTuple):
    """A range, and what it means to be below or above it for long; an empty text where that is no fault."""

    low: float
    high: float
    below: str
    above: str


_DISCRIMINATOR_WINS = 'the discriminator tells real from fake without effort, and teaches little'
_DISCRIMINATOR_LOSES = 'the discriminator is fooled or does not learn'
_OF_HINGE = {
    'd_fake': Healthy(0.2, 1.1, _DISCRIMINATOR_WINS, _DISCRIMINATOR_LOSES),
    'd_real': Healthy(0.2, 1.1, _DISCRIMINATOR_WINS, _DISCRIMINATOR_LOSES),
    'd_logits_fake': Healthy(
        -1.0, 1.0, _DISCRIMINATOR_WINS, 'the discriminator takes generated pictures for real ones'
    ),
    'd_logits_real': Healthy(
        -1.0, 1.0, 'the discriminator takes real pictures for generated ones', _DISCRIMINATOR_WINS
    ),
    'g_gan': Healthy(
        -0.5, 1.2, 'the generator fools the discriminator with ease', _DISCRIMINATOR_WINS
    ),
}
_OF_ALL = {
    'share_of_time_waiting_for_data': Healthy(
        0.0, 0.1, '', 'the devices wait for pictures: prepare records, or raise --data_workers'
    )
}


def healthy_ranges(gan_loss: str) -> dict[str, Healthy]:
    """The ranges by metric. Of the adversarial losses only the hinge has some: the others have been run too little here."""
    return _OF_ALL | (_OF_HINGE if gan_loss == 'hinge' else {})


def remarks(values: dict[str, Sequence[float]], gan_loss: str) -> list[str]:
    """What is out of its range at the end of a run, in sentences.

    Args:
      values: finite values of each metric in order.
    """
    found = []
    for name, healthy in healthy_ranges(gan_loss).items():
        recorded = values.get(name, ())
        if len(recorded) < ENOUGH:
            continue
        latest = recorded[-max(ENOUGH, len(recorded) // 10) :]
        mean = sum(latest) / len(latest)
        meaning = (
            healthy.below if mean < healthy.low else healthy.above if mean > healthy.high else ''
        )
        if meaning:
            found.append(
                f'{name} is {mean:.3g} of late, where {healthy.low:g} to {healthy.high:g} is healthy: {meaning}.'
            )
    return found
