"""The SPADE generator (Park et al. 2019, figures 4 and 11)."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.layers.activations import leaky_relu
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.noise_injection import NoiseInjection
from spade_jax.layers.resampling import Upsample, resize_nearest, upsample_nearest
from spade_jax.layers.spatially_adaptive_norm import Modulation, SpatiallyAdaptiveNorm

FIRST_BLOCKS = ('head', 'middle_0', 'middle_1')  # Then up_0, up_1, ...
PUBLISHED_BLOCKS = 7


class SpadeResidualBlock(nn.Module):
    """SPADE, leaky ReLU and 3x3 convolution, twice; plus the input.

    If the channels differ, the input is added through SPADE and a 1x1 convolution.

    Attributes:
      features: Output channels; between the convolutions the smaller of input and output.
      upsample: Doubles the resolution of the input first; None: it stays.
      norm: Makes a SPADE layer, given a name.
      conv: Makes a convolution, given channels and a name.
      noise: Adds an image of noise to the output of the first 3x3 convolution.
      rematerialize_norms: Recompute the SPADE layers in the backward pass.
    """

    features: int
    upsample: Upsample | None = None
    norm: Callable[..., nn.Module] = SpatiallyAdaptiveNorm
    conv: Callable[..., nn.Module] = functools.partial(Convolution, spectral_norm=True)
    noise: Callable[..., nn.Module] | None = None
    rematerialize_norms: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, layout: Any, *, train: bool) -> jax.Array:
        """[B, H, W, C] (with `upsample`, half that size) -> [B, H, W, features]."""

        def norm(name: str, x: jax.Array, upsample: Upsample | None = None) -> jax.Array:
            layer = self.norm(name=name, upsample=upsample)
            return remat_if(self.rematerialize_norms, layer, x, layout, train=train)

        channels = x.shape[-1]
        if channels != self.features:
            shortcut = norm('norm_s', x, self.upsample)
            conv_s = self.conv(self.features, kernel_size=1, use_bias=False, name='conv_s')
            shortcut = conv_s(shortcut, train=train)
        else:
            shortcut = self.upsample(x) if self.upsample else x
        y = leaky_relu(norm('norm_0', x, self.upsample))
        y = self.conv(min(channels, self.features), name='conv_0')(y, train=train)
        # Before a SPADE layer, so that each class can amplify or remove it.
        y = y if self.noise is None else self.noise(name='noise')(y)
        y = leaky_relu(norm('norm_1', y))
        y = self.conv(self.features, name='conv_1')(y, train=train)
        return shortcut + y


class SpadeGenerator(nn.Module):
    """Generate an image from a semantic layout and, with an encoder, a style latent.

    The image starts as a coarse grid, computed from the style latent, or from the layout if there
    is none. Residual blocks refine the grid and double its resolution. Each SPADE layer sees the
    layout at its own resolution.

    Attributes:
      width: Unit of the channels.
      multipliers: Channels of the residual blocks, in multiples of `width`.
      num_upsamplings: Number of blocks that upsample, see `upsampling_blocks`.
      style_dim: Length of the style latent; None: the grid is a convolution of the layout.
      norm, spade_hidden, spade_kernel_size, modulation: See `SpatiallyAdaptiveNorm`.
      norm_layer: Makes another layer in the place of SPADE, for ablations; None: SPADE.
      spectral_norm: Normalize the convolutions of the residual blocks.
      upsample: Doubles the resolution.
      noise_injection: Add noise inside the residual blocks, see `NoiseInjection`.
      rematerialize: What the backward pass recomputes: 'none', 'modulation' (SPADE) or 'blocks'.
      axis_name, dtype: The replica axis and the compute type.
    """

    width: int = 64
    multipliers: tuple[float, ...] = (16, 16, 16, 8, 4, 2, 1)
    num_upsamplings: int = 5
    style_dim: int | None = None
    norm: str = 'sync_batch'
    spade_hidden: int = 128
    spade_kernel_size: int = 3
    spectral_norm: bool = True
    upsample: Upsample = upsample_nearest
    noise_injection: bool = False
    rematerialize: str = 'none'
    modulation: Modulation | None = None
    norm_layer: Callable[..., nn.Module] | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, layout: jax.Array, style: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Generate images.

        Args:
          layout: [B, H, W, S] one-hot classes, then the edge channel if there is one.
          style: [B, style_dim]; None exactly if `style_dim` is None.
          train: Use batch statistics; update the running ones and the spectral vectors.

        Returns:
          [B, H, W, 3] in [-1, 1], float32.

        Raises:
          ValueError: The style is missing or superfluous, or the size does not fit.
        """
        layout = layout.astype(self.dtype)
        layout_at = layout_pyramid(layout, self.modulation, self.spade_kernel_size)
        x = self._coarse_grid(layout, style)  # [B, h, w, C]
        upsampling = upsampling_blocks(len(self.multipliers), self.num_upsamplings)
        for i, multiplier in enumerate(self.multipliers):
            factor = 2 if i in upsampling else 1
            _, height, width, _ = x.shape
            m = layout_at(factor * height, factor * width)  # [B, H, W, S]
            upsample = self.upsample if factor == 2 else None
            block = self._block(i, int(multiplier * self.width), upsample)
            x = remat_if(self.rematerialize == 'blocks', block, x, m, train=train)
        x = Convolution(3, dtype=self.dtype, name='to_rgb')(leaky_relu(x))
        return jnp.tanh(x.astype(jnp.float32))  # [B, H, W, 3]

    def _block(self, index: int, features: int, upsample: Upsample | None) -> SpadeResidualBlock:
        norm = self.norm_layer or functools.partial(
            SpatiallyAdaptiveNorm,
            norm=self.norm,
            hidden=self.spade_hidden,
            kernel_size=self.spade_kernel_size,
            modulation=self.modulation,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        conv = functools.partial(Convolution, spectral_norm=self.spectral_norm, dtype=self.dtype)
        noise = functools.partial(NoiseInjection, seed=index) if self.noise_injection else None
        remat, name = self.rematerialize == 'modulation', block_name(index)
        return SpadeResidualBlock(features, upsample, norm, conv, noise, remat, name=name)

    def _coarse_grid(self, layout: jax.Array, style: jax.Array | None) -> jax.Array:
        """[B, h, w, C], from the style latent if there is one, else from the layout."""
        if (style is None) != (self.style_dim is None):
            state = 'missing' if style is None else 'given'
            raise ValueError(f'style is {state}, but the generator has style_dim={self.style_dim}')
        scale, size = 2**self.num_upsamplings, layout.shape[1:3]
        if any(side % scale for side in size):
            raise ValueError(f'layout of (height, width) = {size} is not divisible by {scale}')
        height, width = (side // scale for side in size)
        features = int(self.multipliers[0] * self.width)
        if style is None:
            resized = resize_nearest(layout, height, width)
            return Convolution(features, dtype=self.dtype, name='first')(resized)
        units = height * width * features
        stored = self.variables.get('params', {}).get('first')
        if stored is not None and (found := len(stored['bias'])) != units:
            problem = f'the first layer has {found} units; a grid of {height}x{width} needs {units}'
            raise ValueError(f'{problem}; use layouts of the training size')
        x = nn.Dense(units, dtype=self.dtype, name='first')(style)
        return x.reshape(-1, height, width, features)


def layout_pyramid(
    layout: jax.Array, modulation: Modulation | None, kernel_size: int
) -> Callable[[int, int], Any]:
    """(height, width) -> the layout at that resolution, which its SPADE layers share."""

    @functools.cache
    def layout_at(height: int, width: int) -> Any:
        resized = resize_nearest(layout, height, width)
        return resized if modulation is None else modulation.prepare(resized, kernel_size)

    return layout_at


def block_name(index: int) -> str:
    """The name of a block in the published models: 0 -> 'head', ... 3 -> 'up_0', ..."""
    first = len(FIRST_BLOCKS)
    return FIRST_BLOCKS[index] if index < first else f'up_{index - first}'


def upsampling_blocks(num_blocks: int, num_upsamplings: int) -> set[int]:
    """The indices of the blocks that upsample: the last ones.

    The published generator of five upsamplings has one in the first middle block, not the second.
    """
    if num_upsamplings > num_blocks:
        raise ValueError(f'{num_upsamplings} upsamplings need as many blocks, not {num_blocks}')
    first, middle_0, middle_1 = num_blocks - num_upsamplings, 1, 2
    if num_blocks >= PUBLISHED_BLOCKS and first == middle_1:
        return {middle_0, *range(first + 1, num_blocks)}
    return set(range(first, num_blocks))


def remat_if(enabled: bool, module: nn.Module, *inputs: Any, train: bool) -> Any:
    """Apply a module; if `enabled`, keep only its inputs for the backward pass."""

    def apply(module, *inputs):
        return module(*inputs, train=train)

    if enabled and not module.is_initializing():
        apply = nn.remat(apply)
    return apply(module, *inputs)
