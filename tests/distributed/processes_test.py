"""Several processes on one machine: the same update and checkpoints, and no one waits forever."""

import os
import signal
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config import model_options
from spade_jax.config.config import Config
from spade_jax.config.option import format_flags
from spade_jax.distributed import processes, replicas
from spade_jax.errors import UserError
from spade_jax.reports.run_log import read_scalars
from spade_jax.training.train_loop import train
from tests import program
from tests.distributed.synchronized_toy import ROW
from tests.fixtures.small import assert_trees_allclose
from tests.fixtures.states import final_state

NUM_STEPS = 8
TIMEOUT = 120  # seconds after which a test gives up
# Instead of a minute each; on a busy machine heartbeats are seconds late.
SHORT_TIMEOUTS = """
from spade_jax.distributed import processes
processes.HEARTBEAT_TIMEOUT, processes.SHUTDOWN_TIMEOUT = 20, 5
"""
# The second process sends itself a signal when it would log a step.
PROGRAM = f"""{SHORT_TIMEOUTS}
import os, sys
from spade_jax.config import model_options
from tests.distributed.synchronized_toy import ROW
model_options.MODELS['toy'] = ROW
from spade_jax import main
from spade_jax.reports.run_log import NoLog

number, signal_step = int(sys.argv.pop(1)), int(sys.argv.pop(1))

def scalars(log, step, values):
    if step == signal_step:
        os.kill(os.getpid(), number)

NoLog.scalars = scalars
main.run()
"""


@pytest.fixture(scope='module')
def options(tmp_path_factory):
    """A run whose only network, of a model of the tests, has statistics of the global batch."""
    folders = program.write_folders(tmp_path_factory.mktemp('data'))
    data = dict(dataset='folders', data_dir=str(folders), num_classes=3, crop_size=16, load_size=16)
    every = dict(log_every=1, checkpoint_every=2, sample_every=4, num_grid_samples=2)
    end = dict(learning_rate=1e-4, max_steps=NUM_STEPS)
    return dict(model='toy', batch_size=4, **end, **data, **every)


@pytest.fixture(scope='module')
def config(options, four_devices):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model_options.MODELS, 'toy', ROW)
        yield Config.create(**options)


@pytest.fixture(scope='module')
def single(config, tmp_path_factory):
    """The work directory of one process with four devices."""
    workdir = tmp_path_factory.mktemp('single')
    train(config, str(workdir))
    return workdir


def free_address():
    """Where a first process can listen."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return f'127.0.0.1:{listener.getsockname()[1]}'


def start_pair(source, arguments, num_devices):
    """Two Python processes that get their number and the address of the first."""
    address = free_address()
    return [
        subprocess.Popen(
            [sys.executable, '-c', source, *arguments(address, i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=program.environment(num_devices),
            cwd=program.ROOT,
        )
        for i in range(2)
    ]


def ends(pair):
    """Exit statuses and outputs."""
    try:
        outputs = [process.communicate(timeout=TIMEOUT)[0] for process in pair]
    finally:
        for process in pair:
            process.kill()
    return [process.returncode for process in pair], outputs


def train_pair(*flags, number=0, signal_step=0):
    """Train in two processes with two devices each; the second may get a signal after a step."""

    def arguments(address, i):
        group = ['--num_processes=2', f'--coordinator_address={address}', f'--process_id={i}']
        return [str(int(number)), str(signal_step), *flags, *group]

    return ends(start_pair(PROGRAM, arguments, num_devices=2))


def run_pair(source, *arguments):
    """Run two scripts that get the address of the first, and their number."""
    script = SHORT_TIMEOUTS + source
    return ends(start_pair(script, lambda address, i: [address, str(i), *arguments], 1))


def assert_same_losses(records, expected):
    assert [record['step'] for record in records] == list(range(1, NUM_STEPS + 1))
    for record, other in zip(records, expected, strict=True):
        for name in ('p_l1', 'p_gradient_norm'):
            message = f'step {record["step"]}: {name}'
            np.testing.assert_allclose(record[name], other[name], rtol=1e-4, err_msg=message)


def test_run_is_the_same_with_one_and_two_processes(options, config, single, tmp_path):
    """One process; two, of which one gets SIGTERM, then is killed; then one."""
    flags = [f'--workdir={tmp_path}', *format_flags(options)]
    train(config.replace(max_steps=2), str(tmp_path))

    statuses, outputs = train_pair(*flags, number=signal.SIGTERM, signal_step=3)
    assert statuses == [143, 143], outputs
    with Checkpointer(str(tmp_path), read_only=True) as checkpointer:
        assert checkpointer.latest_step() == 4

    statuses, outputs = train_pair(*flags, number=signal.SIGKILL, signal_step=5)
    assert statuses[1] == -signal.SIGKILL, outputs
    assert statuses[0] not in (0, None), outputs
    assert f'steps 5 to {NUM_STEPS}' in outputs[0]

    train(config, str(tmp_path))
    assert_same_losses(read_scalars(tmp_path), read_scalars(single))
    networks = (final_state(workdir).networks for workdir in (tmp_path, single))
    assert_trees_allclose(*networks, rtol=1e-4, atol=2e-5)  # A step is 1e-4.


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


SCRIPT = """
import sys, time
from spade_jax.distributed import replicas
from spade_jax.errors import UserError
processes.SHUTDOWN_TIMEOUT = 1
coordinator, process_id, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with processes.joined(coordinator, 2, process_id):
    processes.check_agreed({'seed': 3, 'gan_loss': 'hinge'})
    if way == 'disagree':
        processes.check_agreed({'seed': 3 + process_id, 'gan_loss': 'hinge'})
    if process_id == 0 and way == 'error':
        raise UserError('broken')
    while way == 'error':
        replicas.any_across_processes(False)
    if process_id == 0:
        time.sleep(2)  # Longer than the timeout: it writes its last checkpoint.
        print('written', flush=True)
    if way == 'exit':
        raise SystemExit(143)
"""


def test_others_wait_for_the_first_to_end():
    statuses, outputs = run_pair(SCRIPT, 'exit')
    assert statuses == [143, 143], outputs
    assert 'written' in outputs[0]


def test_processes_with_different_flags_are_refused():
    statuses, outputs = run_pair(SCRIPT, 'disagree')
    assert statuses[1] == 2, outputs
    assert statuses[0] != 0, outputs
    assert 'different settings: here seed=4' in outputs[1]


def test_error_in_first_process_stops_the_other():
    statuses, outputs = run_pair(SCRIPT, 'error')
    assert statuses[0] == 2, outputs
    assert statuses[1] not in (0, None), outputs
    assert 'error: broken' in outputs[0]


def test_late_connection_ends_the_process_with_one_line(monkeypatch, capsys):
    ended = threading.Event()
    statuses = []
    monkeypatch.setattr(os, '_exit', lambda status: (statuses.append(status), ended.set()))
    with processes._exiting_after(0.01, UserError('nobody came', 'wait longer')):
        assert ended.wait(TIMEOUT)
    assert statuses == [2]
    assert capsys.readouterr().err == 'error: nobody came; wait longer\n'


@pytest.mark.parametrize('variable', ['SLURM_NTASKS', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'])
@pytest.mark.parametrize('value', ['', 'two', '-1', '²', '9' * 5000])
def test_environment_without_numbers_is_refused(variable, value):
    environment = {'SLURM_STEP_NODELIST': 'n1', variable: value}
    with pytest.raises(UserError, match=f'variable {variable}=.* is not a number; unset it'):
        processes.started_by_a_cluster(environment)


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
