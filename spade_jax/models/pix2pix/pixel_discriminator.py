"""The discriminator that sees each pixel alone (PixelGAN of Isola et al. 2017, section 4.4)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.models.losses import ScaleOutput


class PixelDiscriminator(nn.Module):
    """Three 1x1 convolutions; the second and third have a bias only with instance normalization.

    Attributes:
      width: Channels of the first convolution; the second has twice as many.
      norm: Of the second, see `Normalization`.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    norm: str = 'sync_batch'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, layout: jax.Array, image: jax.Array, *, train: bool) -> ScaleOutput:
        """Classify the pixels of images [B, H, W, 3] of layouts [B, H, W, S]."""
        conv = functools.partial(Convolution, kernel_size=1, dtype=self.dtype)
        use_bias = self.norm == 'instance'
        x = leaky_relu(conv(self.width, name='conv_0')(jnp.concatenate([layout, image], axis=-1)))
        features = [x]
        x = conv(2 * self.width, use_bias=use_bias, name='conv_1')(x)
        norm = Normalization(self.norm, affine=True, axis_name=self.axis_name, name='norm_1')
        x = leaky_relu(norm(x, train=train))
        logits = conv(1, use_bias=use_bias, name='logits')(x)  # [B, H, W, 1]
        return ScaleOutput([*features, x], logits.astype(jnp.float32))
