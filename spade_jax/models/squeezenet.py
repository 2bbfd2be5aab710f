"""SqueezeNet 1.1 (Iandola et al. 2016), trained on ImageNet, for the perceptual loss.

Its weights are next to this file, with their licenses; `experiments/figures/make_squeezenet.py`
made them.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from flax.typing import Dtype

from spade_jax.files.weight_files import read_state
from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Convolution

WEIGHTS = pathlib.Path(__file__).parent / 'squeezenet_weights.safetensors'
# Squeezed and expanded channels of the two blocks of each stage; max pooling precedes each but the
# last.
STAGES = ((16, 64), (32, 128), (48, 192), (64, 256))
MEAN = (104.0, 117.0, 123.0)  # Of blue, green and red in [0, 255].
# Typical mean absolute differences between the activations of two landscapes of 64x64 pixels.
DIFFERENCES = (14.0, 26.0, 22.0, 10.0, 1.8)
_PADDING: Any = ((1, 1), (1, 1))  # Of pooling; the types of Flax know names alone.


class Fire(nn.Module):
    """A convolution to few channels, and two from there: 1x1 and 3x3.

    Attributes:
      squeezed: Channels in between.
      expanded: Channels of each of the two.
      dtype: Compute type.
    """

    squeezed: int
    expanded: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, 2 * expanded]."""
        x = relu(Convolution(self.squeezed, 1, dtype=self.dtype, name='squeeze')(x))
        small = Convolution(self.expanded, 1, dtype=self.dtype, name='expand_1x1')(x)
        large = Convolution(self.expanded, 3, dtype=self.dtype, name='expand_3x3')(x)
        return relu(jnp.concatenate([small, large], axis=-1))


class SqueezeNet(nn.Module):
    """The activations after conv1, fire3, fire5, fire7 and fire9; there is no classifier.

    Convolution and pooling of stride 2 have a padding of 1, unlike the original, which ignores the
    last row and column of most sizes: the loss is of all pixels.

    Attributes:
      dtype: Compute type.
    """

    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """`prepare`d images [B, H, W, 3] -> [B, H/2, W/2, 64], ... [B, H/16, W/16, 512]."""
        x = relu(Convolution(64, strides=2, dtype=self.dtype, name='conv1')(x))
        features, number = [x], 2
        for stage, (squeezed, expanded) in enumerate(STAGES, start=1):
            if stage < len(STAGES):
                x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=_PADDING)
            for _ in range(2):
                x = Fire(squeezed, expanded, dtype=self.dtype, name=f'fire{number}')(x)
                number += 1
            features.append(x)
        return features


def prepare(images: jax.Array) -> jax.Array:
    """Images in [-1, 1] as input: blue, green, red in [0, 255] minus the means of ImageNet."""
    return (images[..., ::-1] + 1) * 127.5 - jnp.asarray(MEAN)


def load_squeezenet() -> dict[str, Any]:
    """The variables of `SqueezeNet`, as NumPy arrays."""
    return {'params': traverse_util.unflatten_dict(read_state(str(WEIGHTS)), sep='/')}
