"""SPADE: spatially-adaptive (de)normalization (Park et al. 2019, section 3.1)."""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import Upsample, resize_nearest


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
      hidden: Channels of the shared convolution.
      kernel_size: Of all three convolutions; odd.
      upsample: Doubles the resolution of x after the normalization. The statistics before it are
        those after `upsample_nearest`, at a quarter of the work. None: the resolution stays.
      modulation: A faster way to compute gamma and beta; None: the plain one.
      axis_name, dtype: The replica axis and the compute type.
    """

    norm: str = 'sync_batch'
    hidden: int = 128
    kernel_size: int = 3
    upsample: Upsample | None = None
    modulation: Modulation | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, layout: Any, *, train: bool) -> jax.Array:
        """Normalize and modulate x [B, H, W, C] (with `upsample`, of half that size).

        Args:
          x: Activations.
          layout: [B, H', W', S] at any resolution; or prepared by `modulation` for [B, H, W].
          train: Normalize with the statistics of the batch and update the running ones.
        """
        x_hat = self._normalize(x, train)  # [B, H, W, C]
        m = resize_nearest(layout, *x_hat.shape[1:3])  # [B, H, W, S]
        conv = functools.partial(Convolution, kernel_size=self.kernel_size, dtype=self.dtype)
        shared = conv(self.hidden, name='shared')
        to_gamma, to_beta = (conv(x_hat.shape[-1], name=name) for name in ('gamma', 'beta'))
        if self.modulation is None:
            hidden = relu(shared(m))  # [B, H, W, hidden]
            gamma = to_gamma(hidden)  # [B, H, W, C]
            beta = to_beta(hidden)  # [B, H, W, C]
        else:  # The same, faster.
            gamma, beta = self.modulation(self, m, shared, to_gamma, to_beta)
        return x_hat * (1 + gamma) + beta

    def _normalize(self, x: jax.Array, train: bool) -> jax.Array:
        factor = 2 if self.upsample else 1
        norm = Normalization(self.norm, False, factor, self.axis_name, name='norm')
        x_hat = norm(x, train=train)
        return self.upsample(x_hat) if self.upsample else x_hat
