"""The random numbers on the devices, derived from (seed, stream, step, index of the example).

No key is kept in the state: a resumed run samples what the uninterrupted one would have sampled, on
any number of devices.
"""

import enum
import functools

import jax


class Stream(enum.IntEnum):
    """The purpose of a random number. The values are part of a seed's meaning: do not renumber."""

    GENERATOR_WEIGHTS = 0
    DISCRIMINATOR_WEIGHTS = 1
    ENCODER_WEIGHTS = 2
    STYLE_IN_GENERATOR_UPDATE = 3
    STYLE_IN_DISCRIMINATOR_UPDATE = 4
    STYLE_OF_SAMPLES = 5
    GRADIENT_PENALTY = 6
    IMAGE_POOL = 8


def style_noise(
    seed: int, stream: Stream, step: jax.Array, indices: jax.Array, style_dim: int
) -> jax.Array:
    """Sample standard normal latents, one for each example of a step.

    Args:
      seed: Of the run.
      stream: The purpose of the latents.
      step: Scalar, number of the train step.
      indices: [B] position of each example in the global batch.
      style_dim: Length of a latent.

    Returns:
      [B, style_dim] float32.
    """
    key = jax.random.key(seed, impl='threefry2x32')  # Whatever JAX's default is.
    key = jax.random.fold_in(jax.random.fold_in(key, int(stream)), step)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(indices)
    return jax.vmap(lambda key: jax.random.normal(key, (style_dim,)))(keys)
