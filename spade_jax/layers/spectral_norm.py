"""Spectral normalisation with stored singular vectors (Miyato et al. 2018, algorithm 1)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jax import lax

COLLECTION = 'spectral'
EPSILON = 1e-12


class SpectralNorm(nn.Module):
    """Divides a kernel by an estimate of its largest singular value, sigma = u^T W v.

    The collection `spectral` keeps u [O] and v [the other axes, flattened]. One power iteration moves them, before they are used, in a training pass
    in which the collection is mutable; in every other pass the stored ones are used as they are. `flax.linen.SpectralNorm` stores u alone and iterates
    in evaluation too, so that the sigma it evaluates with is not the published models'.

    The gradient flows through W in sigma, with u and v held constant.
    """

    @nn.compact
    def __call__(self, kernel: jax.Array, *, train: bool) -> jax.Array:
        """kernel: [..., O], float32. Returns the normalised kernel, of the same shape."""
        matrix = kernel.reshape(
            -1, kernel.shape[-1]
        )  # [rest, O]: the transpose of the W of the paper
        stored_u = self.variable(COLLECTION, 'u', self._random_unit_vector, matrix.shape[1])
        stored_v = self.variable(COLLECTION, 'v', self._random_unit_vector, matrix.shape[0])
        u, v = stored_u.value, stored_v.value
        if train and self.is_mutable_collection(COLLECTION) and not self.is_initializing():
            u, v = power_iteration(lax.stop_gradient(matrix), u)
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


def power_iterate(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network after one power iteration for each of its spectral norms: what a training pass does to them, without the pass.

    Passes over several parts of one batch share the vectors, and with them the kernels, when they are moved before the first.
    """
    if COLLECTION not in variables:
        return variables
    params, vectors = (
        traverse_util.flatten_dict(variables[collection]) for collection in ('params', COLLECTION)
    )
    for kernel, u, v in _paths(vectors):
        matrix = lax.stop_gradient(params[kernel]).reshape(-1, params[kernel].shape[-1])
        vectors[u], vectors[v] = power_iteration(matrix, vectors[u])
    return variables | {COLLECTION: traverse_util.unflatten_dict(vectors)}


def fold_spectral_norm(variables: dict[str, Any]) -> dict[str, Any]:
    """The variables of a network for the same network without spectral norms: every kernel divided by its sigma, once and for all.

    On the host, where nothing has to be compiled for it.
    """
    if COLLECTION not in variables:
        return variables
    params, vectors = (
        traverse_util.flatten_dict(variables[collection]) for collection in ('params', COLLECTION)
    )
    for path, *of_vectors in _paths(vectors):
        kernel, u, v = (
            np.asarray(array, np.float32)
            for array in (params[path], *(vectors[name] for name in of_vectors))
        )
        params[path] = kernel / np.vdot(v, kernel.reshape(-1, kernel.shape[-1]) @ u)
    return {name: value for name, value in variables.items() if name != COLLECTION} | {
        'params': traverse_util.unflatten_dict(params)
    }


def _paths(vectors: dict[tuple[str, ...], Any]) -> list[tuple[tuple[str, ...], ...]]:
    """Of every spectral norm the paths of its kernel, beside which the layer stands, of u and of v."""
    return [
        ((*module[:-1], 'kernel'), (*module, 'u'), (*module, 'v'))
        for *module, name in vectors
        if name == 'u'
    ]


def unit_vector(x: jax.Array) -> jax.Array:
    """X / |x|."""
    return x / jnp.maximum(jnp.linalg.norm(x), EPSILON)
