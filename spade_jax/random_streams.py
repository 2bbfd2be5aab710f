"""Every random number on the devices, derived from (seed, stream, step, index of the example).

None is kept in the state: a resumed run draws what the uninterrupted one would have drawn, on any number of devices.
"""

from __future__ import annotations

import enum

import jax


class Stream(enum.IntEnum):
    """What a random number is for. The values are part of what a seed means: do not renumber."""

    GENERATOR_WEIGHTS = 0
    DISCRIMINATOR_WEIGHTS = 1
    ENCODER_WEIGHTS = 2
    STYLE_IN_GENERATOR_UPDATE = 3
    STYLE_IN_DISCRIMINATOR_UPDATE = 4
    STYLE_OF_SAMPLES = 5


def style_noise(
    seed: int, stream: Stream, step: jax.Array, indices: jax.Array, style_dim: int
) -> jax.Array:
    """Standard normal latents, one for each example of a step.

    Args:
      step: scalar, the number of the train step.
      indices: [B] position of each example in the global batch.

    Returns:
      [B, style_dim] float32.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), int(stream)), step)
    return jax.vmap(lambda index: jax.random.normal(jax.random.fold_in(key, index), (style_dim,)))(
        indices
    )
