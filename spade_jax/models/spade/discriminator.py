"""The multi-scale patch discriminator (Park et al. 2019, figure 13; Wang et al. 2018)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution, Weights, add_bias, convolve
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
    def __call__(self, layout: jax.Array, image: jax.Array, *, train: bool) -> list[jax.Array]:
        """layout: [B, H, W, S]; image: [N B, H, W, 3]. Returns the features [N B, H//2 + 1, W//2 + 1, n], ... of each layer; last the logits [N B, h, w, 1], float32."""
        conv = functools.partial(Convolution, kernel_size=4, padding=2, dtype=self.dtype)

        first = conv(self.width, strides=2, name='conv_0').weights(
            layout.shape[-1] + image.shape[-1], train=train
        )
        x = leaky_relu(convolve_together(layout, image, first, strides=2, padding=2))
        features = [x]
        for i in range(1, self.depth):
            last = i == self.depth - 1
            x = conv(
                min(self.width * 2**i, MAX_FEATURES),
                strides=1 if last else 2,
                use_bias=self.norm == 'none',
                spectral_norm=self.spectral_norm,
                name=f'conv_{i}',
            )(x, train=train)
            x = Normalization(self.norm, affine=True, axis_name=self.axis_name, name=f'norm_{i}')(
                x, train=train
            )
            x = leaky_relu(x)
            features.append(x)
        logits = conv(1, name='logits')(x, train=train)
        return features + [logits.astype(jnp.float32)]


def convolve_together(
    layout: jax.Array, image: jax.Array, weights: Weights, strides: int, padding: int
) -> jax.Array:
    """The convolution of layout and image, one behind the other in the channels. Pictures of the same layout share its part of the sum, which is most of the work.

    Args:
      layout: [B, H, W, S].
      image: [N B, H, W, C], N pictures of each layout: those of all layouts, then again those of all.
      weights: kernel [K, K, S + C, O].

    Returns:
      [N B, H', W', O].
    """
    of_layout, of_image = jnp.split(weights.kernel, [layout.shape[-1]], axis=2)
    shared = add_bias(convolve(layout, of_layout, strides, padding), weights.bias)  # [B, H', W', O]
    return jnp.tile(shared, (len(image) // len(layout), 1, 1, 1)) + convolve(
        image, of_image, strides, padding
    )


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
    def __call__(
        self, layout: jax.Array, image: jax.Array, *, train: bool
    ) -> list[list[jax.Array]]:
        """Judges pictures.

        Args:
          layout: [B, H, W, S].
          image: [N B, H, W, 3] in [-1, 1], N pictures of each layout: those of all layouts, then again those of all.

        Returns:
          For each scale from the finest, what `PatchDiscriminator` returns.
        """
        if len(image) % len(layout):
            raise ValueError(
                f'{len(image)} pictures are not the same number for each of {len(layout)} layouts'
            )
        layout, image = layout.astype(self.dtype), image.astype(self.dtype)
        outputs = []
        for scale in range(self.num_scales):
            if scale:
                layout, image = average_pool(layout), average_pool(image)
            patches = PatchDiscriminator(
                self.width,
                self.depth,
                self.norm,
                self.spectral_norm,
                self.axis_name,
                self.dtype,
                name=f'scale_{scale}',
            )
            outputs.append(patches(layout, image, train=train))
        return outputs
