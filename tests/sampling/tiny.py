"""Untrained generators that sample in milliseconds, and label maps for them."""

from __future__ import annotations

import functools
import os
import pathlib
import types

import jax
import numpy as np
from PIL import Image

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.model import build_model
from spade_jax.models.train_state import TrainState, init_train_state
from spade_jax.sampling import TrainedGenerator

# With this gain an untrained generator samples all gray levels. At the default its images are
# uniformly gray, with a larger one black and white.
SMALL = dict(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=2,
    generator_multipliers='8,4,2,1',
    spade_hidden=4,
    discriminator_width=4,
    discriminator_depth=2,
    num_discriminators=1,
    perceptual_weight=0.0,
    init_gain=1.3,
)
PLAIN = Config.create(dontcare=True, **SMALL)
STYLED = Config.create(
    style_encoder=True, style_dim=4, encoder_width=2, encoder_input_size=64, **SMALL
)


@functools.cache
def state(config: Config) -> TrainState:
    """An initial state with converged spectral norms.

    Random spectral vectors give norms near 0, so that all images would be black and white.
    """
    initial = init_train_state(config)
    generator = initial.networks['generator']
    for _ in range(3):
        generator = _power_iterate(generator)
    return initial.replace(networks=initial.networks | {'generator': jax.device_get(generator)})


_power_iterate = jax.jit(power_iterate)


def generator(config: Config) -> TrainedGenerator:
    networks = state(config).networks
    names = build_model(config).sampling_networks
    return TrainedGenerator(config, {name: networks[name] for name in names})


def write_checkpoint(config: Config, workdir: pathlib.Path) -> pathlib.Path:
    """A work directory as training leaves it at step 0."""
    with Checkpointer(str(workdir)) as checkpointer:
        checkpointer.save(state(config), config, 1)
    return workdir


def write_labels(
    directory: pathlib.Path, *names: str, size: tuple[int, int] = (40, 48), num_classes: int = 3
) -> pathlib.Path:
    """Different label maps of (height, width) `size`."""
    for number, name in enumerate(names):
        path = directory / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = np.random.default_rng(number).integers(0, num_classes, (4, 4), np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((size[0] // 4, size[1] // 4), np.uint8))).save(path)
    return directory


def write_photos(
    directory: pathlib.Path, *names: str, extension: str = '.jpg', size: tuple[int, int] = (40, 48)
) -> pathlib.Path:
    """Photos of noise in different colors."""
    for number, name in enumerate(names):
        path = directory / f'{name}{extension}'
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3))
        tint = [1, 0.3 * (number % 3), 0.5 * (number % 2)]
        Image.fromarray((noise * tint).astype(np.uint8)).save(path)
    return directory


def pixels(path: pathlib.Path | str) -> np.ndarray:
    return np.asarray(Image.open(path))


def named_maps(directory: str, *files: str) -> types.SimpleNamespace:
    """Names and paths of label maps that do not exist."""
    paths = [f'{directory}/{file}' for file in files]
    names = [os.path.splitext(file)[0] for file in files]
    return types.SimpleNamespace(names=names, paths=paths, locations=paths)
