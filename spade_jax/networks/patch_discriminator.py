"""The multi-scale patch discriminator (Park et al. 2019, figure 13; Wang et al. 2018)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import average_pool

MAX_FEATURES = 512


class PatchDiscriminator(nn.Module):
    """Says of every patch of a picture whether it is real.

    `depth` 4x4 convolutions with padding 2, then one more to the prediction. The first has stride 2 and no normalisation; the channels double to
    at most 512; the last of the `depth` and the prediction have stride 1.
    """

    width: int = 64
    depth: int = 4
    norm: str = 'instance'
    spectral_norm: bool = True
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> list[jax.Array]:
        """x: [B, H, W, S + 3]. Returns the features [B, H//2 + 1, W//2 + 1, n], ... of each layer; last the logits [B, h, w, 1], float32."""
        conv = functools.partial(Convolution, kernel_size=4, padding=2, dtype=self.dtype)

        x = leaky_relu(conv(self.width, strides=2, name='conv_0')(x, train=train))
        features = [x]
        for i in range(1, self.depth):
            last = i == self.depth - 1
            x = conv(min(self.width * 2**i, MAX_FEATURES), strides=1 if last else 2, use_bias=self.norm == 'none', spectral_norm=self.spectral_norm,
                     name=f'conv_{i}')(x, train=train)
            x = Normalization(self.norm, affine=True, axis_name=self.axis_name, name=f'norm_{i}')(x, train=train)
            x = leaky_relu(x)
            features.append(x)
        logits = conv(1, name='logits')(x, train=train)
        return features + [logits.astype(jnp.float32)]


class MultiscaleDiscriminator(nn.Module):
    """Identical patch discriminators, each over a picture of half the size of the one before.

    Attributes:
      num_scales: how many.
      The others: see `PatchDiscriminator`.
    """

    num_scales: int = 2
    width: int = 64
    depth: int = 4
    norm: str = 'instance'
    spectral_norm: bool = True
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, layout: jax.Array, image: jax.Array, *, train: bool) -> list[list[jax.Array]]:
        """layout: [B, H, W, S]; image: [B, H, W, 3] in [-1, 1]. Returns, for each scale from the finest, what `PatchDiscriminator` returns."""
        x = jnp.concatenate([layout.astype(self.dtype), image.astype(self.dtype)], axis=-1)  # [B, H, W, S + 3]
        outputs = []
        for scale in range(self.num_scales):
            if scale:
                x = average_pool(x)
            outputs.append(PatchDiscriminator(self.width, self.depth, self.norm, self.spectral_norm, self.axis_name, self.dtype, name=f'scale_{scale}')(x, train=train))
        return outputs
