"""The program: `python -m spade_jax.main --mode=MODE ...`, or `spade-jax --mode=MODE ...`.

A mode is a file in `commands/`, with its flags and its help, and its name in `MODES`.
"""

import functools
import importlib
import os
import sys

from absl import app, flags, logging

from spade_jax.commands.command_line import parse
from spade_jax.config.flags import define_flags
from spade_jax.errors import one_line_errors
from spade_jax.standard_streams import protect_standard_streams

MODES = (
    *('train', 'sample', 'validate_data', 'prepare_data', 'report', 'memory'),
    *('evaluate', 'convert', 'export_torch', 'export', 'studio'),
)
COMMANDS = {mode: importlib.import_module(f'spade_jax.commands.{mode}') for mode in MODES}
MODE = flags.DEFINE_enum('mode', 'train', MODES, 'What the program does.')
define_flags()
parse_flags = functools.partial(parse, commands=COMMANDS)


def main(argv: list[str]) -> None:
    """Run the mode that the parsed flags choose."""
    logging.set_verbosity(logging.WARNING)  # JAX logs its search for backends as information.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # XLA, too, logs errors alone.
    with one_line_errors(argv):
        COMMANDS[MODE.value].run()


def run() -> None:
    """Run the program with the command line of this process."""
    protect_standard_streams()
    logging.get_absl_handler().python_handler.setStream(sys.stderr)
    app.run(main, flags_parser=parse_flags)


if __name__ == '__main__':
    run()
