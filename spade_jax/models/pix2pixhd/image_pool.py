"""A pool of earlier fake images for the discriminator (Shrivastava et al. 2017, section 2.3)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.scipy.stats import norm


class ImagePool(nn.Module):
    """Exchange new pairs of condition and fake image for earlier ones, half of the time.

    The collection `image_pool` holds the pairs, with one channel more that is 1 where there is one.

    Attributes:
      size: Number of pairs.
    """

    size: int

    @nn.compact
    def __call__(self, pairs: jax.Array, noise: jax.Array, *, train: bool) -> jax.Array:
        """Pairs [B, H, W, C] and normal noise [B, 2] -> pairs [B, H, W, C], one after the other."""
        shape = (self.size, *pairs.shape[1:-1], pairs.shape[-1] + 1)
        pool = self.variable('image_pool', 'pairs', jnp.zeros, shape)
        if train and not self.is_initializing():
            choices = noise[:, 0] > 0, jnp.floor(norm.cdf(noise[:, 1]) * self.size).astype(int)
            pool.value, pairs = exchange(pool.value, pairs, *choices)
        return pairs


def exchange(
    pool: jax.Array, pairs: jax.Array, is_exchanged: jax.Array, indices: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The pool [P, H, W, C + 1] and the pairs [B, H, W, C] after a query.

    While the pool is not full, it stores each pair and returns it as well. Then, where
    `is_exchanged` [B], it returns the pair at `indices` [B] and stores the new one in its place.
    """
    size = len(pool)

    def query(pool, inputs):
        pair, is_exchanged, index = inputs
        count = jnp.sum(pool[:, 0, 0, -1]).astype(int)
        is_full = count == size
        place = jnp.where(is_full, jnp.minimum(index, size - 1), count)
        stored = jnp.concatenate([pair, jnp.ones_like(pair[..., :1])], axis=-1)
        new = jnp.where(~is_full | is_exchanged, stored, pool[place])
        returned = jnp.where(is_full & is_exchanged, pool[place, ..., :-1], pair)
        return pool.at[place].set(new), returned

    return jax.lax.scan(query, pool, (pairs, is_exchanged, indices))
