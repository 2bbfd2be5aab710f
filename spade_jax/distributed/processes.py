"""Several processes that train one model together, one on each host, or one for each of its devices.

The first process reads and writes the work directory; every process reads its share of the data. All of them run the same steps, so that one that is
gone stops the others.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
import traceback
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from spade_jax.distributed import replicas
from spade_jax.errors import UserError, report_error

# Seconds after which a process that gives no sign of life counts as gone, and which the others wait for it at the end.
HEARTBEAT_TIMEOUT, SHUTDOWN_TIMEOUT = 60, 60
# Exit status of a process whose partner is gone.
PARTNER_LOST = 4


@contextlib.contextmanager
def joined(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> Iterator[None]:
    """Around the work of one of several processes. With nothing given: alone, unless Slurm, Open MPI or a TPU pod started several.

    An error in one process ends it at once, and the others as soon as they miss it: they stop with an error instead of waiting for ever.

    Args:
      coordinator: host:port where the first process listens; a port that is free there.
      num_processes, process_id: how many there are, and which of them (from 0) this is.

    Raises:
      UserError: only some of the three are given; they contradict each other; the processes do not find each other or have different numbers of devices.
    """
    given = {
        'coordinator_address': coordinator,
        'num_processes': num_processes,
        'process_id': process_id,
    }
    if missing := [name for name, value in given.items() if value is None]:
        if len(missing) < len(given):
            raise UserError(
                f'--{missing[0]} is missing',
                'several processes need --coordinator_address=HOST:PORT, --num_processes=N and --process_id=I, each its own I',
            )
        if not started_by_a_cluster(os.environ):
            yield
            return
    elif not 0 <= process_id < num_processes:
        raise UserError(
            f'process_id={process_id} is not one of {num_processes} processes',
            f'use 0 to {num_processes - 1}',
        )
    try:
        jax.distributed.initialize(
            **given,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
            shutdown_timeout_seconds=SHUTDOWN_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f'the processes did not find each other ({str(error).splitlines()[0][:200]})',
            'start all of them, with the same coordinator, one that every host reaches',
        ) from error
    with _leaving_on_errors():
        _check_devices()
        # The first exchange makes the connections of all that follow. They are made within seconds or not at all, so before the processes' ways part.
        replicas.any_across_processes(False)
        with contextlib.nullcontext() if is_first() else _silent():
            with _ending_together():
                yield


def is_first() -> bool:
    """True in the process that reads and writes the work directory."""
    return jax.process_index() == 0


def check_agreed(values: Mapping[str, Any]) -> None:
    """Raises UserError in all processes where one has other values than the first: they would wait for each other, or train models that drift apart.

    Args:
      values: by what messages call them; the same names in all processes.
    """
    if jax.process_count() == 1:
        return
    own = np.array([zlib.crc32(repr(value).encode()) for value in values.values()], np.uint32)
    differing = [
        f'{name}={value}'
        for (name, value), differs in zip(values.items(), own != replicas.broadcast_one_to_all(own))
        if differs
    ]
    if replicas.any_across_processes(bool(differing)):
        what = (
            f'here {", ".join(differing)}, unlike in the first'
            if differing
            else 'another one tells on what'
        )
        raise UserError(
            f'the processes do not agree: {what}',
            'start all of them with the same flags, over the same data',
        )


def started_by_a_cluster(environment: dict[str, str]) -> bool:
    """True where the variables of Slurm's srun, of Open MPI's mpirun or of a TPU pod tell of several processes."""
    slurm = 'SLURM_STEP_NODELIST' in environment and int(environment.get('SLURM_NTASKS', 1)) > 1
    mpi = int(environment.get('OMPI_COMM_WORLD_SIZE', 1)) > 1
    tpu = ',' in environment.get('TPU_WORKER_HOSTNAMES', '') or ',' in environment.get(
        'TPU_PROCESS_ADDRESSES', ''
    )
    return slurm or mpi or tpu


def _check_devices():
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        raise UserError(
            f'the processes have different numbers of devices ({", ".join(map(str, counts.values()))})',
            'give each the same number',
        )


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard output; but there is one, which may be flushed."""
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _ending_together() -> Iterator[None]:
    """Waits at the end, an agreed-on exit included, for the slowest: the first process may still be writing its last checkpoint.

    The farewell of JAX, which comes after, would abort all of them, the writer too, `SHUTDOWN_TIMEOUT` seconds after the fastest has come to it.
    """
    try:
        yield
    except SystemExit:
        replicas.any_across_processes(False)
        raise
    replicas.any_across_processes(False)


@contextlib.contextmanager
def _leaving_on_errors() -> Iterator[None]:
    """Ends this process on an error without the farewell that waits for the other processes, which wait for this one."""
    try:
        yield
    except SystemExit:  # agreed on by all
        raise
    except BaseException as error:
        status = report_error(error)
        if status is None and is_lost_partner(error):
            print(
                f'error: another process is gone ({" ".join(str(error).split())[:200]}); start all of them again, they go on from the newest checkpoint',
                file=sys.stderr,
            )
            status = PARTNER_LOST
        if status is None:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def is_lost_partner(error: BaseException) -> bool:
    """True for the error of an exchange whose other end is gone."""
    signs = (
        'gloo',
        'nccl',
        'connection closed',
        'connection reset',
        'unavailable',
        'coordination service',
        'deadline_exceeded',
    )
    return isinstance(error, jax.errors.JaxRuntimeError) and any(
        sign in str(error).lower() for sign in signs
    )
