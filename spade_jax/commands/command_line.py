"""Parse the command line, print the help, and reject flags that the mode does not read."""

import os
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from absl import flags

from spade_jax.commands.shared import WORKDIR
from spade_jax.config.config import SECTIONS, option_fields
from spade_jax.config.model_options import MODELS, options_class
from spade_jax.errors import UserError, one_line_errors, user_errors
from spade_jax.files.text_files import read_text

HELP = ('--help', '-help', '--helpshort', '-h')
_FLAGFILES = pathlib.Path(__file__).parents[1] / 'configs'
PACKAGED_FLAGFILES = {path.stem: path for path in sorted(_FLAGFILES.glob('*.flags'))}
_FLAGFILE = re.compile('--?flagfile(?:[= ](.*))?')


def parse(argv: list[str], commands: Mapping[str, ModuleType]) -> list[str]:
    """Parse the flags; with --help, print the help of the mode or the list of modes, and exit.

    Returns the arguments that are no flags, after the name of the program.
    """
    with one_line_errors(argv[:1]):
        arguments = [argument for argument in argv if argument not in HELP]
        try:
            remaining = flags.FLAGS(list(_with_flagfiles(arguments)))
        except flags.Error as error:
            raise UserError(str(error).rstrip('.'), 'see --help') from None
        mode = flags.FLAGS.mode
        if len(arguments) < len(argv):
            is_given = flags.FLAGS['mode'].present
            print(mode_help(mode, commands[mode]) if is_given else usage(commands))
            sys.exit()
        _reject_flags_of_other_modes(arguments[1:], mode, commands)
    return remaining


def usage(commands: Mapping[str, ModuleType]) -> str:
    """The modes, and how to get their help."""
    summaries = {mode: str(command.__doc__).splitlines()[0] for mode, command in commands.items()}
    modes = '\n'.join(f'  {mode:<14} {summary}' for mode, summary in summaries.items())
    flagfiles = ', '.join(f'--flagfile={name}' for name in PACKAGED_FLAGFILES)
    return f"""usage: spade-jax --mode=MODE [--flag=value ...] [--flagfile=FILE]

Modes (default: train):
{modes}

spade-jax --mode=MODE --help lists the flags of a mode.
A flagfile holds one flag a line; flags after it override it.
With the package come {flagfiles} and, for --mode=sample, --workdir=demo."""


def mode_help(mode: str, command: ModuleType) -> str:
    """What a mode does, and its flags in groups."""
    lines = [f'--mode={mode}: {str(command.__doc__).strip()}']
    for heading, names in _groups(mode, command):
        lines += ['', f'{heading}:', *(_flag_help(flags.FLAGS[name]) for name in names)]
    return '\n'.join(lines)


def _groups(mode: str, command: ModuleType) -> Iterator[tuple[str, list[str]]]:
    """The flags that a mode reads: its own, then those of the sections of Config."""
    yield f'Flags of --mode={mode}', [flag.name for flag in (WORKDIR, *command.FLAGS)]
    for section in command.SECTIONS:
        if section != 'model':
            yield f'Options: {section}', list(option_fields(SECTIONS[section]))
            continue
        yield 'Options: model', ['model']
        for model in MODELS:
            yield f'Options of --model={model}', list(option_fields(options_class(model)))


def _flag_help(flag: flags.Flag) -> str:
    name, text = f'  --{"[no]" * flag.boolean}{flag.name}', flag.help or ''
    if choices := getattr(flag.parser, 'enum_values', None):
        name += f'={"|".join(choices)}'
        text = text.removeprefix(f'<{"|".join(choices)}>: ')
    if flag.default not in (None, '', []):
        default = str(flag.default_as_str).strip("'")
        text += f' (default: {default})'
    return f'{name}\n{textwrap.indent(textwrap.fill(text, 92), 6 * " ")}'


def _with_flagfiles(arguments: Iterable[str], opened: tuple[str, ...] = ()) -> Iterator[str]:
    """The arguments, with the lines of each flagfile in its place; absl reads only plain UTF-8.

    A flagfile may name others; `opened` are the paths of those that led to these arguments.
    """
    arguments = iter(arguments)
    for argument in arguments:
        if not (match := _FLAGFILE.fullmatch(argument)):
            yield argument
            continue
        name = next(arguments, '') if match[1] is None else match[1]
        path = os.path.expanduser(name)
        if not os.path.exists(path):
            path = str(PACKAGED_FLAGFILES.get(name, path))
        remedy = f'give a file, or one of the package: {", ".join(PACKAGED_FLAGFILES)}'
        if path in opened:
            raise UserError(f'flagfile={name}: the file includes itself', 'remove this line')
        if not os.path.exists(path):
            raise UserError(f'flagfile={name}: no such file', remedy)
        with user_errors(f'flagfile={name} cannot be read', remedy):
            lines = map(str.strip, read_text(path).splitlines())
        given = [line for line in lines if line and not line.startswith(('#', '//'))]
        yield from _with_flagfiles(given, (*opened, path))


def _reject_flags_of_other_modes(
    arguments: list[str], mode: str, commands: Mapping[str, ModuleType]
) -> None:
    """Raises UserError for a flag of other modes; flagfiles may have them, so that modes share."""
    read = {name: {flag.name for flag in commands[name].FLAGS} for name in commands}
    for argument in arguments:
        flag = argument.partition('=')[0]
        names = {flag.lstrip('-'), flag.lstrip('-').removeprefix('no')}
        readers = [name for name in commands if names & read[name]]
        if argument.startswith('-') and readers and mode not in readers:
            owners = ' and '.join(f'--mode={reader}' for reader in readers)
            problem = f'{flag} has no effect with --mode={mode}'
            raise UserError(problem, f'it is a flag of {owners}')
