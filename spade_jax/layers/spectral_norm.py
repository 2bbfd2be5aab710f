"""Spectral normalisation with stored singular vectors (Miyato et al. 2018, algorithm 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

COLLECTION = 'spectral'
EPSILON = 1e-12


class SpectralNorm(nn.Module):
    """Divides a kernel by an estimate of its largest singular value, sigma = u^T W v.

    The collection `spectral` keeps u [O] and v [the other axes, flattened]. One power iteration moves them in every training pass, before they are
    used; in evaluation the stored ones are used as they are. `flax.linen.SpectralNorm` stores u alone and iterates in evaluation too, so that the
    sigma it evaluates with is not the published models'.

    The gradient flows through W in sigma, with u and v held constant.
    """

    @nn.compact
    def __call__(self, kernel: jax.Array, *, train: bool) -> jax.Array:
        """kernel: [..., O], float32. Returns the normalised kernel, of the same shape."""
        matrix = kernel.reshape(-1, kernel.shape[-1])  # [rest, O]: the transpose of the W of the paper
        stored_u = self.variable(COLLECTION, 'u', self._random_unit_vector, matrix.shape[1])
        stored_v = self.variable(COLLECTION, 'v', self._random_unit_vector, matrix.shape[0])
        u, v = stored_u.value, stored_v.value
        if train and not self.is_initializing():
            u, v = power_iteration(lax.stop_gradient(matrix), u)
            if self.is_mutable_collection(COLLECTION):
                stored_u.value, stored_v.value = u, v
        sigma = jnp.vdot(v, matrix @ u)
        return kernel / sigma

    def _random_unit_vector(self, size: int) -> jax.Array:
        return unit_vector(jax.random.normal(self.make_rng('params'), (size,)))


def power_iteration(matrix: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step towards the leading singular vectors of `matrix` [N, O]; returns u [O] and v [N] of unit length."""
    v = unit_vector(matrix @ u)
    u = unit_vector(v @ matrix)
    return u, v


def unit_vector(x: jax.Array) -> jax.Array:
    """x / |x|."""
    return x / jnp.maximum(jnp.linalg.norm(x), EPSILON)
