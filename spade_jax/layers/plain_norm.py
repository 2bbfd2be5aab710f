"""Unconditional normalization in the place of SPADE (Park et al. 2019, section 4.4)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import Upsample, resize_nearest


class PlainNorm(nn.Module):
    """Normalize the activations; with `concat`, join them to the layout, for the next layer.

    It is called as `SpatiallyAdaptiveNorm`. Batch kinds have a learned scale and shift.

    Attributes:
      norm: See `Normalization`.
      concat: Put the channels of the layout in front of the activations.
      upsample: Doubles the resolution of x after the normalization; None: it stays.
      axis_name: The replica axis.
    """

    norm: str = 'sync_batch'
    concat: bool = False
    upsample: Upsample | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, layout: Any, *, train: bool) -> jax.Array:
        """[B, H, W, C] (with `upsample`, half that size) -> [B, H, W, C], with `concat` S + C.

        Args:
          x: Activations.
          layout: [B, H', W', S] at any resolution.
          train: Normalize with the statistics of the batch and update the running ones.
        """
        factor = 2 if self.upsample else 1
        norm = Normalization(self.norm, True, factor, self.axis_name, name='norm')
        y = norm(x, train=train)
        y = self.upsample(y) if self.upsample else y
        if not self.concat:
            return y
        m = resize_nearest(layout, *y.shape[1:3]).astype(y.dtype)
        return jnp.concatenate([m, y], axis=-1)
