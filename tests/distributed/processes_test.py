"""Several processes on one machine: the same update and checkpoints, and no one waits forever."""

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
from spade_jax.reports.run_log import read_scalars
from tests import program
from tests.fixtures.states import final_state

NUM_STEPS = 8
TIMEOUT = 120  # seconds after which a test gives up
# Instead of a minute each; on a busy machine heartbeats are seconds late.
SHORT_TIMEOUTS = """
from spade_jax.distributed import processes
processes.HEARTBEAT_TIMEOUT, processes.SHUTDOWN_TIMEOUT = 20, 5
"""
PROGRAM = f'{SHORT_TIMEOUTS}\nfrom spade_jax import main\nmain.run()'


@pytest.fixture(scope='module')
def flags(tmp_path_factory):
    folders = program.write_folders(tmp_path_factory.mktemp('data'))
    every = ['--log_every=1', '--checkpoint_every=2', '--sample_every=4']
    data = ['--dataset=folders', f'--data_dir={folders}', '--num_classes=3', *program.SMALL]
    return [*data, *every, '--learning_rate=1e-4', f'--max_steps={NUM_STEPS}']


@pytest.fixture(scope='module')
def single(flags, tmp_path_factory):
    """The work directory of one process with four devices."""
    workdir = tmp_path_factory.mktemp('runs') / 'single'
    program.succeed(f'--workdir={workdir}', *flags, num_devices=4)
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
        group = ['--num_processes=2', f'--coordinator_address={free_address()}']
        self.processes = [
            subprocess.Popen(
                [sys.executable, '-c', PROGRAM, *flags, *group, f'--process_id={i}'],
                env=program.environment(2),
                stdout=log.open('w'),
                stderr=subprocess.STDOUT,
            )
            for i, log in enumerate(self.logs)
        ]

    def wait(self):
        """Exit statuses."""
        try:
            return [process.wait(TIMEOUT) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def wait_for_step(self, workdir, step):
        while self.processes[0].poll() is None and last_step(workdir) < step:
            time.sleep(0.005)
        assert self.processes[0].poll() is None, self.output()

    def output(self):
        return '\n'.join(log.read_text() for log in self.logs)


def last_step(workdir):
    return max((record['step'] for record in read_scalars(workdir)), default=0)


def assert_same_losses(records, expected):
    assert [record['step'] for record in records] == list(range(1, NUM_STEPS + 1))
    for record, other in zip(records, expected, strict=True):
        for name in ('g_gan', 'g_feature_matching', 'd_real', 'd_fake'):
            message = f'step {record["step"]}: {name}'
            np.testing.assert_allclose(
                record[name], other[name], rtol=2e-3, atol=2e-3, err_msg=message
            )


def assert_close_states(actual, expected):
    for name in ('generator', 'discriminator'):
        pairs = zip(
            jax.tree.leaves(actual.networks[name]['params']),
            jax.tree.leaves(expected.networks[name]['params']),
            strict=True,
        )
        for a, b in pairs:
            # The gradients of biases before a normalization are only rounding errors, which Adam
            # turns into steps of the full learning rate.
            if b.ndim > 1:
                np.testing.assert_allclose(a, b, atol=5e-5)  # A discriminator step is 2e-4.


@pytest.mark.slow
def test_run_is_the_same_with_one_and_two_processes(flags, single, tmp_path):
    """One process with four devices, two of which one is killed, two again, then one."""
    workdir = tmp_path / 'run'
    program.succeed(f'--workdir={workdir}', *flags, '--max_steps=2', num_devices=4)

    pair = Pair(tmp_path, f'--workdir={workdir}', *flags)
    pair.wait_for_step(workdir, 3)
    pair.processes[1].send_signal(signal.SIGKILL)
    statuses = pair.wait()
    assert statuses[1] == -signal.SIGKILL
    assert statuses[0] not in (0, None), pair.output()
    assert 'steps 3 to' in pair.logs[0].read_text()

    pair = Pair(tmp_path, f'--workdir={workdir}', *flags, f'--max_steps={NUM_STEPS - 2}')
    assert pair.wait() == [0, 0], pair.output()
    assert 'Done.' in pair.logs[0].read_text()
    assert 'Done.' not in pair.logs[1].read_text()

    output = program.succeed(f'--workdir={workdir}', *flags, num_devices=4)
    assert f'steps {NUM_STEPS - 1} to {NUM_STEPS}' in output
    assert_same_losses(read_scalars(workdir), read_scalars(single))
    assert_close_states(final_state(workdir), final_state(single))


@pytest.mark.slow
def test_signal_to_one_process_stops_both_after_the_same_step(flags, tmp_path):
    workdir = tmp_path / 'run'
    endless = ['--max_steps=4000', '--checkpoint_every=4000', '--constant_epochs=4000']
    pair = Pair(tmp_path, f'--workdir={workdir}', *flags, *endless)
    pair.wait_for_step(workdir, 3)
    pair.processes[1].send_signal(signal.SIGTERM)
    assert pair.wait() == [143, 143], pair.output()
    with Checkpointer(str(workdir), read_only=True) as checkpointer:
        assert checkpointer.latest_step() == last_step(workdir)


@pytest.mark.slow
def test_error_in_first_process_stops_the_other(flags, single, tmp_path):
    pair = Pair(tmp_path, f'--workdir={single}', *flags, '--seed=9')
    statuses = pair.wait()
    assert statuses[0] == 2, pair.output()
    assert statuses[1] not in (0, None), pair.output()
    assert 'holds a run of another configuration (seed: 0 -> 9)' in pair.logs[0].read_text()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('127.0.0.1:1', 2, None), '--process_id is missing'),
        ((None, None, 1), '--coordinator_address is missing'),
        (('127.0.0.1:1', 2, 2), 'process_id=2 is not one of 2 processes; use 0 to 1'),
    ],
)
def test_incomplete_flags_are_refused(arguments, message):
    with pytest.raises(UserError, match=message), processes.joined(*arguments):
        pass


