"""The instance-wise feature encoder of pix2pixHD (Wang et al. 2018, section 3.4)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.models.residual_generator import ResidualGenerator


class FeatureEncoder(nn.Module):
    """Features of an image that are constant within each region.

    Attributes:
      width: Channels of the first convolution.
      num_downsamplings: Halvings of the resolution.
      features: Output channels.
      norm: See `Normalization`.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 16
    num_downsamplings: int = 4
    features: int = 3
    norm: str = 'instance'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, regions: jax.Array, *, train: bool) -> jax.Array:
        """[B, H, W, 3] in [-1, 1] and ids [B, H, W] -> [B, H, W, features] float32."""
        autoencoder = ResidualGenerator(
            width=self.width,
            num_downsamplings=self.num_downsamplings,
            num_blocks=0,
            features=self.features,
            norm=self.norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name='autoencoder',
        )
        return region_means(autoencoder(image.astype(self.dtype), train=train), regions)


def region_means(features: jax.Array, regions: jax.Array) -> jax.Array:
    """Replace features [B, H, W, C] by their mean over the pixels of the same id in the image.

    The ids [B, H, W] are any integers; equal ones in two images are two regions.
    """

    def of_image(features: jax.Array, ids: jax.Array) -> jax.Array:
        # An image has at most as many regions as pixels.
        _, segments = jnp.unique(ids, return_inverse=True, size=ids.size, fill_value=0)
        segments = segments.reshape(-1)
        ones = jnp.ones((ids.size, 1), features.dtype)
        values = jnp.concatenate([features.reshape(ids.size, -1), ones], axis=-1)
        sums = jax.ops.segment_sum(values, segments, ids.size)  # [H W, C + 1]
        means = sums[:, :-1] / jnp.maximum(sums[:, -1:], 1)
        return means[segments].reshape(features.shape)

    return jax.vmap(of_image)(features, regions)
