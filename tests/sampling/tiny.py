"""Untrained generators that draw in no time, and label maps for them."""

from __future__ import annotations

import os
import pathlib
import types

import jax
import numpy as np
from PIL import Image

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.config import Config
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import TrainState, init_train_state
from spade_jax.sampling import TrainedGenerator

_MOVED = jax.jit(power_iterate)

# With this gain an untrained generator draws all grey levels, at the usual one only gray, at a larger one black and white.
PLAIN = Config.create(
    num_classes=3,
    dontcare=True,
    crop_size=32,
    load_size=32,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    perceptual_weight=0.0,
    init_gain=1.3,
)
STYLED = Config.create(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    perceptual_weight=0.0,
    style_encoder=True,
    style_dim=4,
    encoder_width=2,
    encoder_input_size=64,
    init_gain=1.3,
)


def state(config: Config) -> TrainState:
    """Of the first step, but with spectral vectors that have found the norms: random ones belong to norms near 0, and all pictures would be black and white."""
    start = init_train_state(config, build_networks(config))
    variables = start.generator
    for _ in range(3):
        variables = _MOVED(variables)
    return start.replace(generator=jax.device_get(variables))


def generator(config: Config) -> TrainedGenerator:
    start = state(config)
    return TrainedGenerator(config, start.generator, start.encoder)


def write_checkpoint(config: Config, workdir: pathlib.Path) -> pathlib.Path:
    """A work directory as training leaves it at step 0."""
    with Checkpointer(str(workdir)) as checkpoints:
        checkpoints.save(state(config), config, 1)
    return workdir


def write_labels(
    directory: pathlib.Path, *names: str, size: tuple[int, int] = (40, 48), num_classes: int = 3
) -> pathlib.Path:
    """Label maps of (height, width) `size`, each of a seed of its own."""
    for number, name in enumerate(names):
        path = directory / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = np.random.default_rng(number).integers(0, num_classes, (4, 4), np.uint8)
        Image.fromarray(np.kron(blocks, np.ones((size[0] // 4, size[1] // 4), np.uint8))).save(path)
    return directory


def write_photos(
    directory: pathlib.Path, *names: str, extension: str = '.jpg', size: tuple[int, int] = (40, 48)
) -> pathlib.Path:
    """Photographs of noise, in colours of their own."""
    for number, name in enumerate(names):
        path = directory / f'{name}{extension}'
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3))
        Image.fromarray(
            (noise * [1, 0.3 * (number % 3), 0.5 * (number % 2)]).astype(np.uint8)
        ).save(path)
    return directory


def pixels(path: pathlib.Path | str) -> np.ndarray:
    return np.asarray(Image.open(path))


def named_maps(directory: str, *files: str) -> types.SimpleNamespace:
    """Label maps that are not there: their names and paths alone."""
    paths = [f'{directory}/{file}' for file in files]
    return types.SimpleNamespace(
        names=[os.path.splitext(file)[0] for file in files], paths=paths, locations=paths
    )
