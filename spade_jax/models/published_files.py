"""What the `published` modules of the models share: the entries of PyTorch files, and the flags."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spade_jax.config.model_options import BATCH_NORMS
from spade_jax.errors import UserError

State = Mapping[str, Any]  # Name -> anything with a shape.
Options = Mapping[str, Any]

# Network -> letter of its file `<epoch>_net_<letter>`.
LETTERS = {'generator': 'G', 'discriminator': 'D', 'encoder': 'E'}


def same_files(given: Any, found: Any) -> bool:
    """True for values of an option that files cannot tell apart."""
    return given == found or {given, found} == set(BATCH_NORMS)


def contradictions(
    found: Options, given: Options, same: Callable[[str, Any], bool] | None = None
) -> list[str]:
    """How flags contradict what the entries tell.

    Args:
      found: Options that the entries tell.
      given: Options that flags set.
      same: (name, what the entries tell) -> True if the flag agrees; default: see `same_files`.
    """
    same = same or (lambda name, value: same_files(given[name], value))
    return [
        f'{name} is {value}, not {given[name]}'
        for name, value in found.items()
        if name in given and not same(name, value)
    ]


def check_flags(contradictions: Sequence[str]) -> None:
    """Raises UserError if there are any."""
    if contradictions:
        problem = f'the flags contradict the files: {"; ".join(contradictions)}'
        raise UserError(problem, 'leave these out')


def entry_shape(
    system: str, network: str, state: State, name: str, ranks: tuple[int, ...] = (4,)
) -> tuple[int, ...]:
    """The shape of an entry; UserError, with the name of the system, if no such network has it."""
    if name not in state:
        known = ', '.join(list(state)[:3]) or 'nothing'
        problem = f'{network}: there is no entry {name} (it begins with {known})'
        raise UserError(problem, is_this_the_file(system, network))
    shape = tuple(np.shape(state[name]))
    if len(shape) not in ranks or not math.prod(shape):
        problem = f'{network}: {name} has the shape {shape}, which no {system} {network} has'
        raise UserError(problem, is_this_the_file(system, network))
    return shape


def is_this_the_file(system: str, network: str) -> str:
    """The remedy for a file of something else."""
    return f'is this the file of a {system} {network} (net_{LETTERS[network]})?'
