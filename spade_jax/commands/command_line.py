"""Parse the command line, print the help, and reject flags that the mode does not read."""

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from types import ModuleType

from absl import flags

from spade_jax import __version__
from spade_jax.commands.shared import WORKDIR
from spade_jax.config.config import SECTIONS, option_fields
from spade_jax.config.flagfiles import PACKAGED_FLAGFILES, Line, place_of_flag, with_flagfiles
from spade_jax.config.flags import parsed
from spade_jax.config.model_options import MODELS, options_class
from spade_jax.errors import UserError, one_line_errors

HELP_ALL = ('--help=all', '--helpfull')
HELP = ('--help', '-help', '--helpshort', '-h', *HELP_ALL)


def parse(argv: list[str], commands: Mapping[str, ModuleType]) -> list[str]:
    """Parse the flags; with --help or --version, print what they ask for, and exit.

    Returns the arguments that are no flags, after the name of the program.
    """
    with one_line_errors(argv[:1]):
        if '--version' in argv:
            print(f'spade-jax {__version__}')
            sys.exit()
        arguments = [argument for argument in argv if argument not in HELP]
        program, *given = arguments
        remaining = _parsed(program, with_flagfiles(given))
        mode = flags.FLAGS.mode
        if len(arguments) < len(argv) and len(remaining) == 1:
            show_all = not {*HELP_ALL}.isdisjoint(argv)
            has_mode = show_all or flags.FLAGS['mode'].present
            print(mode_help(mode, commands[mode], show_all) if has_mode else usage(commands))
            sys.exit()
        _reject_flags_of_other_modes(arguments[1:], mode, commands)
    return remaining


def _parsed(program: str, arguments: list[str]) -> list[str]:
    """Parse the flags; returns what are no flags. An error names the line of its flagfile."""
    try:
        remaining = parsed(flags.FLAGS, [program, *arguments], 'see --help')
    except UserError as error:
        named = re.search(r"--(\w+)|flag '(\w+)'", error.problem)
        place = named and place_of_flag(named[1] or named[2], arguments)
        if not place:
            raise
        raise UserError(f'{place}: {error.problem}', error.remedy) from None
    for word in remaining:
        if isinstance(word, Line):
            raise UserError(f'{word.place}: {word} is not a flag', 'write --name=value')
    return remaining


def usage(commands: Mapping[str, ModuleType]) -> str:
    """The modes, and how to get their help."""
    summaries = {mode: str(command.__doc__).splitlines()[0] for mode, command in commands.items()}
    modes = '\n'.join(f'  {mode:<14} {summary}' for mode, summary in summaries.items())
    flagfiles = ', '.join(PACKAGED_FLAGFILES)
    return f"""usage: spade-jax --mode=MODE [--flag=value ...] [--flagfile=FILE]

Modes (default: train):
{modes}

spade-jax --mode=MODE --help lists the first flags of a mode, --mode=MODE --help=all all of them,
and --version the version.
A flagfile holds one flag a line; other flags override it. --flagfile=NAME is one of the package:
{flagfiles}.
For the modes that read a run, --workdir=demo is the demo of the package."""


def mode_help(mode: str, command: ModuleType, show_all: bool) -> str:
    """What a mode does, and its flags in groups: all, or those that one needs first."""
    first, every = getattr(command, 'FIRST_FLAGS', {}), dict(_groups(mode, command))
    number, own_help = sum(map(len, every.values())), getattr(command, 'OTHER_OPTIONS', {})
    own_help = own_help | getattr(command, 'HELP', {})
    lines = [f'--mode={mode}: {str(command.__doc__).strip()}']
    for heading, names in (every if show_all or not first else first).items():
        texts = (_flag_help(flags.FLAGS[name], own_help.get(name)) for name in names)
        lines += ['', f'{heading}:', *texts]
    if first and not show_all:
        lines += ['', f'spade-jax --mode={mode} --help=all lists all {number} flags.']
    return '\n'.join(lines)


def _groups(mode: str, command: ModuleType) -> Iterator[tuple[str, list[str]]]:
    """The flags that a mode reads: its own, then those of the sections of Config."""
    options = getattr(command, 'OTHER_OPTIONS', ())
    yield f'Flags of --mode={mode}', [*(flag.name for flag in (WORKDIR, *command.FLAGS)), *options]
    for section in command.SECTIONS:
        if section != 'model':
            yield f'Options: {section}', list(option_fields(SECTIONS[section]))
            continue
        yield 'Options: model', ['model']
        for model in MODELS:
            yield f'Options of --model={model}', list(option_fields(options_class(model)))


def _flag_help(flag: flags.Flag, own: str | None) -> str:
    """The name of a flag with its help and default, or with the mode's `own` help."""
    name, text = f'  --{"[no]" * flag.boolean}{flag.name}', own or flag.help or ''
    if choices := getattr(flag.parser, 'enum_values', None):
        name += f'={"|".join(choices)}'
        text = text.removeprefix(f'<{"|".join(choices)}>: ')
    if not own and flag.default not in (None, '', []):
        default = str(flag.default_as_str).strip("'")
        text += f' (default: {default})'
    return f'{name}\n{textwrap.indent(textwrap.fill(text, 92), 6 * " ")}'


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
