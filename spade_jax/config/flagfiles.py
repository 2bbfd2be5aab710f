"""Flagfiles: files with one flag a line, and those of the package by their names."""

import os
import pathlib
import re
from collections.abc import Iterable

from spade_jax.errors import UserError, user_errors
from spade_jax.files.text_files import read_text

_DIRECTORY = pathlib.Path(__file__).parents[1] / 'configs'
# Their names: 'ade20k', 'ablations/decoder_concat'.
PACKAGED_FLAGFILES = {
    path.relative_to(_DIRECTORY).with_suffix('').as_posix(): path
    for path in sorted(_DIRECTORY.rglob('*.flags'))
}
_FLAGFILE = re.compile('--?flagfile(?:[= ](.*))?')
_REMEDY = f'give a file, or one of the package: {", ".join(PACKAGED_FLAGFILES)}'


def with_flagfiles(arguments: Iterable[str], opened: tuple[str, ...] = ()) -> list[str]:
    """The lines of the flagfiles, then the other arguments; absl reads only plain UTF-8.

    So a flag overrides the flagfiles that are given with it, wherever they stand. A flagfile may
    name others; `opened` are the paths of those that led to these arguments.

    Raises:
      UserError: A flagfile does not exist, cannot be read or includes itself.
    """
    arguments, lines_of_files, others = iter(arguments), [], []
    for argument in arguments:
        if not (match := _FLAGFILE.fullmatch(argument)):
            others.append(argument)
            continue
        name = next(arguments, '') if match[1] is None else match[1]
        path = flagfile_path(name)
        if path in opened:
            raise UserError(f'flagfile={name} includes itself', 'remove that line')
        with user_errors(f'flagfile={name} cannot be read', _REMEDY):
            lines = map(str.strip, read_text(path).splitlines())
        given = [line for line in lines if line and not line.startswith(('#', '//'))]
        lines_of_files += with_flagfiles(given, (*opened, path))
    return [*lines_of_files, *others]


def flagfile_path(name: str) -> str:
    """The path of a flagfile: a file, or one of the package by its name."""
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        return path
    if name not in PACKAGED_FLAGFILES:
        raise UserError(f'flagfile={name}: no such file', _REMEDY)
    return str(PACKAGED_FLAGFILES[name])
