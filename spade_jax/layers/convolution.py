"""2-D convolutions with explicit symmetric padding, optionally spectrally normalized."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import lax

from spade_jax.layers.cpu.conv_algorithms import faster_on_cpu
from spade_jax.layers.spectral_norm import SpectralNorm


def xla_conv(x: jax.Array, kernel: jax.Array, strides: int, padding: int) -> jax.Array:
    """Cross-correlate x [B, H, W, I] with kernel [K, K, I, O]; returns [B, H', W', O]."""
    pads, layout = [(padding, padding)] * 2, ('NHWC', 'HWIO', 'NHWC')
    return lax.conv_general_dilated(x, kernel, [strides] * 2, pads, dimension_numbers=layout)


# The same function. On a CPU, its result and gradients are computed by the fastest algorithm.
convolve = faster_on_cpu(xla_conv)


class Weights(NamedTuple):
    """Kernel [K, K, I, O] in the compute type and bias [O] (or a scalar 0) in float32."""

    kernel: jax.Array
    bias: jax.Array


class Convolution(nn.Module):
    """2-D convolution. [B, H, W, I] -> [B, H', W', features].

    Attributes:
      features: Output channels.
      kernel_size: Side of the kernel.
      strides: Step in both directions.
      padding: Zeros on each of the four sides; None: (kernel_size - 1) // 2. There is no 'SAME',
        which pads convolutions of stride 2 on one side only.
      use_bias: Add a bias per channel.
      spectral_norm: Divide the kernel by its spectral norm, see `SpectralNorm`.
      dtype: Compute type; the parameters are float32.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int | None = None
    use_bias: bool = True
    spectral_norm: bool = False
    dtype: Dtype = jnp.float32

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Convolve x; `train` matters only to the spectral norm."""
        kernel, bias = self.weights(x.shape[-1], train=train)
        padding = (self.kernel_size - 1) // 2 if self.padding is None else self.padding
        y = convolve(x.astype(self.dtype), kernel, self.strides, padding)
        return add_bias(y, bias) if self.use_bias else y

    @nn.compact
    def weights(self, channels: int, *, train: bool = False) -> Weights:
        """Return the weights, for callers that join convolutions or split one into parts."""
        shape = (self.kernel_size, self.kernel_size, channels, self.features)
        kernel = self.param('kernel', nn.initializers.glorot_normal(), shape)
        if self.spectral_norm:
            kernel = SpectralNorm(name='spectral_norm')(kernel, train=train)
        bias = jnp.zeros(())
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,))
        return Weights(kernel.astype(self.dtype), bias)


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Add bias [O] to y [..., O], in y's type.

    The gradient of the bias is summed in float32: in bfloat16, 256 + 1 is 256, so a sum over pixels
    would stop growing.
    """
    return y + jnp.broadcast_to(bias, y.shape).astype(y.dtype)


def concat_kernels(*convolutions: Weights) -> Weights:
    """Join convolutions of the same input into one, along the output channels."""
    kernels, biases = zip(*convolutions, strict=True)
    return Weights(jnp.concatenate(kernels, axis=-1), jnp.concatenate(biases, axis=-1))
