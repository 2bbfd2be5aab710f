"""The demo checkpoint that ships with the package, from the run that trained it.

    python -m spade_jax.main --flagfile=experiments/demo.flags
    python experiments/make_demo.py --workdir=runs/demo

It holds the averaged weights and the discriminators, rounded so that they compress to half, and fresh optimisers: a run at step 0, from which pictures can be drawn and
other runs can start. Beside it go some held-out label maps and the photographs that belong to them.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from typing import Any

import jax
import numpy as np
from absl import app, flags

import spade_jax
from spade_jax.batch import Batch
from spade_jax.checkpoints import manifest
from spade_jax.checkpoints.checkpointer import (
    DIRECTORY,
    MANIFESTS_DIRECTORY,
    Checkpointer,
    newest_of_run,
)
from spade_jax.config.config import Config
from spade_jax.data.pipeline.input_pipeline import split_examples
from spade_jax.errors import one_line_errors
from spade_jax.files.image_grid import write_png
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.train_state import (
    TrainState,
    abstract_train_state,
    weights_to_draw_with,
    with_fresh_optimizers,
)
from spade_jax.reports.run_report import bytes_below

WORKDIR = flags.DEFINE_string('workdir', None, 'Directory of the run.', required=True)
OUTPUT = flags.DEFINE_string(
    'output', spade_jax.DEMO, 'Directory of the demo; what it holds is replaced.'
)
EXAMPLES = flags.DEFINE_integer(
    'examples',
    8,
    'Held-out label maps and photographs that go beside the checkpoint.',
    lower_bound=1,
)

DRAWING_BITS, OTHER_BITS = (
    7,
    5,
)  # that are kept of weights of generator and encoder, and of those that only training needs
POWER_ITERATIONS = 20


def main(argv: list[str]) -> None:
    """Writes the directory."""
    with one_line_errors(argv):
        config, state = trained(os.path.expanduser(WORKDIR.value))
        released = dataclasses.replace(shareable(config), ema_decay=0.0)
        for part in (DIRECTORY, 'labels', 'photos'):
            shutil.rmtree(os.path.join(OUTPUT.value, part), ignore_errors=True)
        with Checkpointer(OUTPUT.value) as checkpoints:
            checkpoints.save(drawn_with_average(released, state), released, None)
        forget_where_it_was_written(os.path.join(OUTPUT.value, DIRECTORY))
        write_examples(split_examples(config, 'validation', EXAMPLES.value), OUTPUT.value)
        print(
            f'{OUTPUT.value}: {bytes_below(OUTPUT.value) / 1e6:.1f} MB, after {int(state.step)} steps'
        )


def trained(workdir: str) -> tuple[Config, TrainState]:
    """The configuration of a run and its newest state, on the host."""
    with newest_of_run(workdir) as (checkpoints, step):
        config, _ = checkpoints.restore_run(step)
        return config, jax.device_get(checkpoints.restore(step, abstract_train_state(config)))


def shareable(config: Config) -> Config:
    """The configuration without what is of one machine: paths, intervals."""
    return dataclasses.replace(
        config,
        **{
            field.name: field.default
            for field in dataclasses.fields(Config)
            if field.metadata['may_change']
        },
    )


def drawn_with_average(config: Config, state: TrainState) -> TrainState:
    """The state at step 0 whose networks are the averaged ones, rounded."""
    generator, encoder = weights_to_draw_with(state.generator, state.encoder, state.average)
    return with_fresh_optimizers(
        config,
        rounded(generator, DRAWING_BITS),
        rounded(state.discriminator, OTHER_BITS),
        None if encoder is None else rounded(encoder, DRAWING_BITS),
    )


def rounded(variables: dict[str, Any], bits: int) -> dict[str, Any]:
    """Variables of a network whose parameters have so many significant bits, and the spectral vectors that belong to these."""

    def round_to_bits(x):
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(np.ldexp(mantissa, bits)), exponent - bits).astype(np.float32)

    variables = variables | {'params': jax.tree.map(round_to_bits, variables['params'])}
    for _ in range(POWER_ITERATIONS):
        variables = MOVED(variables)
    return jax.device_get(variables)


MOVED = jax.jit(power_iterate)


def forget_where_it_was_written(checkpoints: str) -> None:
    """Orbax notes the path of a checkpoint in files whose presence alone it reads."""
    for place, _, names in os.walk(checkpoints):
        if 'commit_success.txt' in names:
            with open(os.path.join(place, 'commit_success.txt'), 'w'):
                pass
    manifest.write(
        os.path.join(checkpoints, MANIFESTS_DIRECTORY, '0.json'), os.path.join(checkpoints, '0')
    )


def write_examples(batch: Batch, directory: str) -> None:
    """Label maps and photographs, under the same names."""
    for part, pictures in (('labels', batch.label.astype(np.uint8)), ('photos', batch.image)):
        os.makedirs(os.path.join(directory, part), exist_ok=True)
        for number, picture in enumerate(pictures):
            write_png(os.path.join(directory, part, f'landscape_{number:02d}.png'), picture)


if __name__ == '__main__':
    app.run(main)
