"""Train SPADE with PyTorch for some minutes, and write the weights as published files name them.

    pip install -e '.[torch]'
    python -m experiments.evaluation.train_pytorch --recipe=tour/spade --minutes=20

The configuration is that of a flagfile of spade_jax; networks and train step are those of the
benchmark. All examples are read into memory first. `equal_time` compares the result with spade_jax.
"""

# PyTorch may not be installed.
# pyright: reportMissingImports=false

import os
import time

import numpy as np
import torch
from absl import app, flags
from torch import nn

import spade_jax
from experiments.benchmarks.pytorch_networks import SpectralConv2d, power_iterate
from experiments.benchmarks.pytorch_peer import Losses, Run, Settings, Training
from experiments.benchmarks.torch_workloads import make_discriminator, make_generator
from experiments.evaluation.held_out import split_examples
from spade_jax.config.config import Config
from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.atomic_write import atomic_write

_RECIPE = flags.DEFINE_string('recipe', 'tour/spade', 'Flagfile of spade_jax.')
_MINUTES = flags.DEFINE_float('minutes', 20.0, 'Minutes from the end of the first step.', 0)
_WEIGHTS_DIR = flags.DEFINE_string('weights_dir', 'weights', 'Directory of the weights.')
_SETTINGS = flags.DEFINE_list(
    'settings', ['channels_last', 'compile'], 'How PyTorch runs, see `pytorch_peer.Settings`.'
)
WEIGHTS = 'latest_net_G.pth'


def main(argv: list[str]) -> None:
    """Train, and write the weights."""
    with one_line_errors(argv):
        config = spade_jax.configure(_RECIPE.value)
        check(config)
        settings = Settings(**dict.fromkeys(_SETTINGS.value, True))
        training = make_training(config, settings, config.run.seed)
        steps, losses = train(training, config, 60 * _MINUTES.value)
        os.makedirs(_WEIGHTS_DIR.value, exist_ok=True)
        with atomic_write(os.path.join(_WEIGHTS_DIR.value, WEIGHTS)) as partial:
            torch.save(published(training.generator), partial)
        values = ', '.join(f'{name}={value.item():.3g}' for name, value in losses.items())
        print(f'{steps} steps of {config.optimizer.batch_size}; {values}')


def check(config: Config) -> None:
    """Raises UserError if the program has not what a configuration asks for."""
    model, optimizer = config.model, config.optimizer
    absent = {
        '--model=spade': model.name != 'spade',
        '--perceptual_weight=0': bool(config.losses.perceptual_weight),
        '--nottur': optimizer.ttur,
        '--nostyle_encoder': bool(getattr(model, 'style_encoder', False)),
    }
    if needed := [flag for flag, is_needed in absent.items() if is_needed]:
        raise UserError('PyTorch trains the plain recipe alone', f'use {" ".join(needed)}')


def make_training(config: Config, settings: Settings, seed: int) -> Training:
    """The train step with networks that begin as those of spade_jax."""
    torch.manual_seed(seed)
    networks = make_generator(config), make_discriminator(config)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight, gain=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        power_iterate(network)
    run = Run(torch.device('cpu'), config.data.num_classes, config.data.dontcare, settings)
    rate = config.optimizer.learning_rate
    return Training(*networks, None, run, (rate, rate))


def train(training: Training, config: Config, seconds: float) -> tuple[int, Losses]:
    """Take steps for some seconds after the first, which compiles; their number and last losses."""
    batch = split_examples(config.data, 'train', config.data.scenes_train_examples)
    random, steps = np.random.default_rng(config.run.seed), 0
    size, batch_size = len(batch.label), config.optimizer.batch_size
    if size < batch_size:
        problem = f'batch_size={batch_size}, but there are {size} examples'
        raise UserError(problem, 'use a smaller batch')
    end, losses = float('inf'), {}
    while time.monotonic() < end:
        order = random.permutation(size)
        for first in range(0, size - batch_size + 1, batch_size):
            if time.monotonic() >= end:
                break
            chosen = order[first : first + batch_size]
            images, labels = batch.image[chosen], batch.label[chosen]
            mirrored = random.random(len(chosen)) < 0.5
            for pixels in (images, labels):
                pixels[mirrored] = pixels[mirrored, :, ::-1]
            losses, steps = training(images, labels), steps + 1
            if steps == 1:
                end = time.monotonic() + seconds
    return steps, losses


def published(generator: nn.Module) -> dict[str, torch.Tensor]:
    """The weights by the names of published files, which keep what a spectral norm divides."""
    state = dict(generator.state_dict())
    for name, module in generator.named_modules():
        if isinstance(module, SpectralConv2d):
            state[f'{name}.weight_orig'] = state.pop(f'{name}.weight')
    return {name: tensor.contiguous() for name, tensor in state.items()}


if __name__ == '__main__':
    app.run(main)
