import threading

import pytest

from spade_jax.training import progress as module
from spade_jax.training.progress import StepProgress


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, 'monotonic', clock)
    return clock


def started(clock, first_step):
    progress = StepProgress(first_step, first_step + 100)
    progress._time, progress.mininterval, progress.miniters = clock, 0.5, 1
    progress.start_t = progress.last_print_t = clock.now
    return progress


def do_step(progress, clock, program, seconds):
    with progress.compiling(program, 'Compiling') as is_first_call:
        clock.now += seconds
    progress.count(was_first_call=is_first_call)


@pytest.mark.parametrize('first_step', [0, 50])
def test_first_call_of_each_program_is_in_no_rate(clock, first_step):
    with started(clock, first_step) as progress:
        do_step(progress, clock, 'both', 100)
        assert progress.n == first_step + 1
        do_step(progress, clock, 'discriminator', 60)
        for step in range(8):
            do_step(progress, clock, ('both', 'discriminator')[step % 2], 2)
        assert progress.n == first_step + 10
        assert progress.format_dict['rate'] == pytest.approx(1 / 2)
        assert progress.format_dict['elapsed'] == pytest.approx(16)
        assert '[00:16<03:00' in str(progress)


def test_compilation_is_announced_once(clock, capsys):
    with started(clock, 0) as progress:
        for seconds in (100, 2, 2):
            do_step(progress, clock, 'both', seconds)
    assert capsys.readouterr().out.splitlines() == ['Compiling ...']


def test_compilation_is_reported_until_it_ends(monkeypatch):
    lines, reported = [], threading.Semaphore(0)

    def tell(progress, line):
        lines.append(line)
        reported.release()

    monkeypatch.setattr(StepProgress, 'tell', tell)
    monkeypatch.setattr(module, 'INTERVAL', 0.001)
    with StepProgress(0, 100) as progress, progress.compiling('both', 'Compiling'):
        for _ in range(3):
            assert reported.acquire(timeout=10)
    assert lines[:3] == ['Compiling ...', 'Compiling: 0 s', 'Compiling: 0 s']
    assert not any(thread.name == 'report' for thread in threading.enumerate())
