"""Make the demo checkpoint that ships with the package from the runs that train it.

    python -m spade_jax.main --flagfile=demo_64
    python -m spade_jax.main --flagfile=demo_128 --init_from=runs/demo_64
    python -m spade_jax.main --flagfile=demo --init_from=runs/demo_128
    python -m experiments.figures.make_demo --workdir=runs/demo

The demo is a run at step 0 with fresh optimizers, to sample from and to start other runs from. Its
sampling networks are the EMA of the run. All weights are rounded, so that they compress to half.
Some held-out label maps and their photos are next to it.
"""

import os
import shutil

import jax
import numpy as np
from absl import app, flags

import spade_jax
from experiments.evaluation.held_out import split_examples
from spade_jax.batch import Batch
from spade_jax.checkpoints.checkpointer import Checkpointer, open_latest
from spade_jax.config.config import Config, option_fields, shared_option_fields
from spade_jax.errors import one_line_errors
from spade_jax.files.image_grid import write_png
from spade_jax.files.names import CHECKPOINTS
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.model import Variables, build_model
from spade_jax.models.train_state import (
    TrainState,
    abstract_train_state,
    create_train_state,
    sampling_variables,
)
from spade_jax.reports.run_report import bytes_below

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.', required=True)
_OUTPUT = flags.DEFINE_string(
    'output', spade_jax.DEMO, 'Directory of the demo; its contents are replaced.'
)
_EXAMPLES = flags.DEFINE_integer(
    'examples', 8, 'Held-out label maps and photos next to the checkpoint.', lower_bound=1
)

# Significant bits of the weights that are kept.
SAMPLING_BITS, OTHER_BITS = 7, 5
POWER_ITERATIONS = 20


def main(argv: list[str]) -> None:
    """Write the directory."""
    with one_line_errors(argv):
        output = _OUTPUT.value
        config, state = load_state(os.path.expanduser(_WORKDIR.value))
        released = shareable(config).replace(ema_decay=0.0)
        for name in (CHECKPOINTS, 'labels', 'photos'):
            shutil.rmtree(os.path.join(output, name), ignore_errors=True)
        with Checkpointer(output) as checkpointer:
            checkpointer.save(released_state(released, state), released, None)
        clear_paths(os.path.join(output, CHECKPOINTS))
        write_examples(split_examples(config.data, 'validation', _EXAMPLES.value), output)
        megabytes = bytes_below(output) / 1e6
        print(f'{output}: {megabytes:.1f} MB, after {int(state.step)} steps')


def load_state(workdir: str) -> tuple[Config, TrainState]:
    """The configuration of a run and its newest state, on the host."""
    with open_latest(workdir) as (checkpointer, step):
        config = checkpointer.metadata(step).config
        state = checkpointer.restore(step, abstract_train_state(config), config)
        return config, jax.device_get(state)


def shareable(config: Config) -> Config:
    """The configuration with defaults for what may differ between machines: paths, intervals."""
    fields = shared_option_fields() | option_fields(type(config.model))
    mutable = {name: field for name, field in fields.items() if field.metadata['mutable']}
    return config.replace(**{name: field.default for name, field in mutable.items()})


def released_state(config: Config, state: TrainState) -> TrainState:
    """The state at step 0 with rounded weights; those of the sampling networks are the EMA."""
    names = build_model(config).sampling_networks
    networks = {name: rounded(state.networks[name], OTHER_BITS) for name in state.networks}
    for name, variables in sampling_variables(state.networks, state.ema, names).items():
        networks[name] = rounded(variables, SAMPLING_BITS)
    return create_train_state(config, networks)


def rounded(variables: Variables, bits: int) -> Variables:
    """Variables whose parameters have `bits` significant bits, with spectral vectors that fit."""

    def round_to_bits(x):
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)

    variables = variables | {'params': jax.tree.map(round_to_bits, variables['params'])}
    iterate = jax.jit(power_iterate)
    for _ in range(POWER_ITERATIONS):
        variables = iterate(variables)
    return jax.device_get(variables)


def clear_paths(checkpoints: str) -> None:
    """Empty the files in which Orbax notes the path of a checkpoint; it never reads them."""
    for directory, _, names in os.walk(checkpoints):
        if 'commit_success.txt' in names:
            with open(os.path.join(directory, 'commit_success.txt'), 'w', encoding='utf-8'):
                pass


def write_examples(batch: Batch, directory: str) -> None:
    """Write label maps and photos under the same names."""
    for folder, images in (('labels', batch.label.astype(np.uint8)), ('photos', batch.image)):
        os.makedirs(os.path.join(directory, folder), exist_ok=True)
        for number, image in enumerate(images):
            write_png(os.path.join(directory, folder, f'landscape_{number:02d}.png'), image)


if __name__ == '__main__':
    app.run(main)
