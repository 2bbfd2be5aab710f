"""Weight initialization.

The published models were built on a GPU, where the Glorot initialization of their code did not
reach the spectrally normalized kernels. Those kept PyTorch's default, uniform in +-1/sqrt(fan_in):
for 3x3 from 256 to 256 channels a standard deviation of 0.0120 instead of 0.00042. This is
`initialization='published'`.

The values are computed on the host, without compilation. The name of each variable is part of its
seed, so a variable starts the same in any network. Training and fine-tuning take all values from
here: the initializers that a layer hands to `self.param` serve those who use the layer alone.
"""

import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from spade_jax.layers.convolution import TransposedConvolution
from spade_jax.layers.spectral_norm import COLLECTION as SPECTRAL

# Standard deviation of a normally distributed kernel [..., I, O], given its shape and the gain.
KERNEL_STDS: dict[str, Callable[[tuple[int, ...], float], float]] = {
    # gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010)
    'glorot': lambda shape, gain: gain * math.sqrt(2 / (math.prod(shape[:-2]) * sum(shape[-2:]))),
    'normal': lambda shape, gain: gain,
    # sqrt(2 / fan_in) (He et al. 2015); the published code, too, has no gain here.
    'kaiming': lambda shape, gain: math.sqrt(2 / math.prod(shape[:-1])),
}
KERNEL_STDS['published'] = KERNEL_STDS['glorot']
# By the name of a variable, or that of its module and its own.
CONSTANTS = {'bias': 0, 'transposed_bias': 0, 'mean': 0, 'var': 1, 'steps': 0, 'pairs': 0}
CONSTANTS['noise/scale'] = 0  # `NoiseInjection` begins as the identity.


class TransposedKernel(jax.ShapeDtypeStruct):
    """The kernel [..., I, O] of a transposed convolution; PyTorch takes O as its inputs."""


def abstract_variables(network: nn.Module, *inputs: jax.ShapeDtypeStruct | None) -> dict[str, Any]:
    """Shapes and types of a network's variables, without computing anything."""
    transposed = set()

    def note(call: Callable, args: Any, keywords: Any, context: nn.module.InterceptorContext):
        if isinstance(context.module, TransposedConvolution):
            transposed.add('/'.join(('params', *context.module.path, 'kernel')))
        return call(*args, **keywords)

    with nn.intercept_methods(note):
        init = functools.partial(network.init, train=True)
        variables = jax.eval_shape(init, jax.random.key(0), *inputs)
    flat: dict[str, Any] = traverse_util.flatten_dict(variables, sep='/')
    for path in transposed:
        flat[path] = TransposedKernel(flat[path].shape, flat[path].dtype)
    return traverse_util.unflatten_dict(flat, sep='/')


def init_variables(
    abstract: dict[str, Any],
    seed: int,
    stream: int,
    *,
    initialization: str = 'published',
    gain: float = 0.02,
    biases: str = 'zeros',
) -> dict[str, Any]:
    """Initialize the variables of a network.

    Args:
      abstract: From `abstract_variables`.
      seed: Of the run.
      stream: Of the network.
      initialization: Key of `KERNEL_STDS`; spectrally normalized 'published' kernels are uniform.
      gain: Factor of the Glorot initialization; standard deviation of 'normal', and of the scales
        of normalization layers, whose mean is 1.
      biases: 'zeros', or 'uniform' in +-1/sqrt(fan_in), PyTorch's default, for those of kernels.

    Returns:
      NumPy arrays in the tree of `abstract`.

    Raises:
      ValueError: A variable has a name without a rule.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(abstract, sep='/')

    def init(path: str, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        shape = leaf.shape
        entropy = np.random.SeedSequence((seed, int(stream), zlib.crc32(path.encode())))
        random = np.random.Generator(np.random.PCG64(entropy))
        collection, *module, name = path.split('/')
        if collection == SPECTRAL:
            vector = random.standard_normal(shape)
            return vector / np.linalg.norm(vector)
        if name == 'kernel':
            has_spectral_norm = '/'.join([SPECTRAL, *module, 'spectral_norm/u']) in flat
            if initialization == 'published' and has_spectral_norm:
                bound = 1 / math.sqrt(math.prod(_fans(leaf)[:-1]))
                return random.uniform(-bound, bound, shape)
            std = KERNEL_STDS[initialization](_fans(leaf), gain)
            return std * random.standard_normal(shape, np.float32)
        if (owned := '/'.join([*module[-1:], name])) in CONSTANTS:
            return np.full(shape, CONSTANTS[owned])
        if name == 'scale':
            return 1 + gain * random.standard_normal(shape)
        kernel = flat.get('/'.join(['params', *module, 'kernel']))
        if biases == 'uniform' and name.endswith('bias') and kernel is not None:
            bound = 1 / math.sqrt(math.prod(_fans(kernel)[:-1]))
            return random.uniform(-bound, bound, shape)
        if name in CONSTANTS:
            return np.full(shape, CONSTANTS[name])
        raise ValueError(f'{path}: no rule to initialize a variable with the name {name!r}')

    arrays = {path: init(path, leaf).astype(leaf.dtype) for path, leaf in flat.items()}
    return traverse_util.unflatten_dict(arrays, sep='/')


def _fans(kernel: jax.ShapeDtypeStruct) -> tuple[int, ...]:
    """The shape [..., I, O] of a kernel, with what PyTorch takes as its inputs and outputs."""
    *window, inputs, outputs = kernel.shape
    is_transposed = isinstance(kernel, TransposedKernel)
    return (*window, outputs, inputs) if is_transposed else kernel.shape
