"""Noise from which a generator makes the detail of uniform regions (Karras et al. 2019)."""

import jax
from flax import linen as nn


class NoiseInjection(nn.Module):
    """Add an image of Gaussian noise, scaled per channel. [B, H, W, C] -> [B, H, W, C].

    Where the layout is uniform, SPADE modulates all pixels alike: without noise, a generator can
    only tell them apart by the grid of its upsamplings, whose lines then show. The noise of a layer
    is the same in all images, so that the condition and the latent still decide an image, and what
    is painted in one place leaves the detail of the others alone. Karras et al. 2019, section 3.2.

    Attributes:
      seed: Of the noise; each layer has its own.
    """

    seed: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param('scale', nn.initializers.zeros, x.shape[-1:])
        key = jax.random.key(self.seed, impl='threefry2x32')  # Whatever JAX's default is.
        noise = jax.random.normal(key, (*x.shape[1:3], 1))  # [H, W, 1]
        return x + (scale * noise).astype(x.dtype)
