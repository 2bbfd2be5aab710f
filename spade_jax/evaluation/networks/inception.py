"""Inception v3 (Szegedy et al. 2016) with the weights and changes of the 2015 TensorFlow graph.

The Frechet and the kernel inception distance are defined over its features. The ImageNet network of
torchvision, which pytorch-fid used until May 2019, pools otherwise and has other weights.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from spade_jax.models.pretrained import Entries, Path, convolution, load_params

_EPSILON = 1e-3


class Layer(NamedTuple):
    """A convolution followed by a rectifier."""

    name: str
    features: int
    height: int = 1
    width: int = 1


Stage = tuple[Layer, ...]  # Layers on the same input, whose outputs are joined.
Branch = tuple[Stage, ...]


def _chain(prefix: str, *layers: tuple[int, ...], first: int = 1) -> Branch:
    """The branch of layers '<prefix>_1', '<prefix>_2', ..."""
    return tuple((Layer(f'{prefix}_{i}', *layer),) for i, layer in enumerate(layers, first))


def _single(name: str, *layer: int) -> Branch:
    return ((Layer(name, *layer),),)


def _block_a() -> tuple[Branch, ...]:
    return (
        _single('branch1x1', 64),
        _chain('branch5x5', (48,), (64, 5, 5)),
        _chain('branch3x3dbl', (64,), (96, 3, 3), (96, 3, 3)),
    )


def _block_b() -> tuple[Branch, ...]:
    return (_single('branch3x3', 384, 3, 3), _chain('branch3x3dbl', (64,), (96, 3, 3), (96, 3, 3)))


def _block_c(width: int) -> tuple[Branch, ...]:
    rows, columns = (width, 1, 7), (width, 7, 1)
    return (
        _single('branch1x1', 192),
        _chain('branch7x7', (width,), rows, (192, 7, 1)),
        _chain('branch7x7dbl', (width,), columns, rows, columns, (192, 1, 7)),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        _chain('branch3x3', (192,), (320, 3, 3)),
        _chain('branch7x7x3', (192,), (192, 1, 7), (192, 7, 1), (192, 3, 3)),
    )


def _block_e() -> tuple[Branch, ...]:
    def split(name: str) -> Stage:
        return Layer(f'{name}a', 384, 1, 3), Layer(f'{name}b', 384, 3, 1)

    return (
        _single('branch1x1', 320),
        (*_single('branch3x3_1', 384), split('branch3x3_2')),
        (*_chain('branch3x3dbl', (448,), (384, 3, 3)), split('branch3x3dbl_3')),
    )


def _apply(layer: Layer, x: jax.Array, strides: int = 1, *, same: bool = True) -> jax.Array:
    """Convolve, padded to the same size or not at all, and rectify."""
    padding = ((layer.height - 1) // 2, (layer.width - 1) // 2) if same else 0
    kernel_size = layer.height, layer.width
    return nn.relu(convolution(layer.features, kernel_size, strides, padding, name=layer.name)(x))


class Mixed(nn.Module):
    """Branches of convolutions and one of pooling, joined along the channels.

    Attributes:
      branches: Their layers.
      pool: 'max' or 'average'; of 3x3 pixels.
      pool_features: Channels of the 1x1 convolution after the pooling; 0: there is none.
      strides: Of the last layer of each branch and of the pooling. With 2, these are not padded.
      counts_padding: Averages divide by 9 at the image border too.
    """

    branches: tuple[Branch, ...]
    pool: str = 'average'
    pool_features: int = 0
    strides: int = 1
    counts_padding: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H', W', C']."""
        same, outputs = self.strides == 1, []
        for *stages, last in self.branches:
            y = x
            for stage in stages:
                y = jnp.concatenate([_apply(layer, y) for layer in stage], axis=-1)
            outputs += [_apply(layer, y, self.strides, same=same) for layer in last]
        shape, strides = (3, 3), (self.strides,) * 2
        padding = 'SAME' if same else 'VALID'
        if self.pool == 'max':
            y = nn.max_pool(x, shape, strides, padding)
        else:
            counts = self.counts_padding
            y = nn.avg_pool(x, shape, strides, padding, count_include_pad=counts)
        if self.pool_features:
            y = _apply(Layer('branch_pool', self.pool_features), y)
        return jnp.concatenate([*outputs, y], axis=-1)  # [B, H', W', C']


