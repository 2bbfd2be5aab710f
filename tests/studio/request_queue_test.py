"""Whose turn it is: the newest job of a page, pages in turn, ranks in order."""

import threading

import pytest

from spade_jax.studio.request_queue import Rank, RequestQueue

IMAGE, PREPARATION, VARIATIONS = Rank


class Queue(RequestQueue):
    """A queue whose jobs note their names; `run()` lets it do those that wait."""

    def __init__(self):
        self.now, self.done = 0.0, []
        super().__init__(patience=2.0, clock=lambda: self.now)

    def note(self, page, rank=IMAGE, name=None):
        return self.put(page, rank, lambda: self.done.append(name or page))

    def run(self):
        finished = threading.Event()
        self.now += 1e-3
        self.put(finished, VARIATIONS, finished.set)
        self.start(lambda: None)
        assert finished.wait(10)
        self.stop(10)
        return self.done


def test_newest_job_of_a_page_replaces_the_older():
    queue = Queue()
    for name in ('old', 'newer', 'newest'):
        queue.note('page', name=name)
    assert queue.run() == ['newest']


def test_pages_take_turns_in_the_order_of_their_first_job():
    queue = Queue()
    for name in ('a', 'b', 'c', 'a', 'b', 'a'):
        queue.note(name)
    assert queue.run() == ['a', 'b', 'c']


def test_page_that_had_its_turn_waits_for_all_others():
    queue = Queue()
    queue.put('a', IMAGE, lambda: (queue.done.append('a'), queue.note('a')))
    queue.note('b')
    queue.note('c')
    assert queue.run() == ['a', 'b', 'c', 'a']


def test_lower_ranks_wait_for_images():
    queue = Queue()
    queue.note('a', VARIATIONS, 'variations')
    queue.note('a', PREPARATION, 'preparation')
    queue.note('b', IMAGE, 'image')
    assert queue.run() == ['image', 'preparation', 'variations']


def test_job_that_waited_too_long_goes_first():
    queue = Queue()
    queue.note('a', VARIATIONS, 'variations')
    queue.now = 3.0
    queue.note('b')
    assert queue.run() == ['variations', 'b']


def test_number_of_pages_before_is_told():
    queue = Queue()
    assert [queue.note(page) for page in ('a', 'b', 'c', 'a', 'b')] == [0, 1, 2, 0, 1]


def test_running_image_of_another_page_is_before():
    queue, before = Queue(), []
    queue.put('a', IMAGE, lambda: before.extend([queue.note('b'), queue.note('a')]))
    queue.run()
    assert before == [1, 1]


def test_dropped_page_has_no_turn():
    queue = Queue()
    queue.note('a')
    queue.note('a', VARIATIONS)
    queue.note('b')
    queue.drop('a')
    assert queue.run() == ['b']


def test_failing_job_does_not_end_the_thread(caplog):
    queue = Queue()
    queue.put('a', IMAGE, lambda: 1 / 0)
    queue.note('b')
    assert queue.run() == ['b']
    assert 'a job of the studio failed' in caplog.text


def test_submitted_function_returns_its_result_or_raises():
    queue = Queue()
    good, bad = queue.submit(divmod, 7, 2), queue.submit(divmod, 7, 0)
    queue.run()
    assert good.result(0) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        bad.result(0)


def test_stopped_queue_takes_no_job():
    queue = Queue()
    queue.note('a')
    queue.stop()
    queue.note('b')
    queue.start(lambda: None)
    queue.stop(10)
    assert not queue.done
