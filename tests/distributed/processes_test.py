"""Several processes on one machine, from the command line: the same update, the same checkpoints, and no one waits for the dead."""

import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.distributed import processes, replicas
from spade_jax.errors import UserError
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import init_train_state
from spade_jax.reports.run_log import read_scalars
from tests import program

CONFIG = dict(num_classes=3, learning_rate=1e-4)
NUM_STEPS = 8


@pytest.fixture(scope='module')
def flags(tmp_path_factory):
    folders = program.write_folders(tmp_path_factory.mktemp('data'))
    given = [
        f'--{name}' if value is True else f'--{name}={value}' for name, value in CONFIG.items()
    ]
    return [
        '--dataset=folders',
        f'--data_dir={folders}',
        *program.SMALL,
        *given,
        '--log_every=1',
        '--checkpoint_every=2',
        '--sample_every=4',
        f'--max_steps={NUM_STEPS}',
    ]


@pytest.fixture(scope='module')
def alone(flags, tmp_path_factory):
    """The work directory of one process with four devices."""
    workdir = tmp_path_factory.mktemp('runs') / 'alone'
    result = program.run(f'--workdir={workdir}', *flags, num_devices=4)
    assert result.returncode == 0, result.stderr
    return workdir


def free_address():
    """Where a first process can listen."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return f'127.0.0.1:{listener.getsockname()[1]}'


class Pair:
    """Two processes with two devices each."""

    def __init__(self, directory, *flags):
        self.logs = [directory / f'process_{i}.txt' for i in range(2)]
        together = ['--num_processes=2', f'--coordinator_address={free_address()}']
        self.processes = [
            subprocess.Popen(
                program.command(*flags, *together, f'--process_id={i}'),
                env=program.environment(2),
                stdout=log.open('w'),
                stderr=subprocess.STDOUT,
            )
            for i, log in enumerate(self.logs)
        ]

    def wait(self, seconds=300):
        """Exit statuses."""
        try:
            return [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def wait_for_step(self, workdir, step):
        while (
            self.processes[0].poll() is None
            and max((record['step'] for record in read_scalars(workdir)), default=0) < step
        ):
            time.sleep(0.005)
        assert self.processes[0].poll() is None, self.output()

    def output(self):
        return '\n'.join(log.read_text() for log in self.logs)


def final_state(workdir):
    with Checkpointer(workdir, read_only=True) as checkpoints:
        step = checkpoints.latest_step()
        saved, _ = checkpoints.restore_run(step)
        return step, checkpoints.restore(step, like=init_train_state(saved, build_networks(saved)))


def assert_same_run(workdir, other):
    records, others = read_scalars(workdir), read_scalars(other)
    assert (
        [record['step'] for record in records]
        == [record['step'] for record in others]
        == list(range(1, NUM_STEPS + 1))
    )
    for record, expected in zip(others, records):
        for name in ('g_gan', 'g_feature_matching', 'd_real', 'd_fake'):
            np.testing.assert_allclose(
                record[name],
                expected[name],
                rtol=2e-3,
                atol=2e-3,
                err_msg=f'step {record["step"]}: {name}',
            )
    (step, expected), (other_step, actual) = final_state(workdir), final_state(other)
    assert step == other_step == NUM_STEPS
    for name in ('generator', 'discriminator'):
        for a, b in zip(
            *(jax.tree.leaves(getattr(state, name)['params']) for state in (actual, expected)),
            strict=True,
        ):
            if (
                b.ndim > 1
            ):  # biases in front of a normalisation have no gradient but rounding, which Adam turns into steps of the full rate
                np.testing.assert_allclose(a, b, atol=5e-5)  # the discriminator's steps are of 2e-4
    for name in ('generator_optimizer', 'discriminator_optimizer'):
        expected_nu, actual_nu = getattr(expected, name).nu, getattr(actual, name).nu
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected_nu))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=0.02 * largest),
            actual_nu,
            expected_nu,
        )


@pytest.mark.slow
def test_a_run_that_changes_between_one_and_two_processes_is_that_of_one(flags, alone, tmp_path):
    """One process with four devices, then two with two, of which one is killed, then the two again, then one: checkpoints are the same for all."""
    workdir = tmp_path / 'run'
    result = program.run(f'--workdir={workdir}', *flags, '--max_steps=2', num_devices=4)
    assert result.returncode == 0, result.stderr

    pair = Pair(tmp_path, f'--workdir={workdir}', *flags)
    pair.wait_for_step(workdir, 3)
    pair.processes[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    statuses = pair.wait(120)
    assert statuses[1] == -signal.SIGKILL and statuses[0] not in (0, None), pair.output()
    assert time.monotonic() - killed < 100
    assert 'steps 3 to' in pair.logs[0].read_text()
    assert (
        'another process is gone' in pair.logs[0].read_text()
        or 'another task died' in pair.logs[0].read_text()
    ), pair.output()

    pair = Pair(tmp_path, f'--workdir={workdir}', *flags, f'--max_steps={NUM_STEPS - 2}')
    assert pair.wait() == [0, 0], pair.output()
    assert 'Done.' in pair.logs[0].read_text() and 'Done.' not in pair.logs[1].read_text()
    result = program.run(f'--workdir={workdir}', *flags, num_devices=4)
    assert result.returncode == 0 and f'steps {NUM_STEPS - 1} to {NUM_STEPS}' in result.stdout, (
        result.stderr
    )
    assert_same_run(alone, workdir)
    assert (workdir / 'report.html').exists() and len(list((workdir / 'samples').iterdir())) >= 2


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(flags, tmp_path):
    workdir = tmp_path / 'run'
    pair = Pair(
        tmp_path,
        f'--workdir={workdir}',
        *flags,
        '--max_steps=4000',
        '--checkpoint_every=4000',
        '--constant_epochs=4000',
    )
    pair.wait_for_step(workdir, 3)
    pair.processes[1].send_signal(signal.SIGTERM)
    assert pair.wait(120) == [143, 143], pair.output()
    with Checkpointer(workdir, read_only=True) as checkpoints:
        assert checkpoints.latest_step() == read_scalars(workdir)[-1]['step'] >= 3


@pytest.mark.slow
def test_an_error_in_the_first_process_stops_the_other(flags, alone, tmp_path):
    pair = Pair(tmp_path, f'--workdir={alone}', *flags, '--seed=9')
    statuses = pair.wait(120)
    assert statuses[0] == 2 and statuses[1] not in (0, None), pair.output()
    assert 'holds a run of another configuration (seed: 0 -> 9)' in pair.logs[0].read_text()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('127.0.0.1:1', 2, None), '--process_id is missing'),
        ((None, None, 1), '--coordinator_address is missing'),
        (('127.0.0.1:1', 2, 2), 'process_id=2 is not one of 2 processes; use 0 to 1'),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        with processes.joined(*arguments):
            pass


def test_clusters_are_recognised():
    assert not processes.started_by_a_cluster({}) and not processes.started_by_a_cluster(
        {'SLURM_NTASKS': '4'}
    )  # salloc, without srun
    assert not processes.started_by_a_cluster(
        {'SLURM_STEP_NODELIST': 'n1', 'SLURM_NTASKS': '1', 'TPU_WORKER_HOSTNAMES': 'localhost'}
    )
    assert processes.started_by_a_cluster({'SLURM_STEP_NODELIST': 'n[1-2]', 'SLURM_NTASKS': '2'})
    assert processes.started_by_a_cluster(
        {'OMPI_COMM_WORLD_SIZE': '2'}
    ) and processes.started_by_a_cluster({'TPU_WORKER_HOSTNAMES': 'a,b'})


def test_alone_everything_is_as_it_is():
    with processes.joined():
        processes.check_agreed({'seed': 3})
        assert (
            processes.is_first()
            and replicas.any_across_processes(True)
            and not replicas.any_across_processes(False)
        )
    tree = {'a': np.arange(3)}
    assert replicas.broadcast_one_to_all(tree) is tree


def script(source, *arguments):
    return subprocess.run(
        [sys.executable, '-c', source, *arguments],
        capture_output=True,
        text=True,
        env=program.environment(1),
        timeout=120,
        cwd=program.ROOT,
    )


SLOW_TO_END = """
import sys, time
from spade_jax import processes
processes.SHUTDOWN_TIMEOUT = 3
coordinator, process_id, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with processes.joined(coordinator, 2, process_id):
    if process_id == 0:
        time.sleep(12)  # writes its last checkpoint
        print('written', flush=True)
    if way == 'exit':
        raise SystemExit(143)