class Inception(nn.Module):
    """Features of images for the Frechet and the kernel inception distance.

    Attributes:
      imagenet: True for torchvision's network, with 1000 classes instead of 1008.
    """

    imagenet: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Features of images [B, 299, 299, 3], whose range is that of an `InputMode`.

        Returns:
          '64', '192', '768' and '2048', each [B, that number], averaged over the positions; and the
          'logits', and 'logits_unbiased' without the bias of the last layer.
        """
        mixed = functools.partial(Mixed, counts_padding=self.imagenet)
        features = {}
        x = _apply(Layer('Conv2d_1a_3x3', 32, 3, 3), x, 2, same=False)  # [B, 149, 149, 32]
        x = _apply(Layer('Conv2d_2a_3x3', 32, 3, 3), x, same=False)  # [B, 147, 147, 32]
        x = _apply(Layer('Conv2d_2b_3x3', 64, 3, 3), x)
        x = features['64'] = nn.max_pool(x, (3, 3), (2, 2))  # [B, 73, 73, 64]
        x = _apply(Layer('Conv2d_3b_1x1', 80), x)
        x = _apply(Layer('Conv2d_4a_3x3', 192, 3, 3), x, same=False)  # [B, 71, 71, 192]
        x = features['192'] = nn.max_pool(x, (3, 3), (2, 2))  # [B, 35, 35, 192]
        for name, width in (('5b', 32), ('5c', 64), ('5d', 64)):
            x = mixed(_block_a(), pool_features=width, name=f'Mixed_{name}')(x)
        x = mixed(_block_b(), 'max', strides=2, name='Mixed_6a')(x)  # [B, 17, 17, 768]
        for name, width in (('6b', 128), ('6c', 160), ('6d', 160), ('6e', 192)):
            x = mixed(_block_c(width), pool_features=192, name=f'Mixed_{name}')(x)
        features['768'] = x
        x = mixed(_block_d(), 'max', strides=2, name='Mixed_7a')(x)  # [B, 8, 8, 1280]
        x = mixed(_block_e(), pool_features=192, name='Mixed_7b')(x)
        pool = 'average' if self.imagenet else 'max'
        x = mixed(_block_e(), pool, pool_features=192, name='Mixed_7c')(x)
        features['2048'] = x
        outputs = {name: jnp.mean(feature, axis=(1, 2)) for name, feature in features.items()}
        classifier = nn.Dense(1000 if self.imagenet else 1008, name='fc', precision='highest')
        outputs['logits'] = classifier(outputs['2048'])
        bias = classifier.variables['params']['bias']
        return outputs | {'logits_unbiased': outputs['logits'] - bias}


def load_inception(state: dict[str, np.ndarray], source: str, *, imagenet: bool) -> dict[str, Any]:
    """The variables of `Inception` from the published state dictionary.

    Args:
      state: Content of pt_inception-2015-12-05-6726825d.pth, or of torchvision's
        inception_v3_google-*.pth with `imagenet`.
      source: What errors call it.
      imagenet: See `Inception`.

    Raises:
      UserError: Entries are missing or have another shape.
    """
    network = Inception(imagenet)
    params = load_params(network, state, _entries, source=source, epsilon=_EPSILON)
    return {'params': params}


def _entries(path: Path) -> Entries:
    name = '.'.join(path)
    return Entries(name) if name == 'fc' else Entries(f'{name}.conv', f'{name}.bn')
