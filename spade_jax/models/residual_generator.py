"""The generator of Johnson et al. 2016, which pix2pix and pix2pixHD share."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Convolution, TransposedConvolution
from spade_jax.layers.normalization import Normalization


class ConvolutionLayer(nn.Module):
    """Convolution, normalization and ReLU. [B, H, W, I] -> [B, H', W', features].

    Attributes:
      features: Output channels.
      kernel_size: Side of the kernel.
      scale: Of the resolution: 1 (padded with reflection), 1/2 (padded with zeros), or 2 (a
        transposed convolution).
      norm: See `Normalization`.
      norm_layer: Makes another layer in the place of the normalization, given a name.
      use_bias: In the convolution; batch normalization has a shift of its own as well.
      spectral_norm: Normalize the kernel.
      activate: Apply the ReLU.
      axis_name, dtype: The replica axis and the compute type.
    """

    features: int
    kernel_size: int = 3
    scale: float = 1
    norm: str = 'instance'
    norm_layer: Callable[..., Callable[..., jax.Array]] | None = None
    use_bias: bool = True
    spectral_norm: bool = False
    activate: bool = True
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        make = TransposedConvolution
        if self.scale != 2:
            padding = dict(strides=round(1 / self.scale), reflect=self.scale == 1)
            make = functools.partial(Convolution, **padding)
        x = make(
            self.features,
            kernel_size=self.kernel_size,
            use_bias=self.use_bias,
            spectral_norm=self.spectral_norm,
            dtype=self.dtype,
            name='conv',
        )(x, train=train)
        plain = functools.partial(Normalization, self.norm, True, axis_name=self.axis_name)
        x = (self.norm_layer or plain)(name='norm')(x, train=train)
        return relu(x) if self.activate else x


class ResidualBlock(nn.Module):
    """Two convolution layers plus the input, without an activation of the sum.

    Attributes:
      layer: Makes a `ConvolutionLayer`, given channels and a name.
    """

    layer: Callable[..., ConvolutionLayer] = ConvolutionLayer

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        between_layers: Callable[[jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]; `between_layers` acts there, such as dropout."""
        y = self.layer(x.shape[-1], name='layer_0')(x, train=train)
        y = y if between_layers is None else between_layers(y)
        return x + self.layer(x.shape[-1], activate=False, name='layer_1')(y, train=train)


class ResidualGenerator(nn.Module):
    """Halve the resolution, transform by residual blocks, double it again.

    The defaults are those of the global generator of pix2pixHD (Wang et al. 2018, section 3.1).

    Attributes:
      width: Channels of the first convolution; they double with each halving.
      num_downsamplings: Halvings of the resolution, and doublings.
      num_blocks: Residual blocks between them.
      features: Output channels; None: there is no last convolution and tanh, and the output has
        `width` channels.
      kernel_size: Of the residual blocks.
      first_kernel_size: Of the first convolution; that of the last is 7.
      norm, norm_layer, use_bias, spectral_norm: See `ConvolutionLayer`; the last convolution has a
        bias and no normalization of its kernel.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    num_downsamplings: int = 4
    num_blocks: int = 9
    features: int | None = 3
    kernel_size: int = 3
    first_kernel_size: int = 7
    norm: str = 'instance'
    norm_layer: Callable[..., Callable[..., jax.Array]] | None = None
    use_bias: bool = True
    spectral_norm: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, between_layers: Callable[..., jax.Array] | None = None
    ) -> jax.Array:
        """[B, H, W, I] -> [B, H, W, features] float32 in [-1, 1]; or [B, H, W, width].

        Height and width must be divisible by 2 ** num_downsamplings. `between_layers(x, block=i)`
        acts between the layers of residual block i, such as dropout.
        """
        layer = functools.partial(
            ConvolutionLayer,
            norm=self.norm,
            norm_layer=self.norm_layer,
            use_bias=self.use_bias,
            spectral_norm=self.spectral_norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        widths = [self.width * 2**i for i in range(self.num_downsamplings + 1)]
        x = layer(self.width, self.first_kernel_size, name='first')(x, train=train)
        for i, width in enumerate(widths[1:]):  # [B, H / 2, W / 2, width]
            x = layer(width, scale=0.5, name=f'down_{i}')(x, train=train)
        for i in range(self.num_blocks):
            block = ResidualBlock(
                functools.partial(layer, kernel_size=self.kernel_size), name=f'block_{i}'
            )
            between = between_layers and functools.partial(between_layers, block=i)
            x = block(x, train=train, between_layers=between)
        for i, width in enumerate(reversed(widths[:-1])):  # [B, 2 H, 2 W, width]
            x = layer(width, scale=2, name=f'up_{i}')(x, train=train)
        if self.features is None:
            return x
        return ToImage(self.features, self.dtype, name='last')(x)


class ToImage(nn.Module):
    """The last convolution and tanh. [B, H, W, C] -> [B, H, W, features] float32 in [-1, 1].

    Attributes:
      features: Output channels.
      dtype: The compute type.
    """

    features: int = 3
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = Convolution(self.features, 7, reflect=True, dtype=self.dtype, name='conv')
        return jnp.tanh(conv(x).astype(jnp.float32))
