"""Flagfiles: files with one flag a line, and those of the package by their names."""

import os
import pathlib
import re
from collections.abc import Iterable, Iterator

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


class Line(str):
    """A line of a flagfile; `place` says where it is."""

    place = ''


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
            text = read_text(path)
        lines_of_files += with_flagfiles(_lines(text, name), (*opened, path))
    return [*lines_of_files, *others]


def _lines(text: str, name: str) -> Iterator[Line]:
    """The lines of a flagfile that are no comments."""
    for number, line in enumerate(map(Line, map(str.strip, text.splitlines())), start=1):
        if line and not line.startswith(('#', '//')):
            line.place = f'flagfile={name}, line {number}'
            yield line


def place_of_flag(name: str, arguments: Iterable[str]) -> str:
    """The flagfile and line of the first of some arguments that sets a flag; '' if none does."""
    written = re.compile(f'--?(no)?{re.escape(name)}(=.*)?', re.DOTALL)
    lines = (argument for argument in arguments if isinstance(argument, Line))
    return next((line.place for line in lines if written.fullmatch(line)), '')


def flagfile_path(name: str) -> str:
    """The path of a flagfile: a file, or one of the package by its name."""
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        return path
    if name not in PACKAGED_FLAGFILES:
        raise UserError(f'flagfile={name}: no such file', _REMEDY)
    return str(PACKAGED_FLAGFILES[name])
