"""U-Net: a segmentation network that is trained here (Ronneberger et al. 2015).

Other than in the paper, there are a quarter of its channels, zero padding keeps the size, and a
group normalization (Wu and He 2018) follows each 3x3 convolution, because it does the same in
training and prediction for any size of batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.layers.convolution import Convolution

WIDTHS = (16, 32, 64, 128, 256)  # 1.9 million parameters.
_GROUPS = 8


class UNet(nn.Module):
    """Images [B, H, W, 3] of values in [0, 255] -> logits [B, H, W, num_classes], of any size.

    Attributes:
      num_classes: Number of classes.
      widths: Channels by level, a multiple of 8; the grid of each level is half of that before.
    """

    num_classes: int
    widths: tuple[int, ...] = WIDTHS

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        _, height, width, _ = images.shape
        grid = 2 ** (len(self.widths) - 1)
        border = ((0, 0), (0, -height % grid), (0, -width % grid), (0, 0))
        x = jnp.pad(images.astype(jnp.float32) / 127.5 - 1, border, mode='edge')
        *upper, bottom = self.widths
        skipped = []
        for level, features in enumerate(upper):
            skipped.append(x := TwoConvolutions(features, name=f'down_{level}')(x))
            x = max_pool(x)
        x = TwoConvolutions(bottom, name='bottom')(x)
        for level, features in reversed(list(enumerate(upper))):
            x = UpConvolution(features, name=f'enlarge_{level}')(x)
            x = jnp.concatenate([skipped[level], x], axis=-1)
            x = TwoConvolutions(features, name=f'up_{level}')(x)
        logits = Convolution(self.num_classes, kernel_size=1, name='logits')(x)
        return logits[:, :height, :width]


class TwoConvolutions(nn.Module):
    """Twice a 3x3 convolution, group normalization and a rectifier."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(2):
            x = Convolution(self.features, use_bias=False, name=f'conv_{i}')(x)
            x = nn.relu(nn.GroupNorm(_GROUPS, name=f'norm_{i}')(x))
        return x


class UpConvolution(nn.Module):
    """Each pixel becomes 2x2 pixels, with weights of their own: [B, H, W, I] -> [B, 2H, 2W, O]."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, _ = x.shape
        x = nn.Dense(4 * self.features, name='dense')(x)
        x = x.reshape(batch, height, width, 2, 2, self.features).swapaxes(2, 3)
        return x.reshape(batch, 2 * height, 2 * width, self.features)  # [B, H, 2, W, 2, O]


def max_pool(x: jax.Array) -> jax.Array:
    """The maximum of 2x2 pixels, [B, H, W, C] -> [B, H/2, W/2, C].

    XLA's pooling has a slow gradient on CPUs, and that of `jnp.max` divides by the number of equal
    pixels, which rounding can make 0.
    """
    x = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])
