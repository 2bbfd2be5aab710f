import pathlib

import jax
import jax.numpy as jnp
import pytest

from spade_jax.errors import UserError
from spade_jax.training.profiling import StepProfiler


def traces(workdir):
    return list((pathlib.Path(workdir) / 'profile').rglob('perfetto_trace.json.gz'))


@jax.jit
def double(state):
    return 2 * state, {'norm': jnp.sum(state)}


@pytest.fixture
def started(monkeypatch):
    """The steps at which traces were started and stopped."""
    calls = []
    monkeypatch.setattr(jax.profiler, 'start_trace', lambda directory, **_: calls.append('start'))
    monkeypatch.setattr(jax.profiler, 'stop_trace', lambda: calls.append('stop'))
    return calls


def test_trace_of_steps_is_written(tmp_path, capsys):
    with StepProfiler(tmp_path, '2-3', 0, 4) as profiler:
        state = jnp.ones(3)
        for step in range(1, 5):
            assert len(traces(tmp_path)) == (step > 3)
            state, metrics = profiler.run(step, double, state)
    assert state.tolist() == [16, 16, 16]
    assert metrics['norm'] == 24
    assert traces(tmp_path)[0].stat().st_size > 0
    assert 'Trace of the steps 2 to 3' in capsys.readouterr().out


@pytest.mark.parametrize(
    'steps, first_step, last_step, expected',
    [
        ('2-3', 0, 9, [2, 3]),
        ('2-3', 2, 9, [3]),
        ('2-3', 3, 9, []),
        ('2-99', 7, 9, [8, 9]),
        ('', 0, 9, []),
    ],
)
def test_only_chosen_steps_are_recorded(steps, first_step, last_step, expected, started, tmp_path):
    recorded = []
    with StepProfiler(tmp_path, steps, first_step, last_step) as profiler:

        def train_step(step):
            recorded.extend([step] if started[-1:] == ['start'] else [])
            return None, {}

        for step in range(first_step + 1, last_step + 1):
            profiler.run(step, train_step, step)
    assert recorded == expected
    assert started == (['start', 'stop'] if expected else [])


def test_failing_run_keeps_its_trace(started, tmp_path):
    def fails():
        raise FloatingPointError('NaN')

    with pytest.raises(FloatingPointError), StepProfiler(tmp_path, '1-9', 0, 9) as profiler:
        profiler.run(1, fails)
    assert started == ['start', 'stop']


def test_range_after_last_step_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match='profile_steps=10-12 begins after the last step of the run, 9; use a range up to 9',
    ):
        StepProfiler(tmp_path, '10-12', 0, 9)
