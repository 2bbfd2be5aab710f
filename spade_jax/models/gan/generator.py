"""The generator: from a latent to an image, one level after the other."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.convolution import Convolution
from spade_jax.layers.resampling import upsample_nearest
from spade_jax.models.gan.blocks import Block, pixel_norm
from spade_jax.models.gan.options import Growth

SCHEDULE = 'schedule'  # The collection of the number of steps that are done.


class GrowingGenerator(nn.Module):
    """A block of two convolutions (level 0: one) for each level, which doubles the resolution.

    The image is the sum of the RGB outputs of the levels, upsampled and weighted by how far each
    has faded in: while level l fades in by a, level l - 1 has the weight 1 - a. The weights follow
    from the collection `schedule`, so that a network knows by itself how far it has grown.

    Attributes:
      widths: Channels of the levels, from the coarsest.
      grid: Height and width of level 0.
      growth: The schedule of the levels.
      norm, axis_name, dtype: See `Block`.
    """

    widths: tuple[int, ...]
    grid: tuple[int, int]
    growth: Growth
    norm: str = 'pixel'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, latent: jax.Array, level: int | None = None, *, train: bool) -> jax.Array:
        """Sample images.

        Args:
          latent: [B, D].
          level: The finest level that is trained, which the image has the size of; it and the one
            before are computed. None: the image has full size, whatever level is trained.
          train: Normalize by the statistics of the batch.

        Returns:
          [B, h, w, 3] in [-1, 1], float32.
        """
        shared: dict[str, Any] = dict(dtype=self.dtype)
        block = functools.partial(Block, norm=self.norm, axis_name=self.axis_name, **shared)
        weights = self._weights()
        first = self.growth.first if level is None else max(self.growth.first, level - 1)
        last = len(self.widths) - 1 if level is None else level
        latent = pixel_norm(latent.astype(self.dtype))
        shape = *self.grid, self.widths[0]
        x = Convolution(math.prod(shape), 1, name='latent', **shared)(latent[:, None, None])
        x = x.reshape(latent.shape[0], *shape)  # [B, h, w, C]
        x = block(self.widths[:1], name='level_0')(x, train=train)
        image = jnp.zeros(())
        for i in range(last + 1):
            if i:
                x = upsample_nearest(x)  # [B, 2h, 2w, C]
                x = block((self.widths[i],) * 2, name=f'level_{i}')(x, train=train)
            if i >= first:
                color = Convolution(3, 1, name=f'to_rgb_{i}', **shared)(x)
                image = image if i == first else upsample_nearest(image)
                image += weights[i - self.growth.first] * jnp.tanh(color.astype(jnp.float32))
        return image

    def _weights(self) -> jax.Array:
        """The weights of the levels from the first trained one on; their sum is 1."""
        if not self.growth.begins:
            return jnp.ones(1)
        steps = self.variable(SCHEDULE, 'steps', jnp.zeros, ()).value
        ramps = jnp.concatenate([jnp.ones(1), faded(self.growth, steps), jnp.zeros(1)])
        return ramps[:-1] - ramps[1:]


def faded(growth: Growth, steps: jax.Array) -> jax.Array:
    """How far each later level has faded in after some steps: [levels] in [0, 1]."""
    begins, fades = (jnp.array(values, jnp.float32) for values in (growth.begins, growth.fades))
    return jnp.clip((steps - begins) / fades, 0, 1)
