"""Checkpoints of a state of a few numbers: restore returns what was saved, or reports damage."""

import errno
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import types

import absl.logging
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from spade_jax.checkpoints import checksums, reading
from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer, split_items
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.checkpoints.metadata import CheckpointMetadata
from spade_jax.checkpoints.retention import kept_steps
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from tests.fixtures.tiny_state import tiny_state

CONFIG = Config.create(seed=5)
GENERATOR = {'networks': {'generator': tiny_state(0).networks['generator']}, 'ema': None}


def save(workdir, *steps, metrics=None, **options):
    with Checkpointer(workdir, **options) as checkpointer:
        for step in steps:
            checkpointer.save(tiny_state(step), CONFIG, 12, metrics=(metrics or {}).get(step))


def restore(checkpointer, step):
    return checkpointer.restore(step, tiny_state(0), CONFIG)


def steps_in(workdir):
    with Checkpointer(workdir, read_only=True) as checkpointer:
        return checkpointer.steps()


def assert_same(state, expected):
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, state, expected)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """A work directory with checkpoints of steps 4 and 8."""
    workdir = tmp_path_factory.mktemp('two')
    save(workdir, 4, 8)
    return workdir


@pytest.fixture
def copy(two, tmp_path):
    """A copy of `two` to damage."""
    return shutil.copytree(two, tmp_path / 'run')


def test_restore_returns_saved_state(two):
    with Checkpointer(two, read_only=True) as checkpointer:
        assert checkpointer.steps() == [4, 8]
        assert checkpointer.latest_step() == 8
        assert_same(restore(checkpointer, 8), tiny_state(8))


@pytest.mark.parametrize(
    'name', ['[v2]', 'a*?', '**', 'back\\slash', 'two\nlines', ' #%41é~', 'gs:', 'n\udce4me']
)
def test_checkpoints_are_read_again_at_any_path(tmp_path, name):
    workdir = tmp_path / name / 'run'
    workdir.mkdir(parents=True)
    save(workdir, 4, 8)
    with Checkpointer(workdir, read_only=True) as checkpointer:
        assert_same(restore(checkpointer, 4), tiny_state(4))
        assert_same(restore(checkpointer, 8), tiny_state(8))


def test_restore_generator_returns_sampling_networks(two):
    with Checkpointer(two, read_only=True) as checkpointer:
        item = checkpointer.restore_generator(4, GENERATOR)
    assert set(item['networks']) == {'generator'}
    assert_same(item['networks']['generator'], tiny_state(4).networks['generator'])


def test_metadata_returns_what_was_saved(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(tiny_state(3), CONFIG, None, metrics={'g_gan': 0.1})
        checkpointer.finish()
        metadata = checkpointer.metadata(3)
    assert metadata.config == CONFIG
    assert metadata.num_examples is None
    assert metadata.metrics == {'g_gan': 0.1}
    generator, optimization = metadata.checksums['generator'], metadata.checksums['optimization']
    assert 'networks/generator/params/layer/kernel' in generator
    assert {'step', 'networks/discriminator/params/layer/bias'} <= set(optimization)


def test_restore_rejects_mismatched_state(two):
    other = tiny_state(0).replace(ema={'generator': {'params': np.zeros(3)}})
    message = 'not hold the state of this version .*ema/generator/params'
    with Checkpointer(two, read_only=True) as checkpointer:
        with pytest.raises(UserError, match=message) as raised:
            checkpointer.restore(8, other, CONFIG)
    assert not isinstance(raised.value, CorruptCheckpoint)


def test_nonfinite_state_is_refused_alike_by_all_processes(tmp_path):
    state = tiny_state(4)
    state.optimizers['generator']['moment']['layer']['bias'][3] = np.inf
    message = 'step 4: 1 arrays of the state .optimizers/generator/moment/layer/bias, .* not saved'
    with Checkpointer(tmp_path) as checkpointer:
        for saver in (checkpointer, NullCheckpointer()):
            with pytest.raises(FloatingPointError, match=message):
                saver.save(state, CONFIG, 12, metrics={})
    assert steps_in(tmp_path) == []


def test_nonfinite_state_leaves_older_checkpoint(tmp_path):
    save(tmp_path, 4)
    state = tiny_state(8)
    state.networks['discriminator']['params']['layer']['kernel'][0, 0] = np.nan
    message = r'networks/discriminator/params/layer/kernel.*newest checkpoint is that of step 4'
    with Checkpointer(tmp_path) as checkpointer:
        with pytest.raises(FloatingPointError, match=message):
            checkpointer.save(state, CONFIG, 12)
    assert steps_in(tmp_path) == [4]


def add_field(record):
    return record | {'novelty': 1}


def drop_field(record):
    return {name: value for name, value in record.items() if name != 'metrics'}


@pytest.mark.parametrize('change, field', [(add_field, 'novelty'), (drop_field, 'metrics')])
def test_metadata_of_another_version_is_not_called_corrupt(change, field):
    record = CheckpointMetadata(CONFIG, 12).to_json()['record']
    message = f'place was written by another version .{field}.; use the version that wrote it'
    with pytest.raises(UserError, match=message) as raised:
        CheckpointMetadata.from_json(checksums.with_checksum(change(record)), 'place')
    assert not isinstance(raised.value, CorruptCheckpoint)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b'')


