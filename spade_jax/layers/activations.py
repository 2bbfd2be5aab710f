"""Activation functions.

Their gradients are told from their results. So a compiler need not keep what they are computed from, and may compute them within the convolution before.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

SLOPE = 0.2


@jax.custom_jvp
def relu(x: jax.Array) -> jax.Array:
    """max(x, 0). Its gradient is 1 where the result is NaN; what is not a number stays so."""
    return jnp.maximum(x, 0)


relu.defjvps(lambda tangent, y, x: jnp.where(y == 0, 0, tangent))


@jax.custom_jvp
def leaky_relu(x: jax.Array) -> jax.Array:
    """x, or 0.2 x where that is negative."""
    return jnp.where(x >= 0, x, SLOPE * x)


leaky_relu.defjvps(lambda tangent, y, x: jnp.where(y >= 0, tangent, SLOPE * tangent))
