"""Options: dataclass fields with help, bounds and choices, from which the flags are generated."""

import dataclasses
import math
import numbers
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from spade_jax.errors import UserError

# What a value is an instance of, NumPy's numbers included, and in words; by the type of the option.
_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, 'True or False'),
    int: (numbers.Integral, 'a whole number'),
    float: (numbers.Real, 'a number'),
    str: (str, 'a text'),
}
LARGEST_SEED = 2**32 - 1
LARGEST_SIDE = 16384  # Of an image, in pixels.
LARGEST_BATCH = 65536
# Upper bounds of numbers that have none of their own: what arrays of int32 and float32 can hold,
# with room for products.
_LARGEST = {int: 2**31 - 1, float: 1e30}


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    mutable: bool = False,
    schedule: bool = False,
    path: bool = False,
) -> Any:
    """A field of a section of the configuration.

    Args:
      default: The value when no flag is given; its type is the type of the flag.
      help: One sentence for `--help`.
      choices: The legal strings.
      at_least: The least legal number.
      at_most: The largest legal number. Default: see `_LARGEST`.
      mutable: True if a resumed run may use another value than its checkpoint (paths, intervals).
      schedule: True if the option sets learning rates alone: a resumed run may use another value
        if the steps that are done have the same learning rates under it.
      path: True if a leading "~" stands for the home directory.
    """
    at_most = _LARGEST.get(type(default)) if at_most is None else at_most
    bounds = dict(choices=choices, at_least=at_least, at_most=at_most)
    metadata = dict(help=help, mutable=mutable, schedule=schedule, path=path, **bounds)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Section:
    """Base class of the sections of a configuration: checks values and expands paths."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _typed(field.name, field.default, getattr(self, field.name))
            _check_option(field, value)
            value = os.path.expanduser(value) if field.metadata['path'] else value
            object.__setattr__(self, field.name, value)


def nearest_multiples(size: int, multiple: int) -> str:
    """'224 or 256' for 250 and 32: what an error message offers instead of an illegal size."""
    lower = size // multiple * multiple
    return ' or '.join(str(legal) for legal in (lower, lower + multiple) if legal > 0)


def nearest_heights(height: float, multiple: int) -> tuple[int, int]:
    """(128, 160) for 142 and 32: the multiples around a height, the nearest in proportion first."""
    lower = max(1, int(height) // multiple) * multiple
    upper = lower + multiple
    return (lower, upper) if height * height <= lower * upper else (upper, lower)


def aspect_ratio_text(width: int, height: int) -> str:
    """'1.6 (256x160)': what an error message offers as --aspect_ratio."""
    return f'{width / height:.4g} ({width}x{height})'


def format_flags(options: Mapping[str, Any]) -> list[str]:
    """['--num_classes=151', '--nodontcare', ...], quoted for a shell."""

    def text(name: str, value: Any) -> str:
        return f'{"no" * (not value)}{name}' if isinstance(value, bool) else f'{name}={value}'

    return [shlex.quote(f'--{text(*item)}') for item in options.items()]


def command_line(options: Mapping[str, Any], *more: str) -> str:
    """The command of this program, as it was called, with some flags; `more` are quoted ones."""
    directory, name = os.path.split(sys.argv[0])
    program = 'python -m spade_jax.main'
    if os.path.splitext(name)[0] == 'spade-jax':
        program = shlex.quote(name if shutil.which(name) else sys.argv[0])
    elif name == '__main__.py' and os.path.basename(directory) == 'spade_jax':
        program = 'python -m spade_jax'
    return ' '.join([program, *format_flags(options), *more])


def positive_integers(flag: str, texts: Sequence[str], at_most: int = 2**31 - 1) -> list[int]:
    """['1', '8'] -> [1, 8]; raises UserError with the flag's name for anything else."""
    for text in texts:
        # `str.isdigit` accepts more digits than `int` reads.
        if not re.fullmatch(r'\s*[0-9]{1,18}\s*', text) or not 1 <= int(text) <= at_most:
            problem = f'{flag}={",".join(texts)}: {text!r} is not an integer from 1 to {at_most}'
            raise UserError(problem, f'write --{flag}=4,2,1')
    return [int(text) for text in texts]


def parse_step_range(flag: str, text: str) -> tuple[int, int]:
    """The first and last step of '10-12' or '7', counted from 1; UserError for any other text."""
    match = re.fullmatch(r'(\d{1,18})(?:-(\d{1,18}))?', text.strip())
    if not match:
        problem = f'{flag}={text} is not a range of steps'
        raise UserError(problem, 'write FIRST-LAST, for example 10-12')
    first, last = int(match[1]), int(match[2] or match[1])
    if first < 1:
        raise UserError(f'{flag}={text} begins before the first step', 'steps are numbered from 1')
    if last < first:
        raise UserError(f'{flag}={text} ends before it begins', f'write {last}-{first}')
    return first, last


def _typed(name: str, default: Any, value: Any) -> Any:
    """The value in the type of its option; UserError if it is of another kind."""
    if value is default:
        return value
    kind = float if default is None else type(default)  # Some numbers have no default.
    abstract, words = _KINDS[kind]
    if not isinstance(value, abstract) or isinstance(value, bool) != (kind is bool):
        raise UserError(f'{name}={value!r} is not {words}', f'its default is {default!r}')
    return kind(value)


def _check_option(field: dataclasses.Field, value: Any) -> None:
    name, limits = field.name, field.metadata
    if limits['choices'] and value not in limits['choices']:
        raise UserError(f'{name}={value} is not one of {", ".join(limits["choices"])}')
    if value is None:
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f'{name}={value} is not a finite number')
    if limits['at_least'] is not None and value < limits['at_least']:
        raise UserError(f'{name}={value} is too small; use {limits["at_least"]} or more')
    if limits['at_most'] is not None and value > limits['at_most']:
        raise UserError(f'{name}={value} is too large; use {limits["at_most"]} or less')