def remove(path):
    path.unlink()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files_of(workdir, step):
    directory = pathlib.Path(workdir) / 'checkpoints' / str(step)
    return [path for path in sorted(directory.rglob('*')) if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize('damage', [truncate, empty, remove, flip])
def test_damage_to_any_file_is_noticed_or_changes_nothing(two, tmp_path, damage):
    noticed = 0
    for number, path in enumerate(files_of(two, 8)):
        workdir, name = tmp_path / str(number), path.relative_to(two)
        shutil.copytree(two, workdir)
        damage(workdir / name)
        with Checkpointer(workdir, read_only=True) as checkpointer:
            assert checkpointer.steps() == [4, 8]
            try:
                state, metadata = restore(checkpointer, 8), checkpointer.metadata(8)
            except CorruptCheckpoint as error:
                noticed += 1
                assert 'checkpoints/8' in str(error)
                assert '\n' not in str(error)
            else:  # Nothing that is read depends on this file.
                assert path.stat().st_size <= 5000
                assert_same(state, tiny_state(8))
                assert (metadata.config, metadata.num_examples) == (CONFIG, 12)
            assert_same(restore(checkpointer, 4), tiny_state(4))
    assert noticed >= 3


def test_damage_to_optimization_does_not_affect_sampling(copy):
    files = [path for path in files_of(copy, 8) if 'optimization' in path.parts]
    flip(max(files, key=lambda path: path.stat().st_size))
    with Checkpointer(copy, read_only=True) as checkpointer:
        networks = checkpointer.restore_generator(8, GENERATOR)['networks']
        assert_same(networks['generator'], tiny_state(8).networks['generator'])
        with pytest.raises(CorruptCheckpoint):
            restore(checkpointer, 8)


def test_changed_digit_in_configuration_is_noticed(copy):
    files = [path for path in files_of(copy, 8) if b'"learning_rate"' in path.read_bytes()]
    (path,) = files
    text = path.read_text()
    path.write_text(text.replace('"seed": 5', '"seed": 6').replace('"seed":5', '"seed":6'))
    assert path.read_text() != text
    json.loads(path.read_text())
    message = 'checkpoints/8/metadata: the record is not as saved'
    with Checkpointer(copy, read_only=True) as checkpointer:
        with pytest.raises(CorruptCheckpoint, match=message):
            checkpointer.metadata(8)


def test_array_with_other_bits_is_named(two, monkeypatch):
    with Checkpointer(two, read_only=True) as checkpointer:
        read = checkpointer._manager.restore

        def add_little(step, args):
            items = read(step, args=args)
            if 'generator' in items:
                layer = items['generator']['networks']['generator']['params']['layer']
                layer['kernel'] = layer['kernel'].at[1, 2].add(1e-6)
            return items

        monkeypatch.setattr(checkpointer._manager, 'restore', add_little)
        message = '8/generator: networks/generator/params/layer/kernel of 2 arrays'
        with pytest.raises(CorruptCheckpoint, match=message):
            restore(checkpointer, 8)


def test_corrupt_checkpoints_are_moved_aside_and_kept(tmp_path):
    save(tmp_path, 4, 8)
    corrupt = tmp_path / 'checkpoints' / 'corrupt'
    for expected in ('8', '8.2'):
        with Checkpointer(tmp_path) as checkpointer:
            assert checkpointer.move_aside(8) == str(corrupt / expected)
            assert checkpointer.steps() == [4]
            checkpointer.save(tiny_state(8), CONFIG, 12)
        assert steps_in(tmp_path) == [4, 8]
    assert len(list(corrupt.iterdir())) == 2


def test_newest_checkpoints_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert steps_in(tmp_path) == [3, 4]


def test_best_checkpoint_is_kept_over_sessions(tmp_path):
    values = {1: 2.0, 2: 1.0, 3: 3.0, 4: 4.0, 5: 0.5, 6: 0.6}
    metrics = {step: {'g_gan': value} for step, value in values.items()}
    options = dict(metrics=metrics, keep=1, keep_best='g_gan')
    save(tmp_path, 1, 2, 3, **options)
    assert steps_in(tmp_path) == [2, 3]
    save(tmp_path, 4, **options)
    assert steps_in(tmp_path) == [2, 4]
    save(tmp_path, 5, 6, **options)
    assert steps_in(tmp_path) == [5, 6]


@pytest.mark.parametrize(
    'keep, best, expected',
    [
        (2, '', {16, 20}),
        (9, '', {4, 8, 12, 16, 20}),
        (1, 'g_gan', {8, 20}),  # The older one of equals.
        (1, 'd_real', {20}),
    ],
)
def test_kept_steps_by_hand(keep, best, expected):
    values = {4: 3.0, 8: 1.0, 16: 2.0, 20: 1.0}
    metrics = {12: {}} | {step: {'g_gan': value} for step, value in values.items()}
    assert kept_steps(metrics, keep, best) == expected


def test_kept_steps_of_nothing():
    assert kept_steps({}, 1, 'g_gan') == set()


@pytest.mark.parametrize('step', [3, 4])
def test_save_rejects_steps_that_do_not_rise(tmp_path, step):
    save(tmp_path, 0, 4)
    with pytest.raises(ValueError, match=f'step {step} is saved after step 4'):
        save(tmp_path, step)


def test_unknown_metric_of_keep_best_is_reported_once(tmp_path, capfd):
    metrics = {1: {'g_gan': 2.0, 'd_real': 1.0}, 2: {'g_gan': 1.0}}
    save(tmp_path, 1, 2, metrics=metrics, keep_best='fid')
    warning = 'warning: keep_best=fid keeps nothing: there is no such metric; there are d_real, '
    assert capfd.readouterr().err == f'{warning}g_gan\n'
    save(tmp_path, 3, metrics={3: {'g_gan': 2.0}}, keep_best='g_gan')
    assert not capfd.readouterr().err


def test_full_disk_is_one_line_and_leaves_older_checkpoints(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    save(tmp_path, 4)
    message = r'step 8 .*\(No space left on device\); intact are those of 4; make room on the disk'
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(tiny_state(8), CONFIG, 12)
        with monkeypatch.context() as patch:
            patch.setattr(checkpointer._manager, 'wait_until_finished', full)
            with pytest.raises(UserError, match=message):
                checkpointer.save(tiny_state(12), CONFIG, 12)


LIMITED = """
import resource, signal, sys
from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.errors import one_line_errors
from tests.fixtures.tiny_state import tiny_state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
config = Config.create()
with one_line_errors(['test']), Checkpointer(sys.argv[1]) as checkpointer:
    checkpointer.save(tiny_state(4), config, 12)
    checkpointer.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    checkpointer.save(tiny_state(8, width=2000), config, 12)
"""


def test_failing_asynchronous_save_is_reported_at_the_end(tmp_path):
    """A limit on the size of files stands in for a full disk."""
    result = subprocess.run(
        [sys.executable, '-c', LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert 'the checkpoint of step 8 cannot be written' in line
    assert '(File too large); intact are those of 4; make room' in line
    assert 'Traceback' not in result.stderr
    assert steps_in(tmp_path) == [4]


@pytest.mark.parametrize('text', ['Event loop is closed', 'Encountered error while reading array'])
def test_accesses_that_end_after_the_error_are_not_reported(tmp_path, text, monkeypatch):
    monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)  # Restored afterwards.
    save(tmp_path, 4)
    (tmp_path / 'checkpoints' / '4' / 'metadata' / 'metadata').unlink()
    with Checkpointer(tmp_path, read_only=True) as checkpointer, pytest.raises(CorruptCheckpoint):
        checkpointer.metadata(4)
    late = types.SimpleNamespace(exc_value=RuntimeError(text))
    sys.unraisablehook(late)  # The hook of Python refuses this argument.


def test_other_programs_log_as_before(tmp_path, caplog):
    def state():
        loggers = [logging.getLogger(name) for name in ('absl', 'asyncio', 'orbax')]
        return [(x.level, list(x.filters)) for x in loggers], sys.unraisablehook

    before = state()
    with Checkpointer(tmp_path):
        absl.logging.error('of the host')
    assert state() == before
    assert [record.getMessage() for record in caplog.records] == ['of the host']


def test_next_session_cleans_up_after_failed_save(tmp_path):
    save(tmp_path, 4)
    (tmp_path / 'checkpoints' / '8.orbax-checkpoint-tmp').mkdir()
    with Checkpointer(tmp_path) as checkpointer:
        assert_same(restore(checkpointer, 4), tiny_state(4))
        checkpointer.save(tiny_state(8), CONFIG, 12)
    assert steps_in(tmp_path) == [4, 8]
    assert not [path for path in (tmp_path / 'checkpoints').iterdir() if 'tmp' in path.name]


def test_first_save_of_a_session_is_read_back(tmp_path, monkeypatch):
    save(tmp_path, 4)
    message = 'the checkpoint of step 8 was written but not as saved: .*checkpoints/8.*another disk'
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        finish, damaged = checkpointer._manager.wait_until_finished, []

        def finish_and_damage():
            finish()
            if not damaged:  # A second flip would mend it.
                # Which of the files of arrays are in use depends on how the writing went.
                damaged.extend(path for path in files_of(tmp_path, 8) if path.parent.name == 'd')
                for path in damaged:
                    flip(path)

        monkeypatch.setattr(checkpointer._manager, 'wait_until_finished', finish_and_damage)
        checkpointer.save(tiny_state(8), CONFIG, 12)
        with pytest.raises(UserError, match=message):
            checkpointer.finish_first()
    assert damaged and steps_in(tmp_path) == [4, 8]


@pytest.mark.parametrize('group_bytes, groups', [(1, 7), (20_000, 2), (2**30, 1)])
def test_read_back_reads_few_arrays_at_a_time(two, monkeypatch, group_bytes, groups):
    monkeypatch.setattr(reading, 'GROUP_BYTES', group_bytes)
    item = split_items(tiny_state(8), ('generator',))['optimization']
    path = two / 'checkpoints' / '8' / 'optimization'
    found = [*reading.arrays_on_disk(str(path), item, ocp.options.MultiprocessingOptions())]
    assert len(found) == groups
    assert_same({k: v for arrays in found for k, v in arrays.items()}, checksums.named_leaves(item))


TENSORSTORE = 'Error opening "zarr" driver: Error reading "/run/manifest.ocdbt" [OS error'


@pytest.mark.parametrize(
    'error, remedy',
    [
        (
            ValueError(f'PERMISSION_DENIED: {TENSORSTORE} 13: EACCES Permission denied]'),
            'fix the per',
        ),
        (
            ValueError(f'RESOURCE_EXHAUSTED: {TENSORSTORE} 24: EMFILE]'),
            'raise the limit on open fi',
        ),
        (ValueError('UNAVAILABLE: the file server does not answer'), 'fix it'),
        (OSError(errno.EIO, 'Input/output error', 'manifest'), 'check the disk'),
        (OSError(errno.ELOOP, 'Too many levels of symbolic links'), 'fix the symbolic links'),
        (NotADirectoryError(errno.ENOTDIR, 'Not a directory'), 'move the file away'),
        (RuntimeError("can't start new thread"), 'fix it'),
    ],
)
def test_file_that_cannot_be_read_now_is_not_called_corrupt(two, monkeypatch, error, remedy):
    def fail(*_, **__):
        raise error

    with Checkpointer(two, read_only=True) as checkpointer:
        monkeypatch.setattr(checkpointer._manager, 'restore', fail)
        with pytest.raises(
            UserError, match=f'checkpoints/8: metadata cannot .*; {remedy}'
        ) as raised:
            restore(checkpointer, 8)
    assert not isinstance(raised.value, CorruptCheckpoint)


def test_file_that_may_not_be_seen_is_not_called_missing(copy):
    directory = copy / 'checkpoints' / '8' / 'generator'
    directory.rename(copy / 'elsewhere')
    directory.symlink_to(directory)
    with Checkpointer(copy, read_only=True) as checkpointer:
        with pytest.raises(UserError, match='fix the symbolic links') as raised:
            restore(checkpointer, 8)
    assert not isinstance(raised.value, CorruptCheckpoint)


def test_copy_of_a_checkpoint_under_another_step_is_named(copy):
    shutil.copytree(copy / 'checkpoints' / '8', copy / 'checkpoints' / '12')
    message = 'checkpoints/12 is the checkpoint of step 8 under another name; move it out of'
    with Checkpointer(copy, read_only=True) as checkpointer:
        with pytest.raises(UserError, match=message):
            restore(checkpointer, 12)


@pytest.mark.parametrize('name', ['best', '8.bak', 'step_8', '08'])
def test_renamed_checkpoint_is_named_in_a_warning(copy, capfd, name):
    (copy / 'checkpoints' / '8').rename(copy / 'checkpoints' / name)
    with Checkpointer(copy) as checkpointer:
        assert checkpointer.steps() == [4]
    path = copy / 'checkpoints' / name
    expected = f'warning: {path} is left out, since its name is not the number of a step; rename'
    assert capfd.readouterr().err.startswith(expected)


def test_file_in_place_of_a_checkpoint_is_refused(copy):
    (copy / 'checkpoints' / '12').write_text('')
    with pytest.raises(UserError, match='checkpoints/12 is a file; .*; move it away'):
        Checkpointer(copy)


def test_directory_that_disappears_is_one_line_and_does_not_wait(tmp_path):
    message = r'step 4 cannot be written .*\(Not a directory\); there is none before; move the file'
    with Checkpointer(tmp_path) as checkpointer:
        (tmp_path / 'checkpoints').rmdir()
        (tmp_path / 'checkpoints').write_text('')
        with pytest.raises(UserError, match=message):
            checkpointer.save(tiny_state(4), CONFIG, 12)
            checkpointer.finish_first()


def test_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'checkpoints').write_text('')
    with pytest.raises(UserError, match='checkpoints cannot be used .File exists.; make it a'):
        Checkpointer(tmp_path / 'run')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_unwritable_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match='cannot be used'):
            Checkpointer(tmp_path / 'run')
    finally:
        tmp_path.chmod(0o700)
