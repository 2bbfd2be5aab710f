"""DRN-D-105 (Yu et al. 2017), which segments images into the 19 classes of Cityscapes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from PIL import Image

from spade_jax.evaluation.weights import read_segmenter
from spade_jax.models.pretrained import Stage, convolution, entries_by_name

# The label ids of Cityscapes by class, from road to bicycle.
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NUM_CLASSES = len(LABEL_IDS)
UNLABELED = 255
SCALES = 0.5, 0.75, 1.25, 1.5, 1.75  # Of the copies of an image.
# Of RGB in [0, 1].
_MEAN = (0.29010095242892997, 0.32808144844279574, 0.28696394422942517)
_DEVIATION = (0.1829540508368939, 0.18656561047509476, 0.18447508988480435)
_STAGES = ((64, 3, 2, 1), (128, 4, 2, 1), (256, 23, 1, 2), (512, 3, 1, 4))
_REMEDY = (
    'download drn-d-105_ms_cityscapes.pth, which https://github.com/fyu/drn links to and miou of '
    'Cityscapes needs, and pass --segmentation_weights=FILE'
)


class Network(nn.Module):
    """The dilated residual network, and upsampling by 8."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalized images [B, H, W, 3] -> log-probabilities [B, 8 ceil(H/8), 8 ceil(W/8), 19]."""
        for i, (features, size, strides) in enumerate(((16, 7, 1), (16, 3, 1), (32, 3, 2))):
            conv = convolution(features, (size, size), strides, size // 2, name=f'base.{i}.0')
            x = nn.relu(conv(x))
        for i, (width, count, strides, dilation) in enumerate(_STAGES, 3):
            # [B, H/4, W/4, 256], then [B, H/8, W/8, 512, 1024 and 2048]
            x = Stage(count, width, (1, strides), dilation, name=f'base.{i}')(x)
        for i, dilation in ((7, 2), (8, 1)):
            conv = convolution(512, (3, 3), padding=dilation, dilation=dilation, name=f'base.{i}.0')
            x = nn.relu(conv(x))
        x = convolution(NUM_CLASSES, (1, 1), name='seg')(x)
        return nn.log_softmax(_upsample(x))


def _upsample(x: jax.Array) -> jax.Array:
    """Linear interpolation by 8 that sees zeros outside: [B, H, W, C] -> [B, 8H, 8W, C].

    It is the published transposed convolution, whose kernel is separable and was not trained.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        positions = (np.arange(8 * size) + 0.5) / 8 - 0.5
        distances = np.abs(positions[:, None] - np.arange(size))
        weights = np.maximum(1 - distances, 0).astype(np.float32)
        x = jnp.moveaxis(jnp.tensordot(x, weights, (axis, 1), precision='highest'), -1, axis)
    return x


@jax.jit
def _log_probabilities(params: Any, x: jax.Array) -> jax.Array:
    log_probabilities: Any = Network().apply({'params': params}, x[None])
    return log_probabilities[0]


def classes_of(label_map: np.ndarray) -> np.ndarray:
    """The classes (trainIds) of label ids [H, W] of Cityscapes; `UNLABELED` where there is none."""
    lookup = np.full(256, UNLABELED, np.uint8)
    lookup[list(LABEL_IDS)] = np.arange(NUM_CLASSES)
    return lookup[np.clip(label_map.astype(np.int64), -1, 255)]  # -1 takes the last.


def prepare(image: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """The network's input [h, w, 3] of an image [H, W, 3] uint8."""
    if scale != 1.0:
        size = int(image.shape[1] * scale), int(image.shape[0] * scale)
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    mean, deviation = np.asarray(_MEAN, np.float32), np.asarray(_DEVIATION, np.float32)
    return (image / np.float32(255) - mean) / deviation


def _resize(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's bilinear resizing, with antialiasing: [h, w, C] -> [H, W, C]."""
    if scores.shape[:2] == size:
        return scores
    (height, width), filter_ = size, Image.Resampling.BILINEAR
    channels = map(Image.fromarray, np.moveaxis(scores, -1, 0))
    return np.stack([np.asarray(x.resize((width, height), filter_)) for x in channels], axis=-1)


class Drn:
    """Segments images with the published weights.

    Attributes:
      num_classes: 19; `classes_of` numbers label maps of Cityscapes so.
    """

    num_classes = NUM_CLASSES

    def __init__(self, weights: str):
        """Read the weights; raises UserError if they are missing or of another network."""
        entries_of = functools.partial(entries_by_name, classifier='seg')
        self._file, self._params = read_segmenter(Network(), weights, entries_of, _REMEDY)

    def protocol(self) -> dict[str, str]:
        """What decides the predictions."""
        return {'network': 'DRN-D-105'} | self._file.protocol()

    def scores(self, image: np.ndarray, *, multi_scale: bool) -> np.ndarray:
        """The log-probabilities of the classes, in float32.

        Args:
          image: [H, W, 3] uint8.
          multi_scale: Add those of five copies of the image, resized by `SCALES`.

        Returns:
          [H, W, 19]; of one scale [8 ceil(H/8), 8 ceil(W/8), 19].
        """
        if not multi_scale:
            return np.asarray(_log_probabilities(self._params, prepare(image)))
        height, width = image.shape[:2]
        inputs = (prepare(image, scale) for scale in (1.0, *SCALES))
        outputs = (np.asarray(_log_probabilities(self._params, x)) for x in inputs)
        total: Any = sum(_resize(scores, (height, width)) for scores in outputs)
        return total

    def predict(
        self, image: np.ndarray, size: tuple[int, int] | None = None, multi_scale: bool = False
    ) -> np.ndarray:
        """The classes [H, W] int32 of an image [H, W, 3] uint8; `multi_scale` as of `scores`.

        `size` is the (height, width) of the result; that of the image by default.
        """
        height, width = size or image.shape[:2]
        scores = _resize(self.scores(image, multi_scale=multi_scale), (height, width))
        return scores.argmax(axis=-1).astype(np.int32)
