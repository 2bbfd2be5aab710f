"""Several processes that train one model together, one on each host or one for each device.

The first process reads and writes the work directory; every process reads its share of the data.
All processes run in lockstep: if one dies, the others stop with an error.
"""

import collections
import contextlib
import os
import re
import sys
import threading
import traceback
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from spade_jax.distributed import rendezvous, replicas
from spade_jax.distributed.devices import start_devices
from spade_jax.errors import UserError, report_error

HEARTBEAT_TIMEOUT = 60  # Seconds without a heartbeat after which a process counts as dead.
SHUTDOWN_TIMEOUT = 60  # Seconds that the processes wait for each other at the end.
PARTNER_LOST = 4  # Exit status of a process that stops because another one died.
# Environment variables that JAX reads as numbers, besides the numbers of processes.
_SLURM = ('SLURM_JOB_ID', 'SLURM_PROCID', 'SLURM_LOCALID')
_OPEN_MPI = ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK')
# In the errors of a collective operation whose other end died.
_LOST_PARTNER = re.compile(
    'gloo|nccl|connection closed|connection reset|unavailable|coordination service|'
    'deadline_exceeded',
    re.IGNORECASE,
)


@contextlib.contextmanager
def joined(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 120,
) -> Iterator[None]:
    """Join the other processes for the work inside; without arguments and without a cluster: alone.

    Slurm, Open MPI and TPU pods are recognized. An error in one process ends it at once, and the
    others with an error as soon as they miss its heartbeat.

    Args:
      coordinator: host:port where the first process listens; the port is free there.
      num_processes: Number of processes.
      process_id: Index of this one, from 0.
      timeout: Seconds to wait for the others.

    Raises:
      UserError: Only some of the three are given, they contradict each other, the processes do not
        find each other, or they have different numbers of devices.
    """
    flags: dict[str, Any] = dict(coordinator_address=coordinator)
    flags |= dict(num_processes=num_processes, process_id=process_id)
    if any(value is not None for value in flags.values()):
        _check_flags(flags)
        rendezvous.meet(**flags, timeout=timeout)
    elif not started_by_a_cluster(os.environ):
        start_devices()
        yield
        return
    elif address := os.environ.get('JAX_COORDINATOR_ADDRESS'):
        rendezvous.parse_address(address)  # JAX reads it and expects a port.
    _connect(flags, timeout)
    with _exiting_on_errors():
        start_devices()
        _check_devices()
        # The first exchange makes the connections for all later ones. They are made within seconds
        # or not at all, so make them while the processes are still close together.
        replicas.any_across_processes(False)
        with contextlib.nullcontext() if is_first() else _silent(), _ending_together():
            yield


def _connect(flags: Mapping[str, Any], timeout: int) -> None:
    """Connect JAX in all processes; raises UserError, or exits, if that fails."""
    problem = 'the processes did not find each other'
    remedy = 'start all of them with the same coordinator, which every host can reach'
    with _exiting_after(timeout, UserError(f'{problem} within {timeout} s', remedy)):
        try:
            jax.distributed.initialize(
                **flags,
                initialization_timeout=timeout + 60,
                heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
                shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f'{problem} ({str(error).splitlines()[0][:200]})', remedy) from error


def is_first() -> bool:
    """True in the process that reads and writes the work directory."""
    return jax.process_index() == 0


def check_agreed(values: Mapping[str, Any]) -> None:
    """Raises UserError in all processes when the values of one differ from those of the first.

    Such processes would wait for each other, or train models that drift apart.

    Args:
      values: By their name in messages; the same names in all processes.
    """
    if jax.process_count() == 1:
        return
    own = np.array([zlib.crc32(repr(value).encode()) for value in values.values()], np.uint32)
    differs = own != replicas.broadcast_one_to_all(own)
    names = [f'{name}={values[name]}' for name, other in zip(values, differs, strict=True) if other]
    if replicas.any_across_processes(bool(names)):
        here = f'here {", ".join(names)}, unlike in the first process'
        raise UserError(
            'the processes were started with different settings: '
            + (here if names else 'see the log of the other process'),
            'start all of them with the same flags, over the same data',
        )


def started_by_a_cluster(environment: Mapping[str, str]) -> bool:
    """True if Slurm (srun), Open MPI (mpirun) or a TPU pod started several processes.

    Raises:
      UserError: A variable of Slurm or Open MPI that has to be a number is none.
    """
    slurm, mpi = ('SLURM_NTASKS', *_SLURM), ('OMPI_COMM_WORLD_SIZE', *_OPEN_MPI)
    hosts = ('TPU_WORKER_HOSTNAMES', 'TPU_PROCESS_ADDRESSES')
    return (
        ('SLURM_STEP_NODELIST' in environment and _numbers(environment, slurm)[0] > 1)
        or _numbers(environment, mpi)[0] > 1
        or any(',' in environment.get(name, '') for name in hosts)
    )


def _numbers(environment: Mapping[str, str], names: Sequence[str]) -> list[int]:
    """The values of environment variables, 1 for those that are not set."""
    values = {name: environment.get(name, '1') for name in names}
    for name, value in values.items():
        if not re.fullmatch('[0-9]{1,10}', value):
            raise UserError(f'the environment variable {name}={value} is not a number', 'unset it')
    return [int(value) for value in values.values()]


def _check_flags(flags: Mapping[str, Any]) -> None:
    if missing := [name for name, value in flags.items() if value is None]:
        raise UserError(
            f'--{missing[0]} is missing',
            'several processes need --coordinator_address=HOST:PORT, --num_processes=N and '
            '--process_id=I, each its own I',
        )
    index, number = flags['process_id'], flags['num_processes']
    if index not in range(number):
        problem = f'process_id={index} is not one of {number} processes'
        raise UserError(problem, f'use 0 to {number - 1}')


def _check_devices() -> None:
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        numbers = ', '.join(map(str, counts.values()))
        problem = f'the processes have different numbers of devices ({numbers})'
        raise UserError(problem, 'give each the same number')


@contextlib.contextmanager
def _exiting_after(seconds: float, error: UserError) -> Iterator[None]:
    """Report an error and exit if the body takes longer; JAX would abort with a crash dump."""

    def give_up():
        status = report_error(error)
        sys.stderr.flush()
        os._exit(status or 1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Discard standard output; it remains a file that can be flushed."""
    with open(os.devnull, 'w', errors='replace') as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _ending_together() -> Iterator[None]:
    """Wait at the end for the slowest process, also on an exit that all have agreed on.

    The first one may still be writing a checkpoint; the shutdown of JAX that follows would abort
    it `SHUTDOWN_TIMEOUT` seconds after the fastest one arrives.
    """
    try:
        yield
    except SystemExit:
        replicas.any_across_processes(False)
        raise
    replicas.any_across_processes(False)


@contextlib.contextmanager
def _exiting_on_errors() -> Iterator[None]:
    """Report an error and exit without the shutdown of JAX, which would wait for the others."""
    try:
        yield
    except SystemExit:  # All processes have agreed on it.
        raise
    except BaseException as error:
        status, failed = report_error(error), isinstance(error, jax.errors.JaxRuntimeError)
        if failed and _LOST_PARTNER.search(str(error)):
            problem = f'another process died ({" ".join(str(error).split())[:200]})'
            remedy = 'start all of them again to resume from the newest checkpoint'
            print(f'error: {problem}; {remedy}', file=sys.stderr)
            status = PARTNER_LOST
        if status is None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if status is None else status)
