"""The style encoder of the VAE (Park et al. 2019, figure 14)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import resize_bilinear

WIDTH_FACTORS = (1, 2, 4, 8, 8, 8)


class StyleEncoder(nn.Module):
    """From a picture to mean and log-variance of its style latent.

    3x3 convolutions of stride 2, spectral and instance normalisation, leaky ReLU; two dense heads. The published encoder has six convolutions and
    a latent of 256, and fits only training crops of 256 pixels and more; this one takes its heads' sizes from what arrives, so that any works.

    Attributes:
      width: channels n of the first convolution; the others have 2n, 4n, 8n, 8n, 8n.
      style_dim: length of the latent.
      depth: number of convolutions, at most 6. The published rule: 6, but 5 for training crops below 256.
      input_size: side of the square to which the picture is resized first.
    """

    width: int = 64
    style_dim: int = 256
    depth: int = 6
    input_size: int = 256
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """image: [B, H, W, 3] in [-1, 1]. Returns mean and log-variance, each [B, style_dim], float32."""
        x = resize_bilinear(image, self.input_size, self.input_size).astype(self.dtype)
        for i, factor in enumerate(WIDTH_FACTORS[: self.depth]):
            x = Convolution(
                factor * self.width,
                strides=2,
                use_bias=False,
                spectral_norm=True,
                dtype=self.dtype,
                name=f'conv_{i}',
            )(x, train=train)
            x = leaky_relu(Normalization('instance', name=f'norm_{i}')(x, train=train))
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)  # [B, h * w * 8n]
        head = functools.partial(nn.Dense, self.style_dim)
        return head(name='mean')(x), head(name='log_variance')(x)


def sample_style(mean: jax.Array, log_variance: jax.Array, noise: jax.Array) -> jax.Array:
    """The reparameterised latent mean + noise * exp(log_variance / 2) (Kingma and Welling 2014). All [B, style_dim]."""
    return mean + noise * jnp.exp(0.5 * log_variance)
