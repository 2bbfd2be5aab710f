"""Where training starts.

Glorot normal kernels, zero biases. But the published models were built on a GPU, where the re-initialisation of their code did not reach the
spectrally normalised kernels: those kept the framework's default, uniform in +-1/sqrt(fan_in), a standard deviation of 0.0120 instead of 0.00042 for
3x3 from 256 to 256 channels. That start is `Config.initialization = 'published'`.

The values are drawn on the host, each from a seed of its own, the name of the variable: no compilation, and a variable starts the same whatever
stands beside it.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from spade_jax.layers.spectral_norm import COLLECTION as SPECTRAL
from spade_jax.random_streams import Stream


def abstract_variables(network: nn.Module, *inputs: jax.ShapeDtypeStruct | None) -> dict[str, Any]:
    """Shapes and types of a network's variables, without computing anything."""
    return jax.eval_shape(functools.partial(network.init, train=True), jax.random.key(0), *inputs)


def draw_variables(
    abstract: dict[str, Any],
    seed: int,
    stream: Stream,
    *,
    initialization: str = 'published',
    gain: float = 0.02,
) -> dict[str, Any]:
    """Fresh variables of a network.

    Args:
      abstract: from `abstract_variables`.
      seed, stream: of the random numbers.
      initialization: 'published': spectrally normalised kernels uniform; 'glorot': those too Glorot normal.
      gain: of the Glorot normal.

    Returns:
      NumPy arrays in the tree of `abstract`.
    """
    flat = traverse_util.flatten_dict(abstract, sep='/')
    normalized = {
        path.removeprefix(f'{SPECTRAL}/').removesuffix('/spectral_norm/u')
        for path in flat
        if path.endswith('/spectral_norm/u')
    }

    def draw(path, leaf):
        random = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence((seed, int(stream), zlib.crc32(path.encode()))))
        )
        collection, *module, name = path.split('/')
        if collection == SPECTRAL:
            vector = random.standard_normal(leaf.shape)
            return vector / np.linalg.norm(vector)
        if name == 'kernel' and '/'.join(module) in normalized and initialization == 'published':
            bound = 1 / math.sqrt(math.prod(leaf.shape[:-1]))
            return random.uniform(-bound, bound, leaf.shape)
        if name == 'kernel':
            return glorot_deviation(leaf.shape, gain) * random.standard_normal(
                leaf.shape, np.float32
            )
        if name == 'scale':
            return 1 + gain * random.standard_normal(leaf.shape)
        return np.full(leaf.shape, {'bias': 0, 'mean': 0, 'var': 1}[name])

    return traverse_util.unflatten_dict(
        {path: draw(path, leaf).astype(leaf.dtype) for path, leaf in flat.items()}, sep='/'
    )


def glorot_deviation(shape: tuple[int, ...], gain: float) -> float:
    """Gain * sqrt(2 / (fan_in + fan_out)) of a kernel [..., I, O] (Glorot and Bengio 2010)."""
    *window, inputs, outputs = shape
    return gain * math.sqrt(2 / (math.prod(window) * (inputs + outputs)))