@pytest.mark.parametrize(
    'environment, expected',
    [
        ({}, False),
        ({'SLURM_NTASKS': '4'}, False),  # salloc, without srun
        (
            {'SLURM_STEP_NODELIST': 'n1', 'SLURM_NTASKS': '1', 'TPU_WORKER_HOSTNAMES': 'localhost'},
            False,
        ),
        ({'SLURM_STEP_NODELIST': 'n[1-2]', 'SLURM_NTASKS': '2'}, True),
        ({'OMPI_COMM_WORLD_SIZE': '2'}, True),
        ({'TPU_WORKER_HOSTNAMES': 'a,b'}, True),
    ],
)
def test_clusters_are_recognized(environment, expected):
    assert processes.started_by_a_cluster(environment) == expected


def test_single_process_needs_no_coordination():
    with processes.joined():
        processes.check_agreed({'seed': 3})
        assert processes.is_first()
        assert replicas.any_across_processes(True)
        assert not replicas.any_across_processes(False)
    tree = {'a': np.arange(3)}
    assert replicas.broadcast_one_to_all(tree) is tree


def run_pair(source, *arguments):
    """Exit statuses and outputs of two scripts that get the coordinator and their number."""
    coordinator = free_address()
    pair = [
        subprocess.Popen(
            [sys.executable, '-c', SHORT_TIMEOUTS + source, coordinator, str(i), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=program.environment(1),
            cwd=program.ROOT,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=TIMEOUT)[0] for process in pair]
    return [process.returncode for process in pair], outputs


SLOW_END = """
import sys, time
processes.SHUTDOWN_TIMEOUT = 1
coordinator, process_id, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with processes.joined(coordinator, 2, process_id):
    if process_id == 0:
        time.sleep(3)  # Longer than the timeout: it writes its last checkpoint.
        print('written', flush=True)
    if way == 'exit':
        raise SystemExit(143)
"""


@pytest.mark.slow
@pytest.mark.parametrize('way, status', [('end', 0), ('exit', 143)])
def test_others_wait_for_the_first_to_end(way, status):
    statuses, outputs = run_pair(SLOW_END, way)
    assert statuses == [status, status], outputs
    assert 'written' in outputs[0]


DISAGREEING = """
import sys
with processes.joined(sys.argv[1], 2, int(sys.argv[2])):
    processes.check_agreed({'seed': 3, 'gan_loss': 'hinge'})
    processes.check_agreed({'seed': 3 + int(sys.argv[2]), 'gan_loss': 'hinge'})
"""


@pytest.mark.slow
def test_processes_with_different_flags_are_refused():
    statuses, outputs = run_pair(DISAGREEING)
    assert statuses[1] == 2, outputs
    assert statuses[0] != 0, outputs
    assert 'different settings: here seed=4' in outputs[1]


def test_output_before_an_error_is_not_lost():
    script = """if True:
        from spade_jax.distributed import processes
        with processes._exiting_on_errors():
            print('printed')
            raise FloatingPointError('broken')
    """
    result = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        text=True,
        env=program.environment(1),
        cwd=program.ROOT,
        timeout=TIMEOUT,
    )
    assert result.returncode == 3
    assert (result.stdout, result.stderr) == ('printed\n', 'error: broken\n')


def test_silenced_standard_output_can_be_flushed(capsys):
    """As `Preemption` does before it exits."""
    with processes._silent():
        print('silent')
        sys.stdout.flush()
    print('heard')
    assert capsys.readouterr().out == 'heard\n'
