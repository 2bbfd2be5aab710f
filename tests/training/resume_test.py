"""Beginnings of a session, with a state of a few numbers."""

import os
import pathlib

import jax
import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.training.resume import resume
from tests.checkpoints.checkpointer_test import (
    CONFIG,
    emptied,
    files_of,
    flipped,
    removed,
    save,
    truncated,
)
from tests.training.tiny_state import tiny_state

HARMS = [truncated, emptied, removed, flipped]


def array_file(workdir, step, item='drawing'):
    """The file of a checkpoint with the arrays of an item."""
    return max(
        (path for path in files_of(workdir, step) if item in path.parts),
        key=lambda path: path.stat().st_size,
    )


def resumed(workdir, config=CONFIG):
    with Checkpointer(workdir) as checkpoints:
        return resume(checkpoints, config, str(workdir), like=tiny_state(0))


def assert_state_of(start, step):
    assert start.step == step
    jax.tree.map(np.testing.assert_array_equal, start.state, tiny_state(step))


def test_the_newest_where_it_is_whole(tmp_path, capfd):
    save(tmp_path, 4, 8)
    start = resumed(tmp_path)
    assert_state_of(start, 8)
    assert (start.resumed, start.num_examples, start.detour) == (True, 12, 0)
    assert all(
        isinstance(leaf, (np.ndarray, np.generic)) for leaf in jax.tree.leaves(start.state)
    )  # on the host, where it takes no memory of a device
    assert not capfd.readouterr().err and not (tmp_path / 'checkpoints' / 'damaged').exists()


@pytest.mark.parametrize('harm', HARMS)
@pytest.mark.parametrize('item', ['drawing', 'rest', 'run'])
def test_a_damaged_one_is_named_moved_aside_and_passed_over(tmp_path, capfd, harm, item):
    save(tmp_path, 4, 8)
    harm(array_file(tmp_path, 8, item))
    assert_state_of(resumed(tmp_path), 4)
    lines = capfd.readouterr().err.splitlines()
    moved = tmp_path / 'checkpoints' / 'damaged' / '8'
    assert (
        len(lines) == 2
        and 'checkpoints/8' in lines[0]
        and item in lines[0]
        and lines[0].endswith(f'moved to {moved}')
    )
    assert 'going on from the checkpoint of step 4' in lines[1]
    assert (moved / 'run').is_dir() or item == 'run'
    assert_state_of(resumed(tmp_path), 4)  # once and for all
    assert not capfd.readouterr().err
    save(tmp_path, 8)
    assert_state_of(resumed(tmp_path), 8)


def test_several_damaged_ones(tmp_path, capfd):
    save(tmp_path, 4, 8, 12)
    for step in (8, 12):
        flipped(array_file(tmp_path, step))
    assert_state_of(resumed(tmp_path), 4)
    assert sorted(os.listdir(tmp_path / 'checkpoints' / 'damaged')) == ['12', '8']


def test_where_all_are_damaged_nothing_is_changed(tmp_path):
    save(tmp_path, 4, 8)
    for step in (4, 8):
        truncated(array_file(tmp_path, step))
    before = sorted(map(str, pathlib.Path(tmp_path).rglob('*')))
    with pytest.raises(
        UserError,
        match='all checkpoints are damaged: .*checkpoints/8.*checkpoints/4.*another --workdir',
    ) as raised:
        resumed(tmp_path)
    assert '\n' not in str(raised.value)
    assert sorted(map(str, pathlib.Path(tmp_path).rglob('*'))) == before


def test_another_configuration_is_no_damage(tmp_path):
    save(tmp_path, 4)
    with pytest.raises(UserError, match='run of another configuration .*seed: 5 -> 6'):
        resumed(tmp_path, Config.create(seed=6))
    assert not (tmp_path / 'checkpoints' / 'damaged').exists()
