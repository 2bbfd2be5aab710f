"""VGG19 features for the perceptual loss (Simonyan and Zisserman 2015; Johnson et al. 2016)."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.errors import UserError
from spade_jax.files.weight_files import read_state
from spade_jax.layers.activations import relu
from spade_jax.layers.convolution import Convolution

# Channels of the convolutions of each stage; max pooling follows each but the last, of which only
# the first convolution is needed.
STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
DOWNLOAD = 'https://download.pytorch.org/models/vgg19-dcbb9e9d.pth'
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # Of the perceptual loss, published.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Vgg19(nn.Module):
    """The activations relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1.

    Attributes:
      width_divisor: Divides the channels; 1, except for the narrow networks of tests.
      dtype: Compute type.
    """

    width_divisor: int = 1
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """[B, H, W, 3] -> [B, H, W, 64], [B, H/2, W/2, 128], ... [B, H/16, W/16, 512]."""
        features = []
        for stage, widths in enumerate(STAGES, start=1):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), strides=(2, 2))
            for i, width in enumerate(widths, start=1):
                name = f'conv_{stage}_{i}'
                conv = Convolution(width // self.width_divisor, dtype=self.dtype, name=name)
                x = relu(conv(x))
                if i == 1:
                    features.append(x)
        return features


def prepare(images: jax.Array, input_range: str) -> jax.Array:
    """Images in [-1, 1] as input.

    Args:
      images: [B, H, W, 3].
      input_range: 'raw': in [-1, 1], as in the published models, although VGG19 was not trained so;
        'imagenet': normalized as in its training.
    """
    if input_range == 'raw':
        return images
    return ((images + 1) / 2 - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)


def torchvision_names() -> dict[str, str]:
    """Map the name of each convolution to torchvision's: 'conv_1_1' -> 'features.0', ..."""
    names, index = {}, 0
    for stage, widths in enumerate(STAGES, start=1):
        for i in range(1, len(widths) + 1):
            names[f'conv_{stage}_{i}'] = f'features.{index}'
            index += 2  # The convolution and its ReLU.
        index += 1  # The pooling.
    return names


def load_vgg19(path: str) -> dict[str, Any]:
    """Read the weights that the perceptual loss needs.

    Args:
      path: torchvision's `.pth`, or its content as `.npz` or `.safetensors`.

    Returns:
      The variables of `Vgg19`, as NumPy arrays.

    Raises:
      UserError: The file does not exist or is of another kind, or an entry is missing or misshapen.
    """
    remedy = f'use --perceptual_network=squeezenet, or download {DOWNLOAD} and pass '
    remedy += '--vgg19_weights=FILE, or use --perceptual_weight=0'
    if not path:
        raise UserError('perceptual_network=vgg19 needs the weights of VGG19', remedy)
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise UserError(f'vgg19_weights={path}: no such file', remedy)
    arrays = read_state(path)
    params, channels = {}, 3
    for name, torch_name in torchvision_names().items():
        entries = f'{torch_name}.weight', f'{torch_name}.bias'
        if missing := [entry for entry in entries if entry not in arrays]:
            raise UserError(f'{path} has no entry {missing[0]} of VGG19', remedy)
        kernel, bias = (np.asarray(arrays[entry], np.float32) for entry in entries)
        if bias.ndim != 1 or kernel.shape != (len(bias), channels, 3, 3):
            shapes = f'{torch_name} has weight {kernel.shape} and bias {bias.shape}'
            raise UserError(f'{path}: {shapes}, not (N, {channels}, 3, 3) and (N,)', remedy)
        params[name] = {'kernel': kernel.transpose(2, 3, 1, 0), 'bias': bias}
        channels = len(bias)
    return {'params': params}
