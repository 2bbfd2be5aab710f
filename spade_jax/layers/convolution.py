"""2-D convolutions with explicit padding, optionally spectrally normalized; and transposed ones."""

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
    """Kernel [K, K, I, O] in the compute type and bias [O] in float32, 0 without one."""

    kernel: jax.Array
    bias: jax.Array


class Convolution(nn.Module):
    """2-D convolution. [B, H, W, I] -> [B, H', W', features].

    Attributes:
      features: Output channels.
      kernel_size: Side of the kernel.
      strides: Step in both directions.
      padding: Pixels on each of the four sides; None: (kernel_size - 1) // 2. There is no 'SAME',
        which pads convolutions of stride 2 on one side only.
      reflect: Pad with the mirror image, without its border pixel, instead of zeros.
      use_bias: Add a bias per channel.
      spectral_norm: Divide the kernel by its spectral norm, see `SpectralNorm`.
      dtype: Compute type; the parameters are float32.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int | None = None
    reflect: bool = False
    use_bias: bool = True
    spectral_norm: bool = False
    dtype: Dtype = jnp.float32

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Convolve x; `train` matters only to the spectral norm."""
        kernel, bias = self.weights(x.shape[-1], train=train)
        padding = (self.kernel_size - 1) // 2 if self.padding is None else self.padding
        if self.reflect:
            x, padding = reflection_pad(x, padding), 0
        y = convolve(x.astype(self.dtype), kernel, self.strides, padding)
        return add_bias(y, bias) if self.use_bias else y

    @nn.compact
    def weights(self, channels: int, *, train: bool = False) -> Weights:
        """Return the weights, for callers that join convolutions or split one into parts."""
        shape = (self.kernel_size, self.kernel_size, channels, self.features)
        kernel = self.param('kernel', nn.initializers.glorot_normal(), shape)
        if self.spectral_norm:
            kernel = SpectralNorm(name='spectral_norm')(kernel, train=train)
        bias = jnp.zeros(self.features)
        if self.use_bias:
            bias = self.param('bias', nn.initializers.zeros, (self.features,))
        return Weights(kernel.astype(self.dtype), bias)


class TransposedConvolution(nn.Module):
    """Transposed 2-D convolution of stride 2. [B, H, W, I] -> [B, 2H, 2W, features].

    The kernel [K, K, I, O] is that of the convolution over the input with zeros between its pixels.
    PyTorch stores it rotated by 180 degrees.

    Attributes:
      features: Output channels.
      kernel_size: 3 or 4: PyTorch's `padding=1`, with `output_padding=1` for 3.
      use_bias: Add a bias per channel.
      spectral_norm: Divide the kernel by its spectral norm, see `SpectralNorm`.
      dtype: Compute type; the parameters are float32.
    """

    features: int
    kernel_size: int = 3
    use_bias: bool = True
    spectral_norm: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param('kernel', nn.initializers.glorot_normal(), shape)
        if self.spectral_norm:
            kernel = SpectralNorm(name='spectral_norm')(kernel, train=train)
        before = self.kernel_size - 2
        y = lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(1, 1),
            padding=[(before, 2)] * 2,
            lhs_dilation=(2, 2),
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )
        if not self.use_bias:
            return y
        # A name of its own, kept because checkpoints have it.
        bias = self.param('transposed_bias', nn.initializers.zeros, (self.features,))
        return add_bias(y, bias)


def reflection_pad(x: jax.Array, pixels: int) -> jax.Array:
    """Mirror x [B, H, W, C] at its border pixels, which are not repeated."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode='reflect')


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
