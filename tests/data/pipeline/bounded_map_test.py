"""Order, bound and errors of the parallel map."""

import concurrent.futures
import threading

import pytest

from spade_jax.data.pipeline.bounded_map import bounded_map


def test_results_come_in_order_and_not_too_far_ahead():
    started = []

    def identity(number):
        started.append(number)
        return number

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = bounded_map(pool, identity, range(50), ahead=4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        assert len(started) <= 6
        assert list(results) == list(range(3, 50))


def test_error_stops_the_work():
    started, failed = [], threading.Event()

    def fail_at_three(number):
        started.append(number)
        if number > 3:
            failed.wait(5)
        if number == 3:
            raise ValueError('three')

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with pytest.raises(ValueError, match='three'):
            list(bounded_map(pool, fail_at_three, range(1000), ahead=8))
        failed.set()
    assert len(started) < 20
