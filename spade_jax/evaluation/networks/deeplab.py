"""DeepLab v2 with ResNet-101 (Chen et al. 2018), which segments images into COCO-Stuff classes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from spade_jax.evaluation.weights import read_segmenter
from spade_jax.layers.resampling import resize_bilinear
from spade_jax.models.pretrained import Entries, Path, Stage, convolution

# The classes are the ids of the label maps of COCO-Stuff; 11 of them do not occur, and 255 is
# unlabeled.
NUM_CLASSES = 182
SCALES = 0.5, 0.75  # Of the copies of an image.
_MEAN = (104.008, 116.669, 122.675)  # BGR of [0, 255].
_STAGES = ((64, 3, 1, 1), (128, 4, 2, 1), (256, 23, 1, 2), (512, 3, 1, 4))
_DILATIONS = 6, 12, 18, 24  # Of the parallel classifiers.
_LAYERS = {'conv1': 'reduce', 'conv2': 'conv3x3', 'conv3': 'increase', 'downsample.0': 'shortcut'}
_REMEDY = (
    'download deeplabv2_resnet101_msc-cocostuff164k-100000.pth of '
    'https://github.com/kazuto1011/deeplab-pytorch/releases, which miou of COCO-Stuff needs, and '
    'pass --segmentation_weights=FILE'
)


class Network(nn.Module):
    """The residual network with dilations, and four classifiers that are added."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [B, H, W, 3] in BGR less the mean -> logits [B, h, w, 182] at about 1/8."""
        x = pool(nn.relu(convolution(64, (7, 7), 2, 3, name='layer1.conv1')(x)))
        for i, (width, count, strides, dilation) in enumerate(_STAGES, 2):
            x = Stage(count, width, (strides, 1), dilation, name=f'layer{i}')(x)
        logits = [
            convolution(NUM_CLASSES, (3, 3), padding=n, dilation=n, name=f'aspp.c{i}')(x)
            for i, n in enumerate(_DILATIONS)
        ]
        return sum(logits[1:], logits[0])


def pool(x: jax.Array) -> jax.Array:
    """The largest of 3x3 with stride 2; the last window may end outside, so 32 rows become 17."""
    padding: Any = ((1, 2), (1, 2))
    return nn.max_pool(x, (3, 3), (2, 2), padding)


def _entries(path: Path) -> Entries:
    """Block 0 -> block1; the classifiers have no normalization."""
    parts = (f'block{int(x) + 1}' if x.isdigit() else _LAYERS.get(x, x) for x in path)
    name = '.'.join(('base', *parts))
    return Entries(name) if 'aspp' in name else Entries(f'{name}.conv', f'{name}.bn')


def prepare(image: jax.Array) -> jax.Array:
    """The network's input [1, H, W, 3] of an image [H, W, 3] uint8."""
    return image[None, ..., ::-1] - jnp.asarray(_MEAN)


def _scaled(x: jax.Array, scale: float) -> jax.Array:
    """Bilinear resizing without antialiasing, where `scale` is exact even if the size is rounded.

    PyTorch before 1.6 took the ratio of the sizes instead. It is the same for multiples of 4.
    """
    batch, height, width, channels = x.shape
    shape = (batch, int(height * scale), int(width * scale), channels)
    factors, shift = jnp.full(2, scale), jnp.zeros(2)
    return jax.image.scale_and_translate(
        x, shape, (1, 2), factors, shift, 'linear', antialias=False
    )


@functools.partial(jax.jit, static_argnames='scales')
def _logits(params: Any, image: jax.Array, scales: tuple[float, ...]) -> jax.Array:
    """The largest logits of the image and of its copies."""
    network = functools.partial(Network().apply, {'params': params})
    x = prepare(image)
    logits: Any = network(x)
    _, height, width, _ = logits.shape
    for scale in scales:
        other: Any = network(_scaled(x, scale))
        logits = jnp.maximum(logits, resize_bilinear(other, height, width))
    return logits[0]


@functools.partial(jax.jit, static_argnames='size')
def _classes(logits: jax.Array, size: tuple[int, int]) -> jax.Array:
    return jnp.argmax(resize_bilinear(logits[None], *size)[0], axis=-1)


class Deeplab:
    """Segments images with the published weights.

    Attributes:
      num_classes: 182, numbered as in the label maps of COCO-Stuff.
    """

    num_classes = NUM_CLASSES

    def __init__(self, weights: str):
        """Read the weights; raises UserError if they are missing or of another network."""
        self._file, self._params = read_segmenter(Network(), weights, _entries, _REMEDY)

    def protocol(self) -> dict[str, str]:
        """What decides the predictions."""
        return {'network': 'DeepLabV2-ResNet101'} | self._file.protocol()

    def scores(self, image: np.ndarray, *, multi_scale: bool) -> np.ndarray:
        """The logits [h, w, 182] float32 of the classes, at about 1/8 of the size of the image.

        Args:
          image: [H, W, 3] uint8.
          multi_scale: Take the largest of the image and two copies, resized by `SCALES`, as the
            published network does.
        """
        return np.asarray(_logits(self._params, image, SCALES if multi_scale else ()))

    def predict(
        self, image: np.ndarray, size: tuple[int, int] | None = None, multi_scale: bool = False
    ) -> np.ndarray:
        """The classes [H, W] int32 of an image [H, W, 3] uint8; `multi_scale` as of `scores`.

        `size` is the (height, width) of the result; that of the image by default.
        """
        height, width = size or image.shape[:2]
        return np.asarray(_classes(self.scores(image, multi_scale=multi_scale), (height, width)))
