"""Where a session starts, with a state of a few numbers."""

import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.checkpoints.metadata import CheckpointMetadata
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.training import resume as module
from spade_jax.training.resume import check_same_examples, resume, saved_config
from tests.checkpoints.checkpointer_test import (
    CONFIG,
    empty,
    files_of,
    flip,
    remove,
    save,
    truncate,
)
from tests.fixtures.tiny_state import tiny_state


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(module, 'abstract_train_state', lambda config: tiny_state(0))


def largest_file(workdir, step, item='generator'):
    """The file with the arrays of an item of a checkpoint."""
    files = [path for path in files_of(workdir, step) if item in path.parts]
    return max(files, key=lambda path: path.stat().st_size)


def resumed(workdir, config=CONFIG):
    with Checkpointer(str(workdir)) as checkpointer:
        return resume(checkpointer, config, str(workdir))


def assert_state_of(initial, step):
    assert initial.step == step
    jax.tree.map(np.testing.assert_array_equal, initial.state, tiny_state(step))


def test_newest_intact_checkpoint_is_resumed(tmp_path, capfd):
    save(tmp_path, 4, 8)
    initial = resumed(tmp_path)
    assert_state_of(initial, 8)
    assert initial.num_examples == 12
    assert not capfd.readouterr().err
    assert not (tmp_path / 'checkpoints' / 'corrupt').exists()


def test_resumed_state_is_on_the_host(tmp_path):
    save(tmp_path, 4)
    leaves = jax.tree.leaves(resumed(tmp_path).state)
    assert all(isinstance(leaf, (np.ndarray, np.generic)) for leaf in leaves)


@pytest.mark.parametrize('damage', [truncate, empty, remove, flip])
@pytest.mark.parametrize('item', ['generator', 'optimization', 'metadata'])
def test_corrupt_checkpoint_is_moved_aside_with_a_warning(tmp_path, capfd, damage, item):
    save(tmp_path, 4, 8)
    damage(largest_file(tmp_path, 8, item))
    assert_state_of(resumed(tmp_path), 4)
    first, second = capfd.readouterr().err.splitlines()
    assert 'checkpoints/8' in first
    assert item in first
    assert first.endswith(f'moved to {tmp_path / "checkpoints" / "corrupt" / "8"}')
    assert 'resuming from step 4' in second
    assert_state_of(resumed(tmp_path), 4)
    assert not capfd.readouterr().err
    save(tmp_path, 8)
    assert_state_of(resumed(tmp_path), 8)


def test_several_corrupt_checkpoints_are_passed_over(tmp_path):
    save(tmp_path, 4, 8, 12)
    for step in (8, 12):
        flip(largest_file(tmp_path, step))
    assert_state_of(resumed(tmp_path), 4)
    assert sorted(os.listdir(tmp_path / 'checkpoints' / 'corrupt')) == ['12', '8']


def test_nothing_is_changed_if_all_checkpoints_are_corrupt(tmp_path):
    save(tmp_path, 4, 8)
    for step in (4, 8):
        truncate(largest_file(tmp_path, step))
    before = sorted(map(str, pathlib.Path(tmp_path).rglob('*')))
    message = 'all checkpoints are corrupt: .*checkpoints/8.*checkpoints/4.*another --workdir'
    with pytest.raises(UserError, match=message) as raised:
        resumed(tmp_path)
    assert '\n' not in str(raised.value)
    assert sorted(map(str, pathlib.Path(tmp_path).rglob('*'))) == before


def test_checkpoint_that_cannot_be_read_now_is_not_moved(tmp_path):
    save(tmp_path, 4, 8)
    directory = tmp_path / 'checkpoints' / '8' / 'optimization'
    directory.rename(tmp_path / 'elsewhere')
    directory.symlink_to(directory)
    before = sorted(map(str, tmp_path.rglob('*')))
    with pytest.raises(UserError, match='checkpoints/8: .* cannot be read .*; fix the symbolic'):
        resumed(tmp_path)
    assert sorted(map(str, tmp_path.rglob('*'))) == before


def test_copy_of_a_checkpoint_under_another_step_is_named(tmp_path):
    save(tmp_path, 4)
    shutil.copytree(tmp_path / 'checkpoints' / '4', tmp_path / 'checkpoints' / '8')
    with pytest.raises(UserError, match='checkpoints/8 is the checkpoint of step 4 under another'):
        resumed(tmp_path)
    assert not (tmp_path / 'checkpoints' / 'corrupt').exists()


def test_another_configuration_is_refused_and_not_called_corrupt(tmp_path):
    save(tmp_path, 4)
    with pytest.raises(UserError, match='run of another configuration .*seed: 5 -> 6'):
        resumed(tmp_path, Config.create(seed=6))
    assert not (tmp_path / 'checkpoints' / 'corrupt').exists()


def test_changed_number_of_examples_is_refused_with_the_command_of_a_new_run(tmp_path):
    save(tmp_path, 4)
    initial = resumed(tmp_path)
    check_same_examples(initial, 12, 'w')
    check_same_examples(initial._replace(num_examples=None), 5, 'w')
    message = 'w holds a run over 12 training examples, now there are 5; .* --init_from='
    with pytest.raises(UserError, match=message):
        check_same_examples(initial, 5, 'w')


@pytest.mark.parametrize(
    'saved, given, step, allowed',
    [
        (dict(constant_epochs=1), dict(constant_epochs=3), 3, True),
        (dict(constant_epochs=3), dict(constant_epochs=1), 3, True),
        (dict(constant_epochs=3), dict(constant_epochs=1), 8, False),
        (dict(constant_epochs=1), dict(decay_epochs=4), 3, True),
        (dict(constant_epochs=1, decay_epochs=4), dict(constant_epochs=2), 6, True),
        (dict(constant_epochs=1, decay_epochs=4), dict(constant_epochs=2), 7, False),
        (dict(constant_epochs=1, decay_epochs=4), dict(decay_epochs=8), 7, False),
        (dict(), dict(learning_rate=0.1), 3, False),
        (dict(), dict(learning_rate=0.1, batch_size=2), 0, True),
    ],
)
def test_option_may_change_if_the_past_stays(saved, given, step, allowed):
    """Of 12 examples, 4 a step: the second epoch begins after step 3, the third after step 6."""
    config = Config.create(**{'batch_size': 4, **saved})
    metadata = CheckpointMetadata(config, 12)
    found = module._conflicts_at(step, metadata, config.replace(**given), tiny_state(0))
    assert (not found) == allowed, found


def test_saved_configuration_is_that_of_the_newest_readable_metadata(tmp_path):
    assert saved_config(str(tmp_path), '') is None
    save(tmp_path, 4, 8)
    truncate(largest_file(tmp_path, 8, 'metadata'))
    assert saved_config(str(tmp_path), 'unused') == CONFIG
    truncate(largest_file(tmp_path, 4, 'metadata'))
    with pytest.raises(UserError, match='all checkpoints are corrupt'):
        saved_config(str(tmp_path), '')


def test_saved_configuration_of_a_new_run_is_that_of_init_from(tmp_path):
    save(tmp_path / 'other', 4)
    assert saved_config(str(tmp_path / 'new'), str(tmp_path / 'other')) == CONFIG
    with pytest.raises(UserError, match='init_from=nowhere: no such directory'):
        saved_config(str(tmp_path / 'new'), 'nowhere')
