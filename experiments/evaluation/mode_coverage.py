"""Which of the hidden biomes of the landscapes do the samples of a GAN cover?

    python -m experiments.evaluation.mode_coverage --workdir=runs/gan_landscapes

Every landscape belongs to one of seven biomes, or is a simple composition, which counts as an
eighth; the data do not tell. A small network learns them from fresh scenes, whose seeds tell; its
answers for samples show whether the generator has collapsed to some of them. Its accuracy on other
scenes is printed, too: it bounds what the shares mean.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

import spade_jax
from spade_jax import landscapes
from spade_jax.errors import UserError, one_line_errors
from spade_jax.landscapes.biomes import BIOMES
from spade_jax.landscapes.compositions import sample_layout
from spade_jax.landscapes.layout import Layout
from spade_jax.sampling import TrainedGenerator

NAMES = (
    *('mountain lake', 'coast', 'river valley', 'hills', 'forest', 'desert', 'highland'),
    'composition',  # One large thing, in any country.
)
COVERED = 0.25  # of the share of a biome among real scenes
_FIRST_SEED = 10**6  # beyond those of the training set, far below those of the validation set
_BATCH_SIZE, _STEPS = 64, 1200


class BiomeClassifier(nn.Module):
    """[B, H, W, 3] in [-1, 1] -> [B, biomes] logits."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for width in (16, 32, 64):
            x = nn.relu(nn.Conv(width, (3, 3), (2, 2))(x))
        x = nn.relu(nn.Dense(64)(x.mean(axis=(1, 2))))
        return nn.Dense(len(NAMES))(x)


class Coverage(NamedTuple):
    """Shares of the biomes among samples and real scenes, [biomes] each."""

    samples: np.ndarray
    real: np.ndarray

    @property
    def covered(self) -> int:
        """Number of biomes that are not lost."""
        return int((self.samples >= COVERED * self.real).sum())

    @property
    def distance(self) -> float:
        """Total variation distance of the shares: 0 for the same, 1 for disjoint ones."""
        return float(np.abs(self.samples - self.real).sum() / 2)


def scenes(count: int, height: int, width: int, first_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rendered scenes [N, H, W, 3] uint8 and the numbers of their biomes [N]."""
    seeds = range(first_seed, first_seed + count)
    images = [landscapes.render_scene(seed, height, width).image for seed in seeds]
    return np.stack(images), np.array([_number(sample_layout(seed)) for seed in seeds])


def _number(layout: Layout) -> int:
    """The number of a biome in `NAMES`."""
    return len(BIOMES) if layout.composition else BIOMES.index(layout.biome)


def fit(images: np.ndarray, biomes: np.ndarray, steps: int = _STEPS) -> Any:
    """The variables of a classifier, fitted to images and their mirror images."""
    classifier, optimizer = BiomeClassifier(), optax.adam(2e-3)
    params = classifier.init(jax.random.key(0), jnp.zeros((1, *images.shape[1:])))

    @jax.jit
    def step(params: Any, state: Any, batch: jax.Array, labels: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            logits: Any = classifier.apply(params, _signed(batch))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    random, state = np.random.default_rng(0), optimizer.init(params)
    for _ in range(steps):
        chosen = random.integers(0, len(images), _BATCH_SIZE)
        batch = images[chosen][:, :, :: random.choice([-1, 1])]
        params, state = step(params, state, batch, biomes[chosen])
    return params


def predict(params: Any, images: np.ndarray) -> np.ndarray:
    """The numbers of the biomes [N] of images."""
    logits = jax.jit(lambda batch: BiomeClassifier().apply(params, _signed(batch)))
    return np.asarray(jnp.argmax(logits(images), axis=-1))  # pyright: ignore


def shares(biomes: Sequence[int] | np.ndarray) -> np.ndarray:
    """The share of each biome, [biomes]."""
    return np.bincount(np.asarray(biomes), minlength=len(NAMES)) / len(biomes)


def measure(
    generator: TrainedGenerator, num_scenes: int, num_samples: int
) -> tuple[Coverage, float]:
    """What a generator covers, and the accuracy of the classifier on scenes that it has not seen.

    Raises:
      UserError: The generator has a condition, or its run was not one of landscapes.
    """
    data = generator.config.data
    if not data.unconditional or data.dataset != 'scenes':
        problem = f'model={generator.config.model.name}, dataset={data.dataset}: biomes are of '
        raise UserError(problem + 'landscapes without condition', 'use a run of --model=gan')
    size, held_out = (data.image_height, data.image_width), max(70, num_scenes // 4)
    params = fit(*scenes(num_scenes, *size, _FIRST_SEED))
    images, biomes = scenes(held_out, *size, _FIRST_SEED + num_scenes)
    answers = predict(params, images)
    samples = predict(params, generator(num=num_samples, batch_size=32))
    return Coverage(shares(samples), shares(answers)), float((answers == biomes).mean())


def _signed(images: jax.Array) -> jax.Array:
    return jnp.asarray(images, jnp.float32) / 127.5 - 1


def main(argv: list[str]) -> None:
    """Print the table."""
    with one_line_errors(argv):
        values = flags.FLAGS
        generator = spade_jax.load(values.workdir)
        found, accuracy = measure(generator, values.scenes, values.samples)
        print(f'{"biome":<16}{"scenes":>8}{"samples":>9}')
        for name, real, sampled in zip(NAMES, found.real, found.samples, strict=True):
            print(f'{name:<16}{real:8.1%}{sampled:9.1%}')
        print(f'covered: {found.covered} of {len(NAMES)}; distance {found.distance:.2f}')
        print(f'accuracy on scenes that the classifier has not seen: {accuracy:.1%}')


if __name__ == '__main__':
    flags.DEFINE_string('workdir', None, 'Work directory of the run.', required=True)
    flags.DEFINE_integer('scenes', 1500, 'Scenes to learn the biomes from.', 70)
    flags.DEFINE_integer('samples', 700, 'Samples of the generator.', 1)
    app.run(main)
