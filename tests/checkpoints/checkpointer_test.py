"""Checkpointer of a state of a few numbers: what is saved comes back, or is said to be damaged."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from spade_jax.checkpoints import checksums
from spade_jax.checkpoints.checkpointer import Checkpointer, NullCheckpointer
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.checkpoints.record import CheckpointRecord
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from tests.training.tiny_state import tiny_state

CONFIG = Config.create(seed=5)


def save(workdir, *steps, metrics=None, **options):
    with Checkpointer(workdir, **options) as checkpoints:
        for step in steps:
            checkpoints.save(tiny_state(step), CONFIG, 12, metrics=(metrics or {}).get(step))


def steps_in(workdir):
    with Checkpointer(workdir, read_only=True) as checkpoints:
        return checkpoints.steps()


def assert_same(state, expected):
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, state, expected)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """A work directory with checkpoints of the steps 4 and 8."""
    workdir = tmp_path_factory.mktemp('two')
    save(workdir, 4, 8)
    return workdir


def test_what_was_saved_comes_back(two):
    with Checkpointer(two, read_only=True) as checkpoints:
        assert checkpoints.steps() == [4, 8] and checkpoints.latest_step() == 8
        assert_same(checkpoints.restore(8, like=tiny_state(0)), tiny_state(8))
        like = {'generator': tiny_state(0).generator, 'encoder': None, 'average': None}
        assert_same(checkpoints.restore_drawing(4, like=like)['generator'], tiny_state(4).generator)
        record = checkpoints.record(8)
        assert (record.config, record.num_examples, record.detour, record.metrics) == (
            CONFIG,
            12,
            0,
            {},
        )
        assert (
            'generator/params/layer/kernel' in record.checksums['drawing']
            and 'step' in record.checksums['rest']
        )


def test_a_state_of_other_arrays_is_no_damage(two):
    other = tiny_state(0).replace(average={'generator': {'params': np.zeros(3)}})
    with (
        Checkpointer(two, read_only=True) as checkpoints,
        pytest.raises(
            UserError, match='not hold the state of this version .*average/generator/params'
        ) as raised,
    ):
        checkpoints.restore(8, like=other)
    assert not isinstance(raised.value, CorruptCheckpoint)


def test_detour_and_metrics_come_back(tmp_path):
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.save(tiny_state(3), CONFIG, None, metrics={'g_gan': 0.1}, detour=2)
        checkpoints.finish()
        record = checkpoints.record(3)
        assert (record.num_examples, record.detour, record.metrics) == (None, 2, {'g_gan': 0.1})


def test_what_is_not_finite_is_refused_alike_by_the_process_that_saves_and_by_those_that_do_not(
    tmp_path,
):
    state = tiny_state(4)
    state.generator_optimizer['moment']['layer']['bias'][3] = np.inf
    with Checkpointer(tmp_path) as checkpoints:
        for saver in (checkpoints, NullCheckpointer()):
            saver.save(
                tiny_state(3 if saver is checkpoints else 4), CONFIG, 12, metrics={}, detour=0
            )
            with pytest.raises(
                FloatingPointError,
                match='step 4: 1 arrays of the state .rest/generator_optimizer/moment/layer/bias, .* not saved',
            ):
                saver.save(state, CONFIG, 12, metrics={}, detour=0)
    assert steps_in(tmp_path) == [3]


@pytest.mark.parametrize(
    'change',
    [
        lambda fields: fields | {'novelty': 1},
        lambda fields: {name: fields[name] for name in fields if name != 'detour'},
    ],
)
def test_the_record_of_another_version_is_no_damage(change):
    fields = CheckpointRecord(CONFIG, 12).to_json()['record']
    with pytest.raises(
        UserError,
        match='place is a record of another version of the program .(novelty|detour).; use the version that wrote it',
    ) as raised:
        CheckpointRecord.from_json(checksums.with_checksum(change(fields)), 'place')
    assert not isinstance(raised.value, CorruptCheckpoint)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b'')


def removed(path):
    path.unlink()


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files_of(workdir, step):
    directory = pathlib.Path(workdir) / 'checkpoints' / str(step)
    return [path for path in sorted(directory.rglob('*')) if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize('harm', [truncated, emptied, removed, flipped])
def test_damage_to_any_file_is_noticed(two, tmp_path, harm):
    names = [path.relative_to(two) for path in files_of(two, 8)]
    assert len(names) >= 8
    for number, name in enumerate(names):
        workdir = tmp_path / str(number)
        shutil.copytree(two, workdir)
        harm(workdir / name)
        with Checkpointer(workdir, read_only=True) as checkpoints:
            assert checkpoints.steps() == [4, 8]
            with pytest.raises(CorruptCheckpoint, match='checkpoints/8') as raised:
                checkpoints.restore(8, like=tiny_state(0))
            assert '\n' not in str(raised.value)
            assert_same(checkpoints.restore(4, like=tiny_state(0)), tiny_state(4))


@pytest.mark.parametrize('harm', [truncated, emptied, removed, flipped])
def test_without_its_manifest_no_damage_gives_wrong_weights(two, tmp_path, harm):
    """As after a kill between a save and its manifest."""
    for number, name in enumerate(path.relative_to(two) for path in files_of(two, 8)):
        workdir = tmp_path / str(number)
        shutil.copytree(two, workdir)
        harm(workdir / name)
        (workdir / 'checkpoints' / 'files' / '8.json').unlink()
        with Checkpointer(workdir, read_only=True) as checkpoints:
            try:
                state, record = checkpoints.restore(8, like=tiny_state(0)), checkpoints.record(8)
            except CorruptCheckpoint as error:
                assert 'checkpoints/8' in str(error) and '\n' not in str(error)
            else:  # it concerns nothing that is read
                assert (two / name).stat().st_size <= 5000
                assert_same(state, tiny_state(8))
                assert (record.config, record.num_examples) == (CONFIG, 12)


@pytest.mark.parametrize('harm', [truncated, emptied, flipped])
def test_a_damaged_manifest_is_noticed(two, tmp_path, harm):
    shutil.copytree(two, tmp_path / 'run')
    harm(tmp_path / 'run' / 'checkpoints' / 'files' / '8.json')
    with (
        Checkpointer(tmp_path / 'run', read_only=True) as checkpoints,
        pytest.raises(CorruptCheckpoint, match='files/8.json'),
    ):
        checkpoints.restore(8, like=tiny_state(0))


def test_drawing_minds_no_damage_to_what_it_does_not_read(two, tmp_path):
    shutil.copytree(two, tmp_path / 'run')
    largest = max(
        files_of(tmp_path / 'run', 8), key=lambda path: path.stat().st_size * ('rest' in path.parts)
    )
    flipped(largest)
    like = {'generator': tiny_state(0).generator, 'encoder': None, 'average': None}
    with Checkpointer(tmp_path / 'run', read_only=True) as checkpoints:
        assert_same(checkpoints.restore_drawing(8, like=like)['generator'], tiny_state(8).generator)
        with pytest.raises(CorruptCheckpoint):
            checkpoints.restore(8, like=tiny_state(0))


def test_manifests_go_with_their_checkpoints(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert sorted(os.listdir(tmp_path / 'checkpoints' / 'files')) == ['3.json', '4.json']
    with Checkpointer(tmp_path) as checkpoints:
        checkpoints.move_aside(4)
    assert sorted(os.listdir(tmp_path / 'checkpoints' / 'files')) == ['3.json']


def test_a_changed_digit_in_the_configuration_is_noticed(two, tmp_path):
    shutil.copytree(two, tmp_path / 'run')
    (path,) = [
        path for path in files_of(tmp_path / 'run', 8) if b'"learning_rate"' in path.read_bytes()
    ]
    text = path.read_text()
    path.write_text(text.replace('"seed": 5', '"seed": 6').replace('"seed":5', '"seed":6'))
    assert path.read_text() != text
    json.loads(path.read_text())
    with (
        Checkpointer(tmp_path / 'run', read_only=True) as checkpoints,
        pytest.raises(CorruptCheckpoint, match='checkpoints/8/run: the record is not as saved'),
    ):
        checkpoints.record(8)


def test_the_array_with_other_bits_is_named(two, monkeypatch):
    with Checkpointer(two, read_only=True) as checkpoints:
        read = checkpoints._manager.restore

        def flip(step, args):
            items = read(step, args=args)
            if 'drawing' in items:
                kernel = items['drawing']['generator']['params']['layer']['kernel']
                items['drawing']['generator']['params']['layer']['kernel'] = kernel.at[1, 2].add(
                    1e-6
                )
            return items

        monkeypatch.setattr(checkpoints._manager, 'restore', flip)
        with pytest.raises(
            CorruptCheckpoint,
            match='checkpoints/8/drawing: generator/params/layer/kernel of 2 arrays',
        ):
            checkpoints.restore(8, like=tiny_state(0))


def test_damaged_ones_are_moved_aside(tmp_path):
    save(tmp_path, 4, 8)
    for expected in ('8', '8.2'):
        with Checkpointer(tmp_path) as checkpoints:
            assert checkpoints.move_aside(8) == str(tmp_path / 'checkpoints' / 'damaged' / expected)
            assert checkpoints.steps() == [4]
            checkpoints.save(tiny_state(8), CONFIG, 12)
        assert steps_in(tmp_path) == [4, 8]
    assert len(list((tmp_path / 'checkpoints' / 'damaged').iterdir())) == 2


def test_the_newest_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert steps_in(tmp_path) == [3, 4]


def test_the_best_is_kept_over_sessions(tmp_path):
    metrics = {
        1: {'g_gan': 2.0},
        2: {'g_gan': 1.0},
        3: {'g_gan': 3.0},
        4: {'g_gan': 4.0},
        5: {'g_gan': 0.5},
        6: {'g_gan': 0.6},
    }
    save(tmp_path, 1, 2, 3, metrics=metrics, keep=1, keep_best='g_gan')
    assert steps_in(tmp_path) == [2, 3]
    save(tmp_path, 4, metrics=metrics, keep=1, keep_best='g_gan')
    assert steps_in(tmp_path) == [2, 4]
    save(tmp_path, 5, 6, metrics=metrics, keep=1, keep_best='g_gan')
    assert steps_in(tmp_path) == [5, 6]


def test_steps_only_rise(tmp_path):
    save(tmp_path, 0, 4)
    for step in (3, 4):
        with pytest.raises(ValueError, match=f'step {step} is saved after step 4'):
            save(tmp_path, step)


def test_a_best_of_no_metric_is_said_once(tmp_path, capfd):
    save(
        tmp_path,
        1,
        2,
        metrics={1: {'g_gan': 2.0, 'd_real': 1.0}, 2: {'g_gan': 1.0}},
        keep_best='fid',
    )
    assert (
        capfd.readouterr().err
        == 'warning: keep_best=fid keeps nothing: there is no such metric; there are d_real, g_gan\n'
    )
    save(tmp_path, 3, metrics={3: {'g_gan': 2.0}}, keep_best='g_gan')
    assert not capfd.readouterr().err


def test_what_is_not_finite_is_not_saved(tmp_path):
    save(tmp_path, 4)
    state = tiny_state(8)
    state.discriminator['params']['layer']['kernel'][0, 0] = np.nan
    with Checkpointer(tmp_path) as checkpoints:
        with pytest.raises(
            FloatingPointError,
            match=r'step 8: 1 arrays .*rest/discriminator/params/layer/kernel.*newest checkpoint is that of step 4',
        ):
            checkpoints.save(state, CONFIG, 12)
    assert steps_in(tmp_path) == [4]


def test_a_full_disk_is_one_line_and_leaves_the_older_ones(tmp_path, monkeypatch):
    save(tmp_path, 4)
    with Checkpointer(tmp_path) as checkpoints:

        def full(*_, **__):
            raise OSError(errno.ENOSPC, 'No space left on device')

        checkpoints.save(tiny_state(8), CONFIG, 12)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints._manager, 'wait_until_finished', full)
            with pytest.raises(
                UserError,
                match=r'the checkpoint of step 8 .*\(No space left on device\); whole are those of 4; make room on the disk',
            ):
                checkpoints.save(tiny_state(12), CONFIG, 12)


LIMITED = """
import resource, signal, sys
import numpy as np
from spade_jax.config import Config
from spade_jax.errors import one_line_errors
from spade_jax.training.checkpoints import Checkpointer
from tests.training.tiny_state import tiny_state
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with one_line_errors(['test']), Checkpointer(sys.argv[1]) as checkpoints:
    checkpoints.save(tiny_state(4), Config(), 12)
    checkpoints.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    checkpoints.save(tiny_state(8, width=2000), Config(), 12)
"""


def test_a_disk_that_is_really_full(tmp_path):
    """A limit on the size of files: the asynchronous save fails, and the program says so at its end."""
    result = subprocess.run(
        [sys.executable, '-c', LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert (
        'the checkpoint of step 8 cannot be written' in line
        and '(File too large); whole are those of 4; make room' in line
        and 'Traceback' not in result.stderr
    )
    assert steps_in(tmp_path) == [4]
    with Checkpointer(tmp_path) as checkpoints:
        assert_same(checkpoints.restore(4, like=tiny_state(0)), tiny_state(4))
        checkpoints.save(tiny_state(8), CONFIG, 12)
    assert steps_in(tmp_path) == [4, 8]
    assert not [path for path in (tmp_path / 'checkpoints').iterdir() if 'tmp' in path.name]


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_directory_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match='cannot be used'):
            Checkpointer(tmp_path / 'run')
    finally:
        tmp_path.chmod(0o700)
