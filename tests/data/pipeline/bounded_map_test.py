import concurrent.futures
import time

import pytest

from spade_jax.data.pipeline.bounded_map import bounded_map


def test_results_come_in_order_and_not_too_far_ahead():
    started = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = bounded_map(
            pool, lambda number: started.append(number) or number, range(50), ahead=4
        )
        assert [next(results) for _ in range(3)] == [0, 1, 2] and len(started) <= 6
        assert list(results) == list(range(3, 50))


def test_an_error_stops_the_work():
    def fail_at_three(number):
        started.append(number)
        time.sleep(0.01)
        if number == 3:
            raise ValueError('three')

    started = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match='three'):
        list(bounded_map(pool, fail_at_three, range(1000), ahead=8))
    assert len(started) < 20
