"""The generator of pix2pixHD++, the baseline of Park et al. 2019, section 4.4."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.resampling import resize_nearest
from spade_jax.layers.spatially_adaptive_norm import Modulation
from spade_jax.models.residual_generator import ResidualGenerator
from spade_jax.models.spade.generator import layout_pyramid


class EncoderDecoder(nn.Module):
    """The residual generator, with normalization layers that may see the layout.

    The layout is the input. SPADE may be the normalization of every layer. With `concat`, the
    layout is also appended to the features between the convolutions of each residual block: so the
    model has the 195 million parameters that the paper states, which does not say where in this
    generator the layout is appended.

    Attributes:
      width, num_downsamplings, num_blocks, kernel_size, first_kernel_size, norm, spectral_norm: See
        `ResidualGenerator`. As published, only convolutions without normalization have a bias.
      norm_layer: Makes SPADE layers, given a name; None: the normalization does not see the layout.
      spade_kernel_size, modulation: See `SpatiallyAdaptiveNorm`.
      concat: See above.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    num_downsamplings: int = 4
    num_blocks: int = 9
    kernel_size: int = 3
    first_kernel_size: int = 7
    norm: str = 'sync_batch'
    spectral_norm: bool = True
    norm_layer: Callable[..., nn.Module] | None = None
    spade_kernel_size: int = 3
    modulation: Modulation | None = None
    concat: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, layout: jax.Array, style: None = None, *, train: bool) -> jax.Array:
        """[B, H, W, S] -> images [B, H, W, 3] in [-1, 1], float32; see `SpadeGenerator`."""
        assert style is None
        layout = layout.astype(self.dtype)
        layout_at = layout_pyramid(layout, self.modulation, self.spade_kernel_size)

        def spade(name: str) -> Callable[..., jax.Array]:
            assert self.norm_layer is not None
            layer = self.norm_layer(name=name)
            return lambda x, train: layer(x, layout_at(*x.shape[1:3]), train=train)

        def append_layout(x: jax.Array, **_: Any) -> jax.Array:
            m = resize_nearest(layout, *x.shape[1:3])  # [B, h, w, S]
            return jnp.concatenate([x, m], axis=-1)

        body = ResidualGenerator(
            width=self.width,
            num_downsamplings=self.num_downsamplings,
            num_blocks=self.num_blocks,
            kernel_size=self.kernel_size,
            first_kernel_size=self.first_kernel_size,
            norm=self.norm,
            norm_layer=None if self.norm_layer is None else spade,
            use_bias=self.norm == 'none',
            spectral_norm=self.spectral_norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
            name='body',
        )
        # The layout is appended where other models have dropout.
        return body(layout, train=train, dropout=append_layout if self.concat else None)
