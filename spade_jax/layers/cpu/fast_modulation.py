"""Faster ways to compute gamma and beta of a SPADE layer."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.layers.convolution import Convolution, concat_kernels
from spade_jax.layers.cpu import patch_dedup

CACHE = 'modulation_cache'  # The collection.
Layout = jax.Array | patch_dedup.PatchIndex


@dataclasses.dataclass(frozen=True)
class FastModulation:
    """A `Modulation` that computes gamma and beta as one convolution.

    In a pass with CACHE among the mutable collections, each layer stores its gamma and beta there;
    variables with that collection supply them, for more samples of the same layout.

    Attributes:
      dedup: Convolve the layout once for each distinct patch, where that may be faster, see
        `patch_dedup`. No gradient flows to the layout.
    """

    dedup: bool = False

    def prepare(self, layout: jax.Array, kernel_size: int) -> Layout:
        """Index the patches of a layout [B, H, W, S], if they are to be deduplicated."""
        if self.dedup and patch_dedup.should_dedup(layout, kernel_size):
            return patch_dedup.index_patches(layout)
        return layout

    @jax.named_scope('modulation')
    def __call__(self, layer: nn.Module, layout: Layout, *convs: Convolution) -> list[jax.Array]:
        shared, *others = convs

        def gamma_and_beta() -> jax.Array:  # [B, H, W, 2C]
            first = shared.weights(layout.shape[-1])
            second = concat_kernels(*(conv.weights(shared.features) for conv in others))
            return patch_dedup.conv_relu_conv(layout, first, second)

        name = 'gamma_and_beta'
        has_cache = layer.has_variable(CACHE, name) or layer.is_mutable_collection(CACHE)
        if has_cache and not layer.is_initializing():
            both = layer.variable(CACHE, name, gamma_and_beta).value
        else:
            both = gamma_and_beta()
        return jnp.split(both, 2, axis=-1)  # [B, H, W, C] each
