"""VGG19 features for the perceptual loss (Simonyan and Zisserman 2015; Johnson et al. 2016), and its weights from a file."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.errors import UserError
from spade_jax.files.weight_files import read_state
from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Convolution

# Channels of the convolutions of the five stages, each followed by a 2x2 max pooling. The features end at the first of stage 5.
STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
DOWNLOAD = 'https://download.pytorch.org/models/vgg19-dcbb9e9d.pth'


class Vgg19(nn.Module):
    """The activations relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    Attributes:
      width_divisor: 1; more for the narrow networks of tests.
    """

    width_divisor: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """x: [B, H, W, 3]. Returns [B, H, W, 64], [B, H/2, W/2, 128], ... [B, H/16, W/16, 512]."""
        features = []
        for stage, widths in enumerate(STAGES):
            if stage:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            for i, width in enumerate(widths):
                x = relu(
                    Convolution(
                        width // self.width_divisor,
                        dtype=self.dtype,
                        name=f'conv_{stage + 1}_{i + 1}',
                    )(x, train=False)
                )
                if i == 0:
                    features.append(x)
        return features


def torchvision_names() -> dict[str, str]:
    """Name of each convolution here -> its name in torchvision's file: 'conv_1_1' -> 'features.0', ..."""
    names, index = {}, 0
    for stage, widths in enumerate(STAGES):
        for i in range(len(widths)):
            names[f'conv_{stage + 1}_{i + 1}'] = f'features.{index}'
            index += 2  # each convolution is followed by a ReLU,
        index += 1  # each stage by a pooling
    return names


def load_vgg19(path: str) -> dict:
    """Reads the weights that the perceptual loss needs.

    Args:
      path: torchvision's `.pth` (needs PyTorch), or an `.npz` or `.safetensors` with the same names and shapes.

    Returns:
      The variables of `Vgg19`, as NumPy arrays.

    Raises:
      UserError: no such file, not such a file, or an entry is missing or misshapen.
    """
    if not path:
        raise UserError(
            f'the perceptual loss needs the weights of VGG19: download {DOWNLOAD} and pass --vgg19_weights=FILE, '
            'or turn the loss off with --perceptual_weight=0'
        )
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise UserError(
            f'vgg19_weights={path}: no such file; download {DOWNLOAD}, or turn the loss off with --perceptual_weight=0'
        )
    arrays = read_state(path)
    params, channels = {}, 3
    for name, torch_name in torchvision_names().items():
        kernel, bias = (_take(arrays, f'{torch_name}.{part}', path) for part in ('weight', 'bias'))
        if (
            kernel.ndim != 4
            or kernel.shape[1:] != (channels, 3, 3)
            or bias.shape != kernel.shape[:1]
        ):
            raise UserError(
                f'{path}: {torch_name} has weight {kernel.shape} and bias {bias.shape}; expected (N, {channels}, 3, 3) and (N,): is this VGG19?'
            )
        params[name] = {'kernel': kernel.transpose(2, 3, 1, 0), 'bias': bias}
        channels = kernel.shape[0]
    return {'params': params}


def _take(arrays: dict, name: str, path: str) -> np.ndarray:
    if name not in arrays:
        raise UserError(
            f"{path} has no entry {name}; expected the names of torchvision's VGG19 (without batch normalisation)"
        )
    return np.asarray(arrays[name], np.float32)
