"""Mode collapse in two dimensions: which adversarial losses cover a ring of Gaussians.

Two small networks play the game on points of eight Gaussians on a circle (as in Metz et al. 2017).
A point is good within three standard deviations of a center; a mode is covered if at least a
quarter of its share of the points is good.

    python -m experiments.evaluation.ring_of_gaussians
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from spade_jax.models import losses
from spade_jax.models.losses import GAN_LOSSES, ScaleOutput

MODES, RADIUS, DEVIATION = 8, 1.0, 0.05
BATCH_SIZE, LATENT_DIM, NUM_SAMPLES = 128, 8, 2048
PENALTY_WEIGHT, DISCRIMINATOR_STEPS, LEARNING_RATE = 0.1, 5, 1e-3


class Perceptron(nn.Module):
    """[B, D] -> [B, features]."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.leaky_relu(nn.Dense(64)(x), 0.2)
        return nn.Dense(self.features)(x)


class Coverage(NamedTuple):
    """What samples [N, 2] cover: the number of modes, and the share of good samples."""

    modes: int
    good: float


def centers() -> np.ndarray:
    """The centers of the Gaussians, [MODES, 2]."""
    angles = 2 * np.pi * np.arange(MODES) / MODES
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def coverage(points: np.ndarray) -> Coverage:
    """What points [N, 2] cover."""
    distances = np.linalg.norm(points[:, None] - centers(), axis=-1)  # [N, MODES]
    good = distances.min(axis=1) < 3 * DEVIATION
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=MODES)
    return Coverage(int((counts >= 0.25 * len(points) / MODES).sum()), float(good.mean()))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def samples_of(
    kind: str, penalty_weight: float, steps: int, discriminator_steps: int, seed: jax.Array
) -> jax.Array:
    """Train with a loss of `GAN_LOSSES`, then sample [NUM_SAMPLES, 2]."""
    generator, discriminator = Perceptron(2), Perceptron(1)
    optimizer = optax.adam(LEARNING_RATE, b1=0.0, b2=0.9)
    keys = jax.random.split(jax.random.key(seed), 4)
    g = generator.init(keys[0], jnp.zeros((1, LATENT_DIM)))
    d = discriminator.init(keys[1], jnp.zeros((1, 2)))

    def real(key: jax.Array) -> jax.Array:
        of_mode, around = jax.random.split(key)
        mode = jax.random.randint(of_mode, (BATCH_SIZE,), 0, MODES)
        noise = DEVIATION * jax.random.normal(around, (BATCH_SIZE, 2))
        return jnp.asarray(centers(), jnp.float32)[mode] + noise

    def fake(g: Any, key: jax.Array, count: int = BATCH_SIZE) -> jax.Array:
        return generator.apply(g, jax.random.normal(key, (count, LATENT_DIM)))  # pyright: ignore

    def outputs(d: Any, points: jax.Array) -> list[ScaleOutput]:
        return [ScaleOutput([], discriminator.apply(d, points))]  # pyright: ignore

    def discriminator_loss(d: Any, g: Any, key: jax.Array) -> jax.Array:
        of_real, of_fake, of_fractions = jax.random.split(key, 3)
        points = fake(g, of_fake), real(of_real)
        terms = losses.discriminator_loss(kind, *(outputs(d, each) for each in points))
        total = terms['fake'] + terms['real']
        if penalty_weight:
            fractions = jax.random.uniform(of_fractions, (BATCH_SIZE,))
            logits: Any = functools.partial(discriminator.apply, d)
            total += penalty_weight * losses.gradient_penalty(logits, *points, fractions)
        return total

    def generator_loss(g: Any, d: Any, key: jax.Array) -> jax.Array:
        return losses.generator_loss(kind, outputs(d, fake(g, key)))

    def move(loss: Any, own: Any, other: Any, state: Any, key: jax.Array) -> Any:
        updates, state = optimizer.update(jax.grad(loss)(own, other, key), state)
        return optax.apply_updates(own, updates), state

    def discriminator_step(carry: Any, key: jax.Array) -> Any:
        g, d, of_g, of_d = carry
        d, of_d = move(discriminator_loss, d, g, of_d, key)
        return (g, d, of_g, of_d), None

    def step(carry: Any, key: jax.Array) -> Any:
        of_step, *of_steps = jax.random.split(key, 1 + discriminator_steps)
        (g, d, of_g, of_d), _ = jax.lax.scan(discriminator_step, carry, jnp.stack(of_steps))
        g, of_g = move(generator_loss, g, d, of_g, of_step)
        return (g, d, of_g, of_d), None

    carry = g, d, optimizer.init(g), optimizer.init(d)
    (g, *_), _ = jax.lax.scan(step, carry, jax.random.split(keys[2], steps))
    return fake(g, keys[3], NUM_SAMPLES)


def measure(kind: str, *, penalty: bool = False, steps: int = 1000, seed: int = 0) -> Coverage:
    """What a generator covers that was trained with a loss."""
    weight = PENALTY_WEIGHT if penalty else 0.0
    return coverage(np.asarray(samples_of(kind, weight, steps, DISCRIMINATOR_STEPS, seed)))


def main(argv: list[str]) -> None:
    """Print a table of all losses."""
    del argv
    values = flags.FLAGS
    print(f'Modes of {MODES} covered, and share of good samples, for {values.seeds} seeds')
    for kind in GAN_LOSSES:
        for penalty in (False, True):
            options: dict[str, Any] = dict(penalty=penalty, steps=values.steps)
            found = [measure(kind, seed=seed, **options) for seed in range(values.seeds)]
            cells = '   '.join(f'{each.modes} {each.good:4.0%}' for each in found)
            print(f'{kind:>14} {"penalty" if penalty else "":>8}   {cells}', flush=True)


if __name__ == '__main__':
    flags.DEFINE_integer('steps', 1000, 'Generator steps.', 1)
    flags.DEFINE_integer('seeds', 3, 'Number of seeds.', 1)
    app.run(main)
