"""Compare the networks of the perceptual loss: train the quickstart with each for the same time.

    python -m experiments.figures.perceptual_networks --seconds=420 --seeds=0,1,2

trains without the loss and with each network, at a constant learning rate, and writes a table and a
sheet of samples into the root of the work directories: nine runs of seven minutes. What is done is
not repeated: the same command resumes, and more --seconds extend all runs.

A Frechet distance over the features that a run was trained with flatters it (a star in the table):
compare by that over the other network.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags

import spade_jax
from experiments.evaluation.held_out import split_examples
from experiments.figures.tour import FRECHET, LAYOUT, Scorer, table, train_for
from spade_jax.batch import Batch
from spade_jax.config.config import PERCEPTUAL_NETWORKS, Config
from spade_jax.data.files.palette import colorize_input
from spade_jax.errors import UserError, one_line_errors
from spade_jax.evaluation.frechet import fit_gaussian, frechet_distance
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.compilation_cache import keep_compilations
from spade_jax.files.image_grid import image_grid, write_png
from spade_jax.models import squeezenet
from spade_jax.sampling import TrainedGenerator

NETWORKS = ('none', 'squeezenet', 'efficientnet_lite0')
# The Frechet distances by the network whose features they compare.
DISTANCES = {'efficientnet_lite0': FRECHET, 'squeezenet': 'squeezenet_frechet'}
EXAMPLES, SHOWN, _BATCH = 256, 8, 32


class Trained(NamedTuple):
    """A run that is done.

    Attributes:
      network: One of `NETWORKS`.
      seed: Of the run.
      steps: Steps that fitted into the time.
      scores: By name.
      generator: Its newest checkpoint.
    """

    network: str
    seed: int
    steps: int
    scores: Mapping[str, float]
    generator: TrainedGenerator


def config_of(network: str, seed: int) -> Config:
    """The quickstart with a network, at a constant rate so that its end is the same for all."""
    options: dict[str, Any] = dict(perceptual_network=network)
    if network == 'none':
        options = dict(perceptual_weight=0.0)
    options |= dict(vgg19_weights=flags.FLAGS.vgg19_weights) if network == 'vgg19' else {}
    fixed = dict(constant_epochs=1000, decay_epochs=0, ema_decay=0.99, seed=seed)
    return spade_jax.configure('quickstart', **fixed, **options)


def squeezenet_features(images: np.ndarray) -> np.ndarray:
    """The means over all pixels of SqueezeNet's last activations: uint8 images -> [N, 512]."""
    variables = jax.device_put(squeezenet.load_squeezenet())

    @jax.jit
    def features(batch: jax.Array) -> jax.Array:
        inputs = squeezenet.prepare(batch / 127.5 - 1)
        activations: Any = squeezenet.SqueezeNet().apply(variables, inputs)
        return activations[-1].mean(axis=(1, 2))

    batches = (images[first : first + _BATCH] for first in range(0, len(images), _BATCH))
    return np.concatenate([features(batch) for batch in batches])


def squeezenet_frechet(generator: TrainedGenerator, batch: Batch) -> float:
    """The Frechet distance between samples of label maps and their photos."""
    images = generator(batch.label, seed=0, batch_size=_BATCH)
    one, other = (fit_gaussian(squeezenet_features(x)) for x in (images, batch.image))
    return frechet_distance(one, other)


def mean_and_deviation(values: Sequence[float], form: str) -> str:
    """'0.81 +- 0.01'."""
    text = format(np.mean(values), form)
    return f'{text} +- {np.std(values, ddof=1):{form}}' if len(values) > 1 else text


def summary(trained: Sequence[Trained]) -> str:
    """The table: means over the seeds and their standard deviations."""
    rows = [
        ('network', 'steps', 'layout judge', 'of photos', *(f'Frechet, {d}' for d in DISTANCES))
    ]
    for network in dict.fromkeys(each.network for each in trained):
        runs = [each for each in trained if each.network == network]
        steps = f'{np.mean([each.steps for each in runs]):,.0f}'
        ratios = [each.scores[LAYOUT] / each.scores['layout_of_photos'] for each in runs]
        layout = mean_and_deviation([each.scores[LAYOUT] for each in runs], '.3f')
        distances = []
        for features, name in DISTANCES.items():
            values = [each.scores[name] for each in runs if name in each.scores]
            text = mean_and_deviation(values, '.1f') if values else '-'
            distances.append(text + ' *' * (features == network))
        rows.append((network, steps, layout, mean_and_deviation(ratios, '.3f'), *distances))
    return table(rows)


def sheet(trained: Sequence[Trained], batch: Batch) -> np.ndarray:
    """Label maps, photos, and samples of the first run of each network."""
    first = {each.network: each for each in reversed(trained)}
    networks = dict.fromkeys(each.network for each in trained)
    shown = Batch(*(None if x is None else x[:SHOWN] for x in batch))
    samples = [first[network].generator(shown.label, seed=1) for network in networks]
    data = trained[0].generator.config.data
    return image_grid([colorize_input(shown.label, data), shown.image, *samples], per_row=1)


def run(networks: Sequence[str], seeds: Sequence[int], root: str, seconds: float) -> None:
    """Train, score, and write table and sheet after each run."""
    scorer, trained = None, []
    for seed in seeds:
        for network in networks:
            config, workdir = config_of(network, seed), os.path.join(root, f'{network}_{seed}')
            pace = train_for(config, workdir, seconds)
            scorer, generator = scorer or Scorer(config), spade_jax.load(workdir)
            batch = split_examples(config.data, 'validation', EXAMPLES)
            scores = scorer(generator)
            scores |= {DISTANCES['squeezenet']: squeezenet_frechet(generator, batch)}
            trained.append(Trained(network, seed, pace.steps, scores, generator))
            text = summary(trained)
            print(text, flush=True)
            with atomic_write(os.path.join(root, 'summary.md')) as partial:
                with open(partial, 'w', encoding='utf-8') as file:
                    file.write(text + '\n')
            write_png(os.path.join(root, 'samples.png'), sheet(trained, batch))


def main(argv: list[str]) -> None:
    """Compare the networks that the flags choose."""
    with one_line_errors(argv):
        values, known = flags.FLAGS, ('none', *PERCEPTUAL_NETWORKS)
        if unknown := [name for name in values.networks if name not in known]:
            raise UserError(f'networks={unknown[0]} is not a network', f'use {",".join(known)}')
        keep_compilations(None)
        seeds = [int(seed) for seed in values.seeds]
        run(values.networks, seeds, os.path.expanduser(values.workdir_root), values.seconds)


if __name__ == '__main__':
    flags.DEFINE_string('workdir_root', 'runs/perceptual', 'Directory of the work directories.')
    flags.DEFINE_float('seconds', 420, 'Training time of each run.', 1)
    flags.DEFINE_list('networks', [*NETWORKS], 'Networks; "none" for a run without the loss.')
    flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of the runs.')
    flags.DEFINE_string('vgg19_weights', '', 'The weights of VGG19, for --networks=vgg19.')
    app.run(main)
