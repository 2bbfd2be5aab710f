"""Refuse to work in a process that was forked after JAX started: JAX would wait there forever."""

import os
import sys

from spade_jax.errors import UserError

_parent: int | None = None  # The process that had started JAX when this one was forked from it.


def jax_has_started() -> bool:
    """True once JAX has found the devices of this process."""
    bridge = sys.modules.get('jax._src.xla_bridge')
    return bridge is not None and bridge.backends_are_initialized()


def _remember_parent() -> None:
    global _parent
    if jax_has_started():
        _parent = os.getppid()


if hasattr(os, 'register_at_fork'):  # Windows does not fork.
    os.register_at_fork(after_in_child=_remember_parent)


def check_not_forked() -> None:
    """Raises UserError in a child of a process that had started JAX, whose threads it lacks."""
    if _parent is not None:
        problem = f'process {os.getpid()} was forked from process {_parent}, which had started JAX'
        remedy = 'load the generator in a process that multiprocessing starts with "spawn"'
        raise UserError(f'{problem}: it would hang', remedy)
