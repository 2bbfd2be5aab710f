"""Read the files of a checkpoint: at any path, few arrays at a time, and what an error means."""

import contextlib
import errno
import itertools
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from spade_jax.checkpoints.checksums import CorruptCheckpoint, paths
from spade_jax.errors import SYSTEM_REMEDIES, UserError, causes, system_error

GROUP_BYTES = 2**28  # of the arrays that `arrays_on_disk` reads together
# Other characters may be part of a pattern or separate names, for Orbax or TensorStore.
_PLAIN_PATH = re.compile(r'[\w/ .,+=@%-]+')
# What TensorStore and Python write for files that they cannot read now; it is no sign of damage.
_NO_DAMAGE = re.compile(
    'PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED|ABORTED|'
    "CANCELLED|can't start new thread"
)


@contextlib.contextmanager
def plain_path(directory: str) -> Iterator[str]:
    """A path to a directory that Orbax and TensorStore read as it is: a link to it if need be."""
    if _PLAIN_PATH.fullmatch(directory):
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix='spade_jax_') as links:
        link = os.path.join(links, os.path.basename(directory))
        os.symlink(directory, link)
        yield link


@contextlib.contextmanager
def reading(path: str, items: str) -> Iterator[None]:
    """Turn what Orbax raises for files of a checkpoint, a dozen types, into one of two.

    Raises:
      CorruptCheckpoint: Files are missing or have other bytes.
      UserError: Files cannot be read for another reason: permissions, limits, a disk.
    """
    try:
        yield
    except (UserError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        number = system_error(error)
        if number in (0, errno.ENOENT):  # A file that may not be seen appears to be missing.
            number = _access_error(path) or number
        is_known = number not in (0, errno.ENOENT)
        reason = os.strerror(number) if is_known else one_line(error)
        problem = f'{path}: {items} cannot be read ({reason})'
        if not is_known and not _NO_DAMAGE.search(''.join(map(str, causes(error)))):
            raise CorruptCheckpoint(problem) from error
        remedy = SYSTEM_REMEDIES.get(number, 'fix it')
        raise UserError(problem, f'{remedy} and run the same command again') from error


def _access_error(directory: str) -> int:
    """The number of the error with which the system refuses to read a directory; 0 if none."""

    def fail(error: OSError) -> None:
        raise error

    try:
        for parent, _, names in os.walk(directory, onerror=fail):
            for name in names:
                with open(os.path.join(parent, name), 'rb') as file:
                    file.read(1)
    except OSError as error:
        return error.errno or 0
    return 0


def one_line(error: Exception) -> str:
    """Type and message of an exception on one line."""
    name, text = type(error).__name__, ' '.join(str(error).split())[:300]
    return f'{name}: {text}' if text else name


def arrays_on_disk(
    directory: str, like: Any, processes: ocp.options.MultiprocessingOptions
) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of an item by their paths, in groups, so that memory holds no second state."""
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size * leaf.dtype.itemsize for leaf in leaves])
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=processes)
    with ocp.Checkpointer(handler, multiprocessing_options=processes) as reader:
        for _, group in itertools.groupby(range(len(leaves)), lambda i: ends[i] // GROUP_BYTES):
            chosen = {*group}
            marked = [leaf if i in chosen else ocp.PLACEHOLDER for i, leaf in enumerate(leaves)]
            target = tree.unflatten(marked)
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target)
            arguments = ocp.args.PyTreeRestore(target, restore_args=as_numpy)
            found = jax.tree.leaves(reader.restore(directory, args=arguments))
            yield {path: found[i] for i, path in enumerate(paths(like)) if i in chosen}
