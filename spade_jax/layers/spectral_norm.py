"""Spectral normalization with stored singular vectors (Miyato et al. 2018, algorithm 1)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jax import lax

COLLECTION = 'spectral'
EPSILON = 1e-12
Path = tuple[str, ...]


class SpectralNorm(nn.Module):
    """Divide a kernel by an estimate of its largest singular value, sigma = u^T W v.

    The collection `spectral` holds the vectors u [O] and v [the other axes, flattened]. In a
    training pass in which the collection is mutable, one power iteration updates them before they
    are used; any other pass uses them as they are stored. `flax.linen.SpectralNorm` stores u only
    and iterates in evaluation too, so its sigma there differs from the published models'.

    Variables without the vectors are those that `fold_spectral_norm` returns: their kernels are
    divided already, and the layer returns them unchanged.

    The gradient flows through W in sigma; u and v are constants.
    """

    @nn.compact
    def __call__(self, kernel: jax.Array, *, train: bool) -> jax.Array:
        """Return the normalized kernel [..., O], float32."""
        if not self.is_initializing() and not self.has_variable(COLLECTION, 'u'):
            return kernel
        matrix = kernel.reshape(-1, kernel.shape[-1])  # [N, O], the transpose of the paper's W
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
    """One step towards the leading singular vectors of `matrix` [N, O]: unit u [O] and v [N]."""
    v = unit_vector(matrix @ u)
    u = unit_vector(v @ matrix)
    return u, v


def unit_vector(x: jax.Array) -> jax.Array:
    """Return x / |x|; 0 stays 0."""
    return x / jnp.maximum(jnp.linalg.norm(x), EPSILON)


def power_iterate(variables: dict[str, Any]) -> dict[str, Any]:
    """Return a network's variables after one power iteration in each spectral norm.

    This is what a training pass does to them. If it runs once, before the first microbatch, all
    microbatches of a batch share vectors and kernels.
    """
    params, vectors, paths = _flatten(variables)
    for kernel, u, v in paths:
        matrix = lax.stop_gradient(params[kernel]).reshape(-1, params[kernel].shape[-1])
        vectors[u], vectors[v] = power_iteration(matrix, vectors[u])
    return variables | {COLLECTION: traverse_util.unflatten_dict(vectors)} if paths else variables


def fold_spectral_norm(variables: dict[str, Any]) -> dict[str, Any]:
    """Return a network's variables for inference: kernels divided by sigma, without vectors.

    The network is the same, see `SpectralNorm`. The kernels are NumPy arrays: nothing is compiled.
    """
    params, vectors, paths = _flatten(variables)
    for path, path_u, path_v in paths:
        arrays = params[path], vectors[path_u], vectors[path_v]
        kernel, u, v = (np.asarray(array, np.float32) for array in arrays)
        params[path] = kernel / np.vdot(v, kernel.reshape(-1, kernel.shape[-1]) @ u)
    folded = {name: value for name, value in variables.items() if name != COLLECTION}
    return folded | {'params': traverse_util.unflatten_dict(params)} if paths else variables


def _flatten(variables: dict[str, Any]) -> tuple[dict[Path, Any], dict[Path, Any], list]:
    """Flat parameters, flat vectors, and the paths of kernel, u and v of each spectral norm."""
    names = 'params', COLLECTION
    params, vectors = (traverse_util.flatten_dict(variables.get(name, {})) for name in names)
    modules = [path[:-1] for path in vectors if path[-1] == 'u']  # Siblings of their kernels.
    paths = [((*module[:-1], 'kernel'), (*module, 'u'), (*module, 'v')) for module in modules]
    return params, vectors, paths
