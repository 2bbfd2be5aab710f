"""Patch discriminators of one and of several scales (Isola et al. 2017; Wang et al. 2018)."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution, Weights, add_bias, convolve
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.resampling import average_pool
from spade_jax.models.losses import ScaleOutput


class PatchDiscriminator(nn.Module):
    """Classify each patch of an image as real or fake.

    4x4 convolutions: the first without normalization; the last and the one to the logits with
    stride 1, the others with stride 2. The channels double, up to `max_features`. The defaults are
    those of SPADE (Park et al. 2019, figure 13).

    Attributes:
      width: Channels of the first convolution.
      depth: Convolutions before the logits. pix2pix and pix2pixHD count one less.
      norm: Of the hidden layers, see `Normalization`.
      spectral_norm: Normalize the kernels of the hidden layers.
      use_bias: In the hidden layers; None: where no normalization follows.
      padding: Zeros on each side; 2, or 1 in pix2pix.
      max_features: Largest number of channels.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    depth: int = 4
    norm: str = 'instance'
    spectral_norm: bool = True
    use_bias: bool | None = None
    padding: int = 2
    max_features: int = 512
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, layout: jax.Array, image: jax.Array, *, train: bool) -> ScaleOutput:
        """Classify images [N B, H, W, 3] of layouts [B, H, W, S]."""
        conv = functools.partial(Convolution, kernel_size=4, padding=self.padding, dtype=self.dtype)
        use_bias = self.norm == 'none' if self.use_bias is None else self.use_bias
        hidden = functools.partial(conv, use_bias=use_bias, spectral_norm=self.spectral_norm)
        first = conv(self.width, name='conv_0').weights(layout.shape[-1] + image.shape[-1])
        x = leaky_relu(convolve_jointly(layout, image, first, strides=2, padding=self.padding))
        features = [x]  # [N B, H//2 + padding - 1, W//2 + padding - 1, width]
        for i in range(1, self.depth):
            width = min(self.width * 2**i, self.max_features)
            strides = 2 if i < self.depth - 1 else 1
            x = hidden(width, strides=strides, name=f'conv_{i}')(x, train=train)
            norm = Normalization(self.norm, affine=True, axis_name=self.axis_name, name=f'norm_{i}')
            x = leaky_relu(norm(x, train=train))
            features.append(x)
        logits = conv(1, name='logits')(x)  # [N B, h, w, 1]
        return ScaleOutput(features, logits.astype(jnp.float32))


def convolve_jointly(
    layout: jax.Array, image: jax.Array, weights: Weights, strides: int, padding: int
) -> jax.Array:
    """Convolve layout [B, H, W, S] and image [N B, H, W, C] as if concatenated along the channels.

    Images of a layout share its part of the sum, which is most of the work: [N B, H', W', O].
    """
    layout, image = (x.astype(weights.kernel.dtype) for x in (layout, image))
    layout_kernel, image_kernel = jnp.split(weights.kernel, [layout.shape[-1]], axis=2)
    y_layout = add_bias(convolve(layout, layout_kernel, strides, padding), weights.bias)
    y_layout = jnp.tile(y_layout, (len(image) // len(layout), 1, 1, 1))  # [N B, H', W', O]
    return y_layout + convolve(image, image_kernel, strides, padding)


class MultiscaleDiscriminator(nn.Module):
    """Identical patch discriminators, each at half the resolution of the previous one.

    Attributes:
      patch_discriminator: Makes one of them, given a name.
      num_scales: Their number.
      dtype: The compute type.
      coarse_first: The name scale_0 is that of the coarsest scale, so that a discriminator of more
        scales, for larger images, can start from this one. The outputs are from fine to coarse.
    """

    patch_discriminator: Callable[..., PatchDiscriminator] = PatchDiscriminator
    num_scales: int = 2
    dtype: Dtype = jnp.float32
    coarse_first: bool = False

    @nn.compact
    def __call__(self, layout: jax.Array, image: jax.Array, *, train: bool) -> list[ScaleOutput]:
        """Classify the patches of images.

        Args:
          layout: [B, H, W, S].
          image: [N B, H, W, 3] in [-1, 1], N images of each layout, in the order of `jnp.tile`.
          train: Update the running statistics and spectral vectors.

        Returns:
          The outputs of the scales, from fine to coarse.

        Raises:
          ValueError: The layouts do not have the same number of images each.
        """
        if (images := len(image)) % (layouts := len(layout)):
            raise ValueError(f'{images} images cannot be shared equally by {layouts} layouts')
        layout, image = layout.astype(self.dtype), image.astype(self.dtype)
        outputs = []
        for scale in range(self.num_scales):
            if scale:  # [B, ceil(H/2), ceil(W/2), ...]
                layout, image = average_pool(layout), average_pool(image)
            number = self.num_scales - 1 - scale if self.coarse_first else scale
            discriminator = self.patch_discriminator(name=f'scale_{number}')
            outputs.append(discriminator(layout, image, train=train))
        return outputs