"""


def pair_of_scripts(source, *arguments):
    """Exit statuses and outputs of two processes that get the address of their coordinator, and which of them they are."""
    coordinator = free_address()
    pair = [
        subprocess.Popen(
            [sys.executable, '-c', source, coordinator, str(i), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=program.environment(1),
            cwd=program.ROOT,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in pair]
    return [process.returncode for process in pair], outputs


@pytest.mark.slow
@pytest.mark.parametrize('way, status', [('end', 0), ('exit', 143)])
def test_at_the_end_the_others_wait_for_the_first_as_long_as_it_takes(way, status):
    statuses, outputs = pair_of_scripts(SLOW_TO_END, way)
    assert statuses == [status, status], outputs
    assert 'written' in outputs[0]


DISAGREEING = """
import sys
from spade_jax import processes
with processes.joined(sys.argv[1], 2, int(sys.argv[2])):
    processes.check_agreed({'seed': 3, 'gan_loss': 'hinge'})
    processes.check_agreed({'seed': 3 + int(sys.argv[2]), 'gan_loss': 'hinge'})
"""


@pytest.mark.slow
def test_processes_that_were_started_otherwise_are_refused():
    statuses, outputs = pair_of_scripts(DISAGREEING)
    assert statuses[1] == 2 and statuses[0] != 0, outputs
    assert (
        'error: the processes do not agree: here seed=4, unlike in the first; start all of them with the same flags'
        in outputs[1]
    )


def test_what_was_printed_before_an_error_is_not_lost():
    result = script(
        "from spade_jax import processes\nwith processes._leaving_on_errors():\n    print('told')\n    raise FloatingPointError('broken')"
    )
    assert (result.returncode, result.stdout, result.stderr) == (3, 'told\n', 'error: broken\n')


def test_the_standard_output_of_the_silent_can_be_flushed(capsys):
    """As whoever ends a process at once does, see `Preemption`."""
    with processes._silent():
        print('not heard')
        sys.stdout.flush()
    print('heard')
    assert capsys.readouterr().out == 'heard\n'
