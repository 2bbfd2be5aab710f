"""Dropout whose masks are a function of a latent, so that they are the noise of an example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

LATENT_DIM = 64  # One dimension for each bit of a key.
# (features [B, H, W, C], block=index of the block) -> features of which some are 0.
Dropout = Callable[..., jax.Array]


def dropout_of(latent: jax.Array | None, rate: float = 0.5) -> Dropout:
    """The dropout of some examples: (x [B, H, W, C], number of the block) -> x.

    The signs of a latent are the bits of a random key, which a rounding error does not change. So
    an example has the same masks in any batch and on any device.

    Args:
      latent: [B, LATENT_DIM]; None: no dropout.
      rate: Probability of a zero; the other activations are divided by 1 - rate.
    """
    if latent is None:
        return lambda x, block: x
    words = (latent > 0).reshape(-1, 2, 32).astype(jnp.uint32)
    data = jnp.sum(words << jnp.arange(32, dtype=jnp.uint32), axis=-1, dtype=jnp.uint32)  # [B, 2]
    keys = jax.random.wrap_key_data(data, impl='threefry2x32')  # [B]

    def dropout(x: jax.Array, block: int) -> jax.Array:
        def mask(key: jax.Array) -> jax.Array:
            return jax.random.bernoulli(jax.random.fold_in(key, block), 1 - rate, x.shape[1:])

        return jnp.where(jax.vmap(mask)(keys), x / (1 - rate), 0).astype(x.dtype)

    return dropout
