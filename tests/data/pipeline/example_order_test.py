"""The order of the examples as a function of seed, epoch and step."""

import pytest

from spade_jax.data.pipeline.example_order import (
    BatchSchedule,
    augmentation_words,
    example_index,
    steps_in_epochs,
)
from spade_jax.errors import UserError


def test_each_epoch_holds_every_example_once():
    epochs = [[example_index(3, 10 * epoch + place, 10) for place in range(10)] for epoch in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]


def test_seed_decides_order():
    orders = [[example_index(seed, position, 50) for position in range(50)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_order_never_changes():
    """A run of today may be resumed with the libraries of tomorrow."""
    order = [example_index(0, position, 8) for position in range(16)]
    assert order == [3, 2, 1, 6, 0, 7, 4, 5, 7, 6, 4, 5, 3, 1, 0, 2]


def test_augmentation_never_changes():
    assert augmentation_words(0, 5) == [
        13922735284947157694,
        16889280795795993641,
        15745945195472640438,
    ]


def test_example_index_accepts_positions_beyond_32_bits():
    assert 0 <= example_index(0, 5 * 10**12 + 1, 7) < 7


def test_single_process_reads_every_position():
    schedule = BatchSchedule(4, 0)
    assert [schedule.position(number) for number in range(12)] == list(range(12))


def test_processes_share_each_microbatch():
    """Batches of 8 in two microbatches of 4, of which each of two processes reads a half."""
    schedules = [BatchSchedule(8, 0, 2, process_index, 2) for process_index in range(2)]
    assert [[schedule.position(n) for n in range(8)] for schedule in schedules] == [
        [0, 1, 4, 5, 8, 9, 12, 13],
        [2, 3, 6, 7, 10, 11, 14, 15],
    ]


@pytest.mark.parametrize(
    'sizes, message',
    [
        (
            dict(process_count=3),
            'batch_size=4 does not divide among 3 processes x accumulation_steps=1; '
            'use a multiple of 3',
        ),
        (
            dict(process_count=2, num_microbatches=4),
            'batch_size=4 does not divide among 2 processes x accumulation_steps=4; '
            'use a multiple of 8',
        ),
    ],
)
def test_schedule_rejects_batch_that_does_not_divide(sizes, message):
    with pytest.raises(UserError) as error:
        BatchSchedule(4, 0, **sizes)
    assert str(error.value) == message


@pytest.mark.parametrize('epochs, steps', [(2, 5), (1, 3), (0, 0)])
def test_steps_in_epochs_rounds_up(epochs, steps):
    assert steps_in_epochs(epochs, batch_size=4, num_examples=10) == steps
