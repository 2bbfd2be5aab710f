"""The generator of pix2pixHD++, the baseline of Park et al. 2019, section 4.4."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.resampling import resize_nearest
from spade_jax.layers.spatially_adaptive_norm import Modulation, SpatiallyAdaptiveNorm
from spade_jax.models.residual_generator import ResidualGenerator
from spade_jax.models.spade.generator import layout_pyramid


class EncoderDecoder(nn.Module):
    """The residual generator of pix2pixHD, whose input is the layout; its layers may see it, too.

    With SPADE every normalization is a SPADE layer. With concatenation the layout is appended to
    the features between the convolutions of each residual block: so the model has the 195 million
    parameters that the paper states, which does not say where the layout is appended.

    Attributes:
      width, num_downsamplings, num_blocks, kernel_size, first_kernel_size, norm, spectral_norm: See
        `ResidualGenerator`. As published, only convolutions without normalization have a bias.
      conditioning: 'spade', 'concat', or 'input': only the first layer sees the layout.
      spade_hidden, spade_kernel_size, modulation: See `SpatiallyAdaptiveNorm`.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    num_downsamplings: int = 4
    num_blocks: int = 9
    kernel_size: int = 3
    first_kernel_size: int = 7
    norm: str = 'sync_batch'
    spectral_norm: bool = True
    conditioning: str = 'spade'
    spade_hidden: int = 128
    spade_kernel_size: int = 3
    modulation: Modulation | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, layout: jax.Array, style: None = None, *, train: bool) -> jax.Array:
        """[B, H, W, S] -> images [B, H, W, 3] in [-1, 1], float32; see `SpadeGenerator`."""
        assert style is None
        layout = layout.astype(self.dtype)
        layout_at = layout_pyramid(layout, self.modulation, self.spade_kernel_size)

        def spade(name: str) -> Callable[..., jax.Array]:
            layer = SpatiallyAdaptiveNorm(
                norm=self.norm,
                hidden=self.spade_hidden,
                kernel_size=self.spade_kernel_size,
                modulation=self.modulation,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=name,
            )
            return lambda x, train: layer(x, layout_at(*x.shape[1:3]), train=train)

        def append_layout(x: jax.Array, **_: Any) -> jax.Array:
            m = resize_nearest(layout, *x.shape[1:3])  # [B, h, w, S]
            return jnp.concatenate([m, x], axis=-1)

        body = ResidualGenerator(
            width=self.width,
            num_downsamplings=self.num_downsamplings,
            num_blocks=self.num_blocks,
            kernel_size=self.kernel_size,
            first_kernel_size=self.first_kernel_size,
            norm=self.norm,
            norm_layer=spade if self.conditioning == 'spade' else None,
            use_bias=self.norm == 'none',
            spectral_norm=self.spectral_norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name='body',
        )
        between = append_layout if self.conditioning == 'concat' else None
        return body(layout, train=train, between_layers=between)
