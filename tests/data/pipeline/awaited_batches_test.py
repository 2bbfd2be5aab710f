import itertools
import threading
import time

import pytest

from spade_jax.data.pipeline.awaited_batches import AwaitedBatches
from spade_jax.errors import UserError


def closing_iterator(items, closed):
    try:
        yield from items
    finally:
        closed.append(True)


def test_the_batches_in_their_order_to_the_end():
    closed = []
    batches = AwaitedBatches(closing_iterator(range(50), closed), timeout=5)
    assert list(batches) == list(range(50)) and list(batches) == []
    batches.close()


def test_what_is_raised_comes_in_its_place():
    def broken():
        yield 1
        raise UserError('2.png: unreadable')

    batches = AwaitedBatches(broken(), timeout=5)
    assert next(batches) == 1
    for _ in range(2):
        with pytest.raises(UserError, match='2.png: unreadable'):
            next(batches)
    batches.close()


def test_a_source_that_hangs_is_said_to():
    release, closed = threading.Event(), []

    def hanging():
        yield 1
        release.wait(20)
        yield 2

    batches = AwaitedBatches(hanging(), timeout=0.2)
    assert next(batches) == 1
    with pytest.raises(
        UserError,
        match='no batch of training examples within 0.2 seconds: the data source hangs; .*--data_timeout',
    ):
        next(batches)
    release.set()
    assert next(batches) == 2  # it came back
    batches.close()


def test_zero_waits_forever():
    def slow():
        time.sleep(0.3)
        yield 1

    batches = AwaitedBatches(slow(), timeout=0)
    assert next(batches) == 1
    batches.close()


def test_closing_closes_the_source_and_draws_no_more():
    closed, drawn = [], []
    batches = AwaitedBatches(
        closing_iterator((drawn.append(i) or i for i in itertools.count()), closed), timeout=5
    )
    assert next(batches) == 0
    batches.close()
    assert closed == [True] and len(drawn) <= 4
