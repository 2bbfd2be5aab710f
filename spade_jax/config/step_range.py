"""A range of steps as a flag gives it: '10-12'."""

from __future__ import annotations

import re

from spade_jax.errors import UserError


def parse_step_range(flag: str, text: str) -> tuple[int, int]:
    """First and last step, both included, numbered from 1. '10-12' -> (10, 12), '7' -> (7, 7).

    Raises:
      UserError: with the name of the flag, when the text is not a range.
    """
    match = re.fullmatch(r'(\d+)(?:-(\d+))?', text.strip())
    if not match:
        raise UserError(
            f'{flag}={text} is not a range of steps', 'write FIRST-LAST, for example 10-12'
        )
    first, last = int(match[1]), int(match[2] or match[1])
    if first < 1:
        raise UserError(f'{flag}={text} begins before the first step', 'steps are numbered from 1')
    if last < first:
        raise UserError(f'{flag}={text} ends before it begins', f'write {last}-{first}')
    return first, last
