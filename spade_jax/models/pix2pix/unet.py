"""The U-Net generator of pix2pix (Isola et al. 2017, section 3.2.1 and appendix A)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu, relu
from spade_jax.layers.convolution import Convolution, TransposedConvolution
from spade_jax.layers.dropout import dropout_of
from spade_jax.layers.normalization import Normalization


class UNet(nn.Module):
    """Halve the condition `depth` times, then double it, with the features of each size on the way.

    Dropout follows the widest layers of the way up but the first, `depth` - 5 of them. As in the
    published code, convolutions have a bias only with instance normalization, and the last always.

    Attributes:
      width: Channels of the first convolution; they double with each halving, up to 8 times.
      depth: Number of halvings, 5 or more.
      features: Output channels.
      norm: See `Normalization`.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    depth: int = 8
    features: int = 3
    norm: str = 'sync_batch'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, condition: jax.Array, latent: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Images [B, H, W, 3] in [-1, 1] from [B, H, W, S] and latents of `dropout_of`."""
        use_bias = self.norm == 'instance'
        down = functools.partial(
            Convolution, kernel_size=4, strides=2, padding=1, use_bias=use_bias, dtype=self.dtype
        )
        up = functools.partial(TransposedConvolution, kernel_size=4, dtype=self.dtype)
        norm = functools.partial(Normalization, self.norm, affine=True, axis_name=self.axis_name)
        dropout, depth = dropout_of(latent), self.depth
        widths = [self.width * min(2**level, 8) for level in range(depth)]

        x, skips = down(widths[0], name='down_1')(condition), []  # [B, H/2, W/2, width]
        for level in range(2, depth + 1):
            skips.append(x)
            x = down(widths[level - 1], name=f'down_{level}')(leaky_relu(x))
            if level < depth:
                x = norm(name=f'down_norm_{level}')(x, train=train)
        for level in range(depth, 1, -1):  # x: [B, H/2^level, W/2^level, ...]
            x = up(widths[level - 2], use_bias=use_bias, name=f'up_{level}')(relu(x))
            x = norm(name=f'up_norm_{level}')(x, train=train)
            if 5 <= level < depth:
                x = dropout(x, level)
            x = jnp.concatenate([skips.pop(), x], axis=-1)
        x = up(self.features, name='up_1')(relu(x))  # [B, H, W, features]
        return jnp.tanh(x.astype(jnp.float32))
