"""The discriminator: the generator mirrored."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import moments
from spade_jax.models.gan.blocks import Block, halve

EPSILON = 1e-8


class GrowingDiscriminator(nn.Module):
    """A block of two convolutions (level 0: one) for each level, then half of the resolution.

    One logit for each image.

    Attributes:
      widths: Channels of the levels, from the coarsest.
      first: The coarsest level that images enter at.
      minibatch_deviation: Append the deviation between the images, as one more channel, before the
        last block (Karras et al. 2018, section 3).
      norm, spectral_norm, axis_name, dtype: See `Block`.
    """

    widths: tuple[int, ...]
    first: int
    minibatch_deviation: bool = True
    norm: str = 'none'
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: jax.Array,
        fade: jax.Array | None = None,
        level: int | None = None,
        *,
        train: bool,
    ) -> jax.Array:
        """Classify images.

        Args:
          image: [B, h, w, 3] of the size of `level`, in [-1, 1].
          fade: Scalar in [0, 1]: how far the level has faded in; None: it has.
          level: Of the images. None: the finest.
          train: Update the running statistics.

        Returns:
          [B] float32, high for real.
        """
        shared: dict[str, Any] = dict(spectral_norm=self.spectral_norm, dtype=self.dtype)
        block = functools.partial(Block, norm=self.norm, axis_name=self.axis_name, **shared)

        def from_rgb(i: int, image: jax.Array) -> jax.Array:
            conv = Convolution(self.widths[i], 1, name=f'from_rgb_{i}', **shared)
            return leaky_relu(conv(image.astype(self.dtype), train=train))

        level = len(self.widths) - 1 if level is None else level
        x = from_rgb(level, image)
        for i in range(level, 0, -1):
            x = halve(
                block((self.widths[i], self.widths[i - 1]), name=f'level_{i}')(x, train=train)
            )
            if i == level and i > self.first and fade is not None:
                coarse = from_rgb(i - 1, halve(image))
                x = (fade * x + (1 - fade) * coarse).astype(self.dtype)
        if self.is_initializing():  # The colors of all levels have parameters from the start.
            for i in range(self.first, level - 1):
                from_rgb(i, halve(image, level - i))
        if self.minibatch_deviation:
            # `init` runs outside of pmap, where the axis does not exist.
            axis_name = None if self.is_initializing() else self.axis_name
            x = jnp.concatenate([x, minibatch_deviation(x, axis_name)], axis=-1)
        x = block(self.widths[:1], name='level_0')(x, train=train)
        # One weight for each pixel: a convolution over the whole grid.
        x = x.reshape(x.shape[0], 1, 1, -1)
        return Convolution(1, 1, name='logits', dtype=self.dtype)(x).astype(jnp.float32)[:, 0, 0, 0]


def minibatch_deviation(x: jax.Array, axis_name: str | None = None) -> jax.Array:
    """The standard deviation over the images of all replicas, mean over pixels and channels.

    [B, H, W, C] -> [B, H, W, 1].
    """
    _, variance = moments(x, (0,), axis_name)
    deviation = jnp.mean(jnp.sqrt(variance + EPSILON))
    return jnp.broadcast_to(deviation, (*x.shape[:-1], 1)).astype(x.dtype)
