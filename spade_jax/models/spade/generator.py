"""The SPADE generator and its residual block (Park et al. 2019, section 3.2, figures 11 and 12)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.cpu.patch_dedup import PatchIndex, numbered, worth_numbering
from spade_jax.layers.rematerialization import remat_if
from spade_jax.layers.resampling import resize_nearest, upsample_nearest
from spade_jax.layers.spatially_adaptive_norm import SpatiallyAdaptiveNorm


class SpadeResidualBlock(nn.Module):
    """SPADE, leaky ReLU, 3x3 convolution, twice; plus the input, through SPADE and a 1x1 convolution where the channels differ.

    Attributes:
      features: output channels. The channels between the two convolutions are the smaller of input and output.
      norm: makes a SPADE layer, given a name.
      conv: makes a convolution, given channels and a name.
      rematerialize_norms: the backward pass computes the SPADE layers again.
      upsample: double the resolution of the input first.
    """

    features: int
    norm: Callable[..., nn.Module] = SpatiallyAdaptiveNorm
    conv: Callable[..., nn.Module] = functools.partial(Convolution, spectral_norm=True)
    rematerialize_norms: bool = False
    upsample: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, layout: jax.Array | PatchIndex, *, train: bool) -> jax.Array:
        """x: [B, H, W, C], half of that with `upsample`; layout: [B, H', W', S] at any resolution, or numbered at [B, H, W]. Returns [B, H, W, features]."""

        def norm(name: str, x: jax.Array, upsample: bool = False) -> jax.Array:
            return remat_if(
                self.rematerialize_norms,
                self.norm(name=name, upsample=upsample),
                x,
                layout,
                train=train,
            )

        channels = x.shape[-1]
        if channels != self.features:
            shortcut = norm('norm_s', x, self.upsample)
            shortcut = self.conv(self.features, kernel_size=1, use_bias=False, name='conv_s')(
                shortcut, train=train
            )
        else:
            shortcut = upsample_nearest(x) if self.upsample else x
        y = leaky_relu(norm('norm_0', x, self.upsample))
        y = self.conv(min(channels, self.features), name='conv_0')(y, train=train)
        y = leaky_relu(norm('norm_1', y))
        y = self.conv(self.features, name='conv_1')(y, train=train)
        return shortcut + y


class SpadeGenerator(nn.Module):
    """From a semantic layout, and a style latent where there is an encoder, to a picture.

    It starts from a coarse grid and doubles it 5, 6 or 7 times; the layout enters only through the SPADE layers (and, without style latent,
    through the first convolution).

    Attributes:
      width: n; the seven residual blocks have 16n, 16n, 16n, 8n, 4n, 2n, n channels.
      num_upsamplings: 5, 6 (one more between the middle blocks) or 7 (and a last block of n/2 channels).
      style_dim: length of the style latent; None: the coarse grid is a convolution of the layout.
      latent_size: height and width of the coarse grid; None: those of the layout, divided by 2 for every doubling.
      norm, spade_hidden, spade_kernel_size: see `SpatiallyAdaptiveNorm`.
      spectral_norm: normalise the convolutions of the residual blocks.
      rematerialize: what the backward pass computes again instead of keeping it: 'none'; 'modulation': the SPADE layers; 'blocks': whole
        residual blocks.
      number_layouts: compute the convolutions over the layout once for every neighbourhood that occurs in it, see `neighbourhoods`. The same
        function of weights and style; no gradient flows to the layout.
      axis_name: the replicas over which 'sync_batch' takes its statistics.
      dtype: of activations and products.
    """

    width: int = 64
    num_upsamplings: int = 5
    style_dim: int | None = None
    latent_size: tuple[int, int] | None = None
    norm: str = 'sync_batch'
    spade_hidden: int = 128
    spade_kernel_size: int = 3
    spectral_norm: bool = True
    rematerialize: str = 'none'
    number_layouts: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, layout: jax.Array, style: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Draws pictures.

        Args:
          layout: [B, H, W, S] one-hot classes, then the edge channel if there is one.
          style: [B, style_dim]; None exactly if `style_dim` is None.
          train: normalise with the statistics of the batch, and move the running ones and the spectral vectors.

        Returns:
          [B, H, W, 3] in [-1, 1], float32.
        """
        if (style is None) != (self.style_dim is None):
            raise ValueError(
                f'style is {"missing" if style is None else "given"}, but the generator has style_dim={self.style_dim}'
            )
        norm = functools.partial(
            SpatiallyAdaptiveNorm,
            self.norm,
            self.spade_hidden,
            self.spade_kernel_size,
            self.axis_name,
            self.dtype,
        )
        conv = functools.partial(Convolution, spectral_norm=self.spectral_norm, dtype=self.dtype)

        def block(features: int, name: str, x: jax.Array, upsample: bool = False) -> jax.Array:
            module = SpadeResidualBlock(
                features, norm, conv, self.rematerialize == 'modulation', upsample, name=name
            )
            height, width = (size * (2 if upsample else 1) for size in x.shape[1:3])
            return remat_if(
                self.rematerialize == 'blocks', module, x, layout_at(height, width), train=train
            )

        @functools.cache  # all SPADE layers of a resolution share one
        def layout_at(height: int, width: int) -> jax.Array | PatchIndex:
            resized = resize_nearest(layout, height, width)
            return (
                numbered(resized)
                if self.number_layouts and worth_numbering(resized, self.spade_kernel_size)
                else resized
            )

        layout = layout.astype(self.dtype)
        height, width = self._latent_size(layout)
        n = self.width

        if style is None:
            x = Convolution(16 * n, dtype=self.dtype, name='first')(
                resize_nearest(layout, height, width), train=train
            )
        else:
            x = nn.Dense(height * width * 16 * n, dtype=self.dtype, name='first')(style)
            x = x.reshape(-1, height, width, 16 * n)  # [B, h, w, 16n]
        x = block(16 * n, 'head', x)
        x = block(16 * n, 'middle_0', x, upsample=True)  # [B, 2h, 2w, 16n]
        x = block(16 * n, 'middle_1', x, upsample=self.num_upsamplings >= 6)
        widths = [8 * n, 4 * n, 2 * n, n] + ([n // 2] if self.num_upsamplings == 7 else [])
        for i, features in enumerate(widths):
            x = block(features, f'up_{i}', x, upsample=True)
        x = Convolution(3, dtype=self.dtype, name='to_rgb')(leaky_relu(x), train=train)
        return jnp.tanh(x.astype(jnp.float32))  # [B, H, W, 3]

    def _latent_size(self, layout: jax.Array) -> tuple[int, int]:
        if self.latent_size is not None:
            return self.latent_size
        scale = 2**self.num_upsamplings
        _, height, width, _ = layout.shape
        if height % scale or width % scale:
            raise ValueError(
                f'layout of {height}x{width} (height x width) is not divisible by {scale}, the {self.num_upsamplings} upsamplings'
            )
        return height // scale, width // scale
