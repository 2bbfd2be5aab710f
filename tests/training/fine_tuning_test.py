import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.checkpoints.checksums import named_leaves
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.train_state import init_train_state
from spade_jax.training.fine_tuning import from_run, networks_of, transplanted
from spade_jax.training.resume import initial_state
from tests.fixtures.small import SMALL

OPTIONS = {name: value for name, value in SMALL.items() if name != 'num_classes'}


def networks(**shapes):
    """{'generator': ...} with arrays of these shapes, each full of its index."""
    params = {
        name: np.full(shape, index, np.float32)
        for index, (name, shape) in enumerate(shapes.items())
    }
    return {'generator': {'params': params}}


def test_arrays_of_same_path_and_shape_are_taken():
    ours = networks(a=(2, 3), b=(4,), c=(5,))
    new, report = transplanted(ours, networks(d=(1,), a=(2, 3), b=(3,)))
    params = new['generator']['params']
    np.testing.assert_array_equal(params['a'], np.full((2, 3), 1))
    np.testing.assert_array_equal(params['b'], np.full(4, 1))
    np.testing.assert_array_equal(params['c'], np.full(5, 2))
    assert report[0].split() == ['generator', '1', 'of', '3', 'arrays', 'taken']
    assert report[1:] == [
        '    initialized: generator/params/b: shape (4,), there (3,)',
        '    initialized: generator/params/c: not there',
        '    not used: generator/params/d (1,)',
    ]


def test_transplanting_does_not_change_its_input():
    ours = networks(a=(2, 3))
    transplanted(ours, networks(z=(1,), a=(2, 3)))
    np.testing.assert_array_equal(ours['generator']['params']['a'], np.zeros((2, 3)))


def test_long_report_is_cut():
    ours = networks(a=(1,), **{f'n{i}': (1,) for i in range(30)})
    _, report = transplanted(ours, networks(a=(1,)))
    assert 'and 10 more' in report[-1]


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """A run with three classes that was saved at step 7, and its state."""
    workdir = tmp_path_factory.mktemp('other')
    config = Config.create(**OPTIONS, num_classes=3, seed=8)
    state = init_train_state(config).replace(step=np.asarray(7, np.int32))
    with Checkpointer(str(workdir)) as checkpointer:
        checkpointer.save(state, config, 12)
    return workdir, state


def test_run_with_other_classes_starts_with_what_fits(other, tmp_path, capsys):
    workdir, theirs = other
    config = Config.create(**OPTIONS, num_classes=5, seed=1, init_from=str(workdir))
    with Checkpointer(str(tmp_path)) as checkpointer:
        initial = initial_state(checkpointer, config, str(tmp_path))
    assert initial.step == 0
    states = (initial.state, theirs, init_train_state(config))
    ours, old, new = (named_leaves(state.networks) for state in states)
    fitting = [path for path in ours if path in old and old[path].shape == ours[path].shape]
    assert 0 < len(fitting) < len(ours)
    for path in ours:
        expected = old if path in fitting else new
        np.testing.assert_array_equal(ours[path], expected[path], err_msg=path)
    assert not any(map(np.any, named_leaves(initial.state.optimizers).values()))
    out = capsys.readouterr().out
    assert f'From init_from={workdir}:' in out
    assert ', there (3, 3, 3, 4)' in out


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match='nowhere: no such directory'):
        networks_of(str(tmp_path / 'nowhere'))


def test_directory_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match='has no checkpoint'):
        networks_of(str(tmp_path))


def test_run_that_fits_nowhere_is_refused(other, monkeypatch):
    config = Config.create(**OPTIONS, num_classes=3, init_from=str(other[0]))
    monkeypatch.setattr(
        'spade_jax.training.fine_tuning.networks_of', lambda workdir: networks(z=(1,))
    )
    with pytest.raises(UserError, match='none of its arrays has the name and shape'):
        from_run(init_train_state(config), config)
