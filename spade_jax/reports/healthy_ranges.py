"""Ranges of the metrics of a healthy run; the documentation of the losses derives them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ENOUGH_RECORDS = 5  # A run that has just begun is not judged.


class HealthyRange(NamedTuple):
    """The range of a metric, and what is wrong when it stays below or above; '' if nothing is."""

    low: float
    high: float
    below: str
    above: str


_WINS = 'the discriminator tells real from fake without effort, and teaches little'
_LOSES = 'the discriminator is fooled or does not learn'
_FOOLED = 'the discriminator takes fake images for real ones'
_SUSPICIOUS = 'the discriminator takes real images for fake ones'
_HINGE_RANGES = {
    'd_fake': HealthyRange(0.2, 1.1, _WINS, _LOSES),
    'd_real': HealthyRange(0.2, 1.1, _WINS, _LOSES),
    'd_logits_fake': HealthyRange(-1.0, 1.0, _WINS, _FOOLED),
    'd_logits_real': HealthyRange(-1.0, 1.0, _SUSPICIOUS, _WINS),
    'g_gan': HealthyRange(-0.5, 1.2, 'the generator fools the discriminator easily', _WINS),
}
_DATA_REMEDY = 'the devices wait for data: prepare records, or raise --data_workers'
_SHARED_RANGES = {'share_of_time_waiting_for_data': HealthyRange(0.0, 0.1, '', _DATA_REMEDY)}


def healthy_ranges(gan_loss: str) -> dict[str, HealthyRange]:
    """The ranges by metric; of the adversarial losses only the hinge loss has any."""
    return _SHARED_RANGES | (_HINGE_RANGES if gan_loss == 'hinge' else {})


def remarks(values: Mapping[str, Sequence[float]], gan_loss: str) -> list[str]:
    """One sentence for each metric whose last values are outside of its range; all are finite."""
    found = []
    for name, (low, high, below, above) in healthy_ranges(gan_loss).items():
        recorded = values.get(name, ())
        if len(recorded) < ENOUGH_RECORDS:
            continue
        mean = statistics.fmean(recorded[-max(ENOUGH_RECORDS, len(recorded) // 10) :])
        if meaning := below if mean < low else above if mean > high else '':
            bounds = f'{low:g} to {high:g}'
            found.append(f'{name} is {mean:.3g} of late; {bounds} is healthy: {meaning}.')
    return found
