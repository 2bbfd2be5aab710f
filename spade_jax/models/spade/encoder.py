"""The style encoder of the VAE (Park et al. 2019, figure 14)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import resize_bilinear

LARGEST_MULTIPLIER = 8  # The channels double up to it.


class StyleEncoder(nn.Module):
    """Map an image to mean and log-variance of its style latent.

    3x3 convolutions of stride 2 with spectral norm, normalization and leaky ReLU; then two dense
    heads. The published encoder fits only training crops of 256 pixels and more; the heads of this
    one take their sizes from the input, so that any crop works.

    Attributes:
      width: Channels of the first convolution; the others have 2, 4, 8, 8, ... times as many.
      style_dim: Length of the latent.
      depth: Number of convolutions. Published: 6, but 5 for training crops below 256.
      input_size: Side of the square to which the image is resized first.
      norm: See `Normalization`; 'instance' as published.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    style_dim: int = 256
    depth: int = 6
    input_size: int = 256
    norm: str = 'instance'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """[B, H, W, 3] in [-1, 1] -> mean and log-variance, [B, style_dim] float32 each."""
        conv = functools.partial(Convolution, strides=2, use_bias=False, spectral_norm=True)
        x = resize_bilinear(image, self.input_size, self.input_size).astype(self.dtype)
        for i in range(self.depth):
            multiplier = min(2**i, LARGEST_MULTIPLIER)
            x = conv(multiplier * self.width, dtype=self.dtype, name=f'conv_{i}')(x, train=train)
            # [B, ceil(H/2), ceil(W/2), multiplier * width]
            norm = Normalization(self.norm, affine=True, axis_name=self.axis_name, name=f'norm_{i}')
            x = leaky_relu(norm(x, train=train))
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)  # [B, h * w * C]
        mean = nn.Dense(self.style_dim, name='mean')(x)
        log_variance = nn.Dense(self.style_dim, name='log_variance')(x)
        return mean, log_variance


def sample_style(mean: jax.Array, log_variance: jax.Array, noise: jax.Array) -> jax.Array:
    """Sample mean + noise * exp(log_variance / 2), all [B, D] (Kingma and Welling 2014)."""
    return mean + noise * jnp.exp(0.5 * log_variance)
