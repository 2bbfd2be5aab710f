"""Parse the command line, print the help, and reject flags that the mode does not read."""

import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from types import ModuleType

from absl import flags

from spade_jax.commands.shared import WORKDIR
from spade_jax.config.config import SECTIONS, option_fields
from spade_jax.config.model_options import MODELS, options_class
from spade_jax.errors import UserError, one_line_errors

HELP = ('--help', '-help', '--helpshort', '-h')
PACKAGED_FLAGFILES = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'configs')


def parse(argv: list[str], commands: Mapping[str, ModuleType]) -> list[str]:
    """Parse the flags; with --help, print the help of the mode or the list of modes, and exit.

    Args:
      argv: The command line, the name of the program first.
      commands: The modes by name.

    Returns:
      The arguments that are no flags, the name of the program first.

    Raises:
      SystemExit: After the help, or after an error message: a flag is unknown, its value is
        illegal, or the mode does not read it.
    """
    with one_line_errors(argv[:1]):
        arguments = [_with_packaged_flagfile(arg) for arg in argv if arg not in HELP]
        try:
            remaining = flags.FLAGS(arguments)
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
    flagfiles = ', '.join(f'--flagfile={name}' for name in packaged_flagfiles())
    summaries = {
        mode: (command.__doc__ or '').splitlines()[0] for mode, command in commands.items()
    }
    modes = '\n'.join(f'  {mode:<14} {summary}' for mode, summary in summaries.items())
    return f"""usage: spade-jax --mode=MODE [--flag=value ...] [--flagfile=FILE]

Modes (default: train):
{modes}

spade-jax --mode=MODE --help lists the flags of a mode.
A flagfile holds one flag a line; flags after it override it.
With the package come {flagfiles} and, for --mode=sample, --workdir=demo."""


def mode_help(mode: str, command: ModuleType) -> str:
    """What a mode does, and its flags in groups."""
    lines = [f'--mode={mode}: {(command.__doc__ or "").strip()}']
    for heading, names in _groups(mode, command):
        lines += ['', f'{heading}:', *(_flag_help(flags.FLAGS[name]) for name in names)]
    return '\n'.join(lines)


def packaged_flagfiles() -> list[str]:
    """Names of the flagfiles of the package."""
    return sorted(file.removesuffix('.flags') for file in os.listdir(PACKAGED_FLAGFILES))


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
    name = f'  --[no]{flag.name}' if flag.boolean else f'  --{flag.name}'
    text = flag.help
    if choices := getattr(flag.parser, 'enum_values', None):
        name += f'={"|".join(choices)}'
        text = text.removeprefix(f'<{"|".join(choices)}>: ')
    if flag.default not in (None, '', []):
        text += f' (default: {flag.default_as_str.strip(chr(39))})'
    return f'{name}\n{textwrap.indent(textwrap.fill(text, 92), 6 * " ")}'


def _with_packaged_flagfile(argument: str) -> str:
    """For --flagfile=NAME, where NAME is no file, the packaged flagfile of this name."""
    flag, _, name = argument.partition('=')
    if flag.lstrip('-') != 'flagfile' or os.path.exists(os.path.expanduser(name)):
        return argument
    if name not in (names := packaged_flagfiles()):
        remedy = f'give a file, or one of the package: {", ".join(names)}'
        raise UserError(f'flagfile={name}: no such file', remedy)
    return f'--flagfile={os.path.join(PACKAGED_FLAGFILES, name)}.flags'


def _reject_flags_of_other_modes(
    arguments: list[str], mode: str, commands: Mapping[str, ModuleType]
) -> None:
    """Raises UserError for an argument that sets a flag of other modes.

    Those in flagfiles are not looked at, so that modes can share a flagfile.
    """
    readers: dict[str, list[str]] = {}
    for name, command in commands.items():
        for flag in command.FLAGS:
            readers.setdefault(flag.name, []).append(f'--mode={name}')
    for argument in arguments:
        name = argument.partition('=')[0].lstrip('-')
        name = name if name in readers else name.removeprefix('no')
        owners = readers.get(name, [])
        if argument.startswith('-') and owners and f'--mode={mode}' not in owners:
            problem = f'--{name} has no effect with --mode={mode}'
            raise UserError(problem, f'it is a flag of {" and ".join(owners)}')
