"""How an image becomes the input of `Inception`: it decides the Frechet distance by percents."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZE = 299


class InputMode(NamedTuple):
    """A published way to prepare an image.

    Attributes:
      resize: uint8 [H, W, 3] -> float32 [299, 299, 3] in [0, 255].
      scale, shift: The input is resized * scale + shift, for each channel.
      imagenet: The network is that of torchvision, not the one of 2015.
    """

    resize: Callable[[np.ndarray], np.ndarray]
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    imagenet: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Prepare an image [H, W, 3] uint8; returns float32 [299, 299, 3]."""
        scale, shift = (np.asarray(x, np.float32) for x in (self.scale, self.shift))
        return self.resize(image) * scale + shift


def _bilinear(image: np.ndarray, *, half_pixel: bool) -> np.ndarray:
    """Bilinear without antialiasing; `half_pixel` False aligns the corners at the top left."""
    result = image.astype(np.float32)
    for axis in (0, 1):
        size = result.shape[axis]
        centers = np.arange(SIZE) + 0.5 * half_pixel
        position = np.maximum(centers * (size / SIZE) - 0.5 * half_pixel, 0)
        low = np.minimum(position.astype(int), size - 1)
        high, shape = np.minimum(low + 1, size - 1), [1, 1, 1]
        shape[axis] = SIZE
        weight = (position - low).astype(np.float32).reshape(shape)
        first, second = result.take(low, axis), result.take(high, axis)
        result = first + (second - first) * weight
    return result


def bicubic(image: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Pillow's bicubic resizing with antialiasing in float32, clipped to [0, 255]."""
    channels = [
        np.asarray(Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC))
        for channel in np.moveaxis(image.astype(np.float32), -1, 0)
    ]
    return np.clip(np.stack(channels, axis=-1), 0, 255)


# With the half-pixel centers of PyTorch, or as in TensorFlow 1, which shifts the image up and left.
bilinear = functools.partial(_bilinear, half_pixel=True)
tensorflow_bilinear = functools.partial(_bilinear, half_pixel=False)
_PER_255, _PER_128 = ((2 / 255,) * 3, (-1.0,) * 3), ((1 / 128,) * 3, (-1.0,) * 3)
# By the name of the implementation that defines it; the first is the usual one. The two of
# pytorch-fid before May 2019 are most likely those of the SPADE paper.
INPUT_MODES = {
    'pytorch_fid': InputMode(bilinear, *_PER_255),
    'clean': InputMode(bicubic, *_PER_128),
    'legacy_tensorflow': InputMode(tensorflow_bilinear, *_PER_128),
    'pytorch_fid_2019_02': InputMode(bilinear, *_PER_255, imagenet=True),
    'pytorch_fid_2018': InputMode(
        bilinear,
        scale=(0.458 / 255, 0.448 / 255, 0.450 / 255),
        shift=(-0.030, -0.088, -0.188),
        imagenet=True,
    ),
}
