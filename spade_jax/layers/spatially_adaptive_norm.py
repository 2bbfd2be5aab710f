"""SPADE: spatially-adaptive denormalisation (Park et al. 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.convolution import Convolution, concat_kernels
from spade_jax.layers.cpu.patch_dedup import PatchIndex, two_convolutions
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import resize_nearest, upsample_nearest

MODULATIONS = 'modulations'  # a collection; where it is given, or mutable, gamma and beta are taken from it, or kept in it, for more pictures of the same layout


class SpatiallyAdaptiveNorm(nn.Module):
    """Normalises the activations, then scales and shifts every pixel by what the layout says there.

        y = x_hat * (1 + gamma(m)) + beta(m)        (equation 1; the 1 keeps a fresh layer near the identity)

    where x_hat is x normalised per channel without parameters, m the layout at the resolution of x, and gamma and beta two convolutions over a
    shared hidden one. A plain normalisation layer would wash out a map of one class; here the class speaks after the normalisation.

    Attributes:
      norm: 'sync_batch', 'batch' or 'instance', see `Normalization`.
      hidden: channels of the shared convolution.
      kernel_size: of all three convolutions; odd.
      upsample: double the resolution of x first. Its statistics are the same before, and a quarter of the work.
      axis_name: the replicas over which 'sync_batch' takes its statistics.
    """

    norm: str = 'sync_batch'
    hidden: int = 128
    kernel_size: int = 3
    axis_name: str | None = None
    dtype: Dtype = jnp.float32
    upsample: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, layout: jax.Array | PatchIndex, *, train: bool) -> jax.Array:
        """x: [B, H, W, C], half of that with `upsample`; layout: [B, H', W', S] at any resolution, or numbered at [B, H, W]. Returns [B, H, W, C]."""
        normalized = Normalization(
            self.norm, copies=4 if self.upsample else 1, axis_name=self.axis_name, name='norm'
        )(x, train=train)
        if self.upsample:
            normalized = upsample_nearest(normalized)
        _, height, width, channels = normalized.shape

        def gamma_and_beta() -> jax.Array:
            def conv(name, inputs, features):
                return Convolution(features, self.kernel_size, dtype=self.dtype, name=name).weights(
                    inputs, train=train
                )

            m = (
                layout
                if isinstance(layout, PatchIndex)
                else resize_nearest(layout, height, width).astype(self.dtype)
            )  # [B, H, W, S]
            shared, gamma, beta = (
                conv('shared', m.shape[-1], self.hidden),
                conv('gamma', self.hidden, channels),
                conv('beta', self.hidden, channels),
            )
            return two_convolutions(
                m, shared, concat_kernels(gamma, beta)
            )  # relu(m * shared) * [gamma, beta]: [B, H, W, 2C]

        gamma, beta = jnp.split(self._kept(gamma_and_beta), 2, axis=-1)  # [B, H, W, C] each
        return normalized * (1 + gamma) + beta

    def _kept(self, compute: Callable[[], jax.Array]) -> jax.Array:
        if self.is_initializing() or not (
            self.has_variable(MODULATIONS, 'gamma_and_beta')
            or self.is_mutable_collection(MODULATIONS)
        ):
            return compute()
        return self.variable(MODULATIONS, 'gamma_and_beta', compute).value
