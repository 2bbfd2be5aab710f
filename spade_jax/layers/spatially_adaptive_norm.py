"""SPADE: spatially-adaptive (de)normalization (Park et al. 2019, section 3.1)."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import resize_nearest, upsample_nearest


class Modulation(Protocol):
    """Another way to compute gamma and beta: the same function, faster. See `layers/cpu`."""

    def prepare(self, layout: jax.Array, kernel_size: int) -> Any:
        """Return a form of the layout [B, H, W, S] that all SPADE layers of its size share."""
        ...

    def __call__(self, layer: nn.Module, layout: Any, *convs: Convolution) -> list[jax.Array]:
        """Return gamma and beta of a prepared layout, given the convolutions of the layer."""
        ...


class SpatiallyAdaptiveNorm(nn.Module):
    """Normalize the activations, then scale and shift each pixel according to the layout.

        y = x_hat * (1 + gamma(m)) + beta(m)        (equation 1)

    x_hat is x, normalized per channel without parameters; m is the layout at the resolution of x;
    gamma and beta are convolutions of a shared hidden one. A plain normalization layer washes out
    uniform layouts; here the class is applied after the normalization. 1 + gamma, which the paper
    does not have, is that of the published code: it starts a fresh layer near the identity.

    Attributes:
      norm: 'sync_batch', 'batch' or 'instance', see `Normalization`.
      hidden: channels of the shared convolution.
      kernel_size: of all three convolutions; odd.
      upsample: double the resolution of x after the normalization, whose statistics are the same
        before it, at a quarter of the work.
      modulation: a faster way to compute gamma and beta; None: the plain one.
      axis_name: the replica axis.
      dtype: compute type.
    """

    norm: str = 'sync_batch'
    hidden: int = 128
    kernel_size: int = 3
    upsample: bool = False
    modulation: Modulation | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, layout: Any, *, train: bool) -> jax.Array:
        """Normalize and modulate x [B, H, W, C] (with `upsample`, of half that size).

        Args:
          x: activations.
          layout: [B, H', W', S] at any resolution; or prepared by `modulation` for [B, H, W].
          train: normalize with the statistics of the batch and update the running ones.
        """

        def conv(name: str, features: int) -> Convolution:
            size = self.kernel_size
            return Convolution(features, kernel_size=size, dtype=self.dtype, name=name)

        normalized = self._normalize(x, train)  # [B, H, W, C]
        _, height, width, channels = normalized.shape
        m = resize_nearest(layout, height, width)  # [B, H, W, S]
        if self.modulation is None:
            shared = relu(conv('shared', self.hidden)(m))  # [B, H, W, hidden]
            gamma = conv('gamma', channels)(shared)
            beta = conv('beta', channels)(shared)
        else:
            convs = conv('shared', self.hidden), conv('gamma', channels), conv('beta', channels)
            gamma, beta = self.modulation(self, m, *convs)  # the same, faster
        return normalized * (1 + gamma) + beta

    def _normalize(self, x: jax.Array, train: bool) -> jax.Array:
        factor = 2 if self.upsample else 1
        norm = Normalization(
            self.norm, upsampling_factor=factor, axis_name=self.axis_name, name='norm'
        )
        normalized = norm(x, train=train)
        return upsample_nearest(normalized) if self.upsample else normalized
