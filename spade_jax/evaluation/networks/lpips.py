"""Learned perceptual image patch similarity, version 0.1 (Zhang et al. 2018)."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from spade_jax.errors import UserError
from spade_jax.evaluation.weights import WeightsFile
from spade_jax.files.weight_files import read_state
from spade_jax.models.pretrained import Entries, convolution, load_params

# Of the lpips package, 0.1; see its license next to it.
_HEADS = pathlib.Path(__file__).parent / 'lpips_heads.safetensors'
_DOWNLOADS = {'alex': 'alexnet-owt-7be5be79.pth', 'vgg': 'vgg16-397923af.pth'}
_FEWEST_PIXELS = {'alex': 31, 'vgg': 16}  # With less, nothing is left for the last layer.
# Of images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Layer(NamedTuple):
    """A convolution and rectifier of a backbone.

    Attributes:
      index: In torchvision's `features`.
      features: Channels.
      pool: Side of the max pooling of stride 2 before it; 0: there is none.
      is_tap: The distance compares its output.
    """

    index: int
    features: int
    kernel_size: int = 3
    strides: int = 1
    pool: int = 0
    is_tap: bool = True


BACKBONES = {
    'alex': (
        Layer(0, 64, kernel_size=11, strides=4),
        Layer(3, 192, kernel_size=5, pool=3),
        Layer(6, 384, pool=3),
        Layer(8, 256),
        Layer(10, 256),
    ),
    'vgg': (
        Layer(0, 64, is_tap=False),
        Layer(2, 64),
        Layer(5, 128, pool=2, is_tap=False),
        Layer(7, 128),
        Layer(10, 256, pool=2, is_tap=False),
        Layer(12, 256, is_tap=False),
        Layer(14, 256),
        Layer(17, 512, pool=2, is_tap=False),
        Layer(19, 512, is_tap=False),
        Layer(21, 512),
        Layer(24, 512, pool=2, is_tap=False),
        Layer(26, 512, is_tap=False),
        Layer(28, 512),
    ),
}


class Backbone(nn.Module):
    """AlexNet or VGG16 up to the last rectifier that the distance compares.

    Attributes:
      name_of_network: 'alex' or 'vgg'.
    """

    name_of_network: str

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """The five compared outputs [B, h, w, C] of images [B, H, W, 3] in [-1, 1]."""
        x = (x - jnp.asarray(_SHIFT)) / jnp.asarray(_SCALE)
        taps = []
        for layer in BACKBONES[self.name_of_network]:
            if layer.pool:
                x = nn.max_pool(x, (layer.pool,) * 2, (2, 2))
            size = layer.kernel_size
            padding = 2 if layer.strides > 1 else size // 2
            conv = convolution(
                layer.features, (size, size), layer.strides, padding, name=f'conv_{layer.index}'
            )
            x = nn.relu(conv(x))
            if layer.is_tap:
                taps.append(x)
        return taps


@functools.partial(jax.jit, static_argnums=0)
def lpips(network: str, variables: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    """The distances [B, 5] of images [B, H, W, 3] in [-1, 1] by layer; LPIPS is their sum.

    Args:
      network: 'alex' or 'vgg'.
      variables: From `load_lpips`.
      a: Images.
      b: Images of the same size.
    """
    distances = []
    backbone = Backbone(network)
    taps = zip(*(backbone.apply({'params': variables['backbone']}, x) for x in (a, b)), strict=True)
    for (one, other), head in zip(taps, variables['heads'], strict=True):
        square = jnp.square(_unit_length(one) - _unit_length(other))  # [B, h, w, C]
        distances.append(jnp.mean(jnp.sum(square * head, axis=-1), axis=(1, 2)))
    return jnp.stack(distances, axis=-1)


def _unit_length(x: jax.Array) -> jax.Array:
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)


def load_lpips(
    network: str,
    backbone: Mapping[str, np.ndarray],
    heads: Mapping[str, np.ndarray],
    sources: tuple[str, str],
) -> dict[str, Any]:
    """The variables of `lpips` from the published state dictionaries.

    Args:
      network: 'alex' or 'vgg'.
      backbone: torchvision's AlexNet or VGG16, of which only `features.*` is read.
      heads: The file of the lpips package.
      sources: What errors call the two.

    Raises:
      UserError: Entries are missing or have another shape.
    """
    params = load_params(
        Backbone(network), backbone, lambda path: _entries(path[0]), source=sources[0]
    )
    weights = []
    for i, layer in enumerate(layer for layer in BACKBONES[network] if layer.is_tap):
        name, shape = f'lin{i}.model.1.weight', (1, layer.features, 1, 1)
        found = heads.get(name)
        if found is None or found.shape != shape:
            problem = f'{sources[1]} does not fit: {name} is missing or not {list(shape)}'
            raise UserError(problem, f'give the heads of {network}, version 0.1')
        weights.append(np.asarray(found, np.float32).reshape(-1))
    return {'backbone': params, 'heads': weights}


def _entries(layer: str) -> Entries:
    return Entries(f'features.{layer.removeprefix("conv_")}')


class Lpips:
    """LPIPS with the published heads, which come with the package.

    Attributes:
      network: 'alex' or 'vgg'.
      weights: torchvision's backbone.
    """

    def __init__(self, network: str, weights: str):
        """Read the weights; raises UserError if they are missing or of another network."""
        url = f'https://download.pytorch.org/models/{_DOWNLOADS[network]}'
        remedy = f'download {url} and pass --lpips_weights=FILE'
        if not weights:
            raise UserError(f'lpips needs the weights of its backbone {network}', remedy)
        self.network, self.weights = network, WeightsFile('lpips_weights', weights, remedy)
        prefix, heads = f'{network}/', read_state(str(_HEADS))
        heads = {k.removeprefix(prefix): v for k, v in heads.items() if k.startswith(prefix)}
        backbone, sources = read_state(self.weights.path), (self.weights.path, _HEADS.name)
        self._variables = load_lpips(network, backbone, heads, sources)

    def distance(self, image: np.ndarray, photo: np.ndarray) -> float:
        """The distance of two images [H, W, 3] uint8; raises UserError if they are too small."""
        if min(image.shape[:2]) < (fewest := _FEWEST_PIXELS[self.network]):
            problem = f'lpips_network={self.network} needs {fewest} pixels or more on each side'
            raise UserError(problem, 'leave the scores of lpips out')
        a, b = (x[None] / np.float32(127.5) - 1 for x in (image, photo))
        return float(lpips(self.network, self._variables, a, b).sum())

    def protocol(self) -> dict[str, str]:
        """What decides the distance."""
        return {'network': self.network, 'version': '0.1'} | self.weights.protocol()
