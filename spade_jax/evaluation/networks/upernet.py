"""UPerNet with ResNet-101 (Xiao et al. 2018), which segments images into the classes of ADE20K."""

from __future__ import annotations

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from PIL import Image

from spade_jax.evaluation.weights import WeightsFile
from spade_jax.files.weight_files import read_state
from spade_jax.layers.resampling import resize_bilinear
from spade_jax.models.pretrained import Stage, convolution, entries_by_name, load_params

_URL = 'http://sceneparsing.csail.mit.edu/model/pytorch'
_FOLDERS = {False: 'ade20k-resnet101-upernet', True: 'baseline-resnet101-upernet'}
_BINS = 1, 2, 3, 6  # Of the pyramid pooling.
# Short sides of the input in pixels. The authors of the scripts do not say which single one.
_MULTI_SCALE, _SINGLE_SCALE = (300, 375, 450, 525, 600), (450,)
_LONGEST, _MULTIPLE = 1000, 32
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB of [0, 1].
_OLD_MEAN = (102.9801, 115.9465, 122.7717)  # BGR of [0, 255].


class Network(nn.Module):
    """ResNet-101 whose first convolution is split into three, and a pyramid of its features."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Prepared images [B, H, W, 3] -> logits [B, H/4, W/4, 150]."""
        *lower, last = _features(x)
        pooled = [last]
        for i, bins in enumerate(_BINS):
            y = resize_bilinear(_adaptive_average_pool(last, bins), *last.shape[1:3])
            pooled.append(_unit(y, 1, f'ppm_conv.{i}.0'))
        x = _unit(jnp.concatenate(pooled, axis=-1), 3, 'ppm_last_conv.0')  # [B, H/32, W/32, 512]
        outputs = [x]
        for i in reversed(range(len(lower))):
            lateral = _unit(lower[i], 1, f'fpn_in.{i}.0')
            x = lateral + resize_bilinear(x, *lateral.shape[1:3])
            outputs.insert(0, _unit(x, 3, f'fpn_out.{i}.0.0'))
        x = jnp.concatenate([resize_bilinear(y, *outputs[0].shape[1:3]) for y in outputs], axis=-1)
        x = _unit(x, 3, 'conv_last.0.0')  # [B, H/4, W/4, 512]
        return convolution(Upernet.num_classes, (1, 1), name='conv_last.1')(x)


def _features(x: jax.Array) -> list[jax.Array]:
    """256, 512, 1024 and 2048 features at 1/4, 1/8, 1/16 and 1/32 of the size."""
    for i, (features, strides) in enumerate(((64, 2), (64, 1), (128, 1)), 1):
        x = nn.relu(convolution(features, (3, 3), strides, 1, name=f'conv{i}')(x))
    padding: Any = [(1, 1), (1, 1)]
    x = nn.max_pool(x, (3, 3), (2, 2), padding)  # [B, H/4, W/4, 128]
    outputs = []
    for i, (width, count) in enumerate(((64, 3), (128, 4), (256, 23), (512, 3)), 1):
        x = Stage(count, width, strides=(1, 1 if i == 1 else 2), name=f'layer{i}')(x)
        outputs.append(x)
    return outputs


def _unit(x: jax.Array, size: int, name: str) -> jax.Array:
    return nn.relu(convolution(512, (size, size), padding=size // 2, name=name)(x))


def _adaptive_average_pool(x: jax.Array, bins: int) -> jax.Array:
    """Means of bins x bins cells, which overlap where the size is not a multiple of bins."""
    for axis in (1, 2):
        size = x.shape[axis]
        bounds = [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]
        cells = [jax.lax.slice_in_dim(x, *bound, axis=axis) for bound in bounds]
        x = jnp.concatenate([cell.mean(axis=axis, keepdims=True) for cell in cells], axis=axis)
    return x


def network_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The size of the input: multiples of 32, so the aspect ratio changes a little."""
    scale = min(short_side / min(height, width), _LONGEST / max(height, width))
    rows, columns = (-(-int(n * scale) // _MULTIPLE) * _MULTIPLE for n in (height, width))
    return rows, columns


def prepare(image: np.ndarray, short_side: int, *, old: bool) -> np.ndarray:
    """The input [h, w, 3] of an image [H, W, 3] uint8; `old` as in `Upernet`."""
    rows, columns = network_size(image.shape[0], image.shape[1], short_side)
    resized = Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized, np.float32)
    if old:
        return pixels[..., ::-1] - np.asarray(_OLD_MEAN, np.float32)
    return (pixels / 255 - np.asarray(_MEAN, np.float32)) / np.asarray(_DEVIATION, np.float32)


def looks_old(state: dict[str, np.ndarray]) -> bool:
    """Whether the first convolution expects inputs of [0, 255], not of deviation 1.

    The latter enlarge its deviation by at most sqrt(27), the former by some 58 times as much.
    """
    variance, weight = state['bn1.running_var'].sum(), state['conv1.weight']
    return bool(variance > 100 * np.square(weight).sum())


@jax.jit
def network_logits(params: Any, x: jax.Array) -> jax.Array:
    """The logits [1, h/4, w/4, 150] of an input [h, w, 3]."""
    logits: Any = Network().apply({'params': params}, x[None])
    return logits


@functools.partial(jax.jit, static_argnums=1)
def _probabilities(logits: jax.Array, size: tuple[int, int]) -> jax.Array:
    return jax.nn.softmax(resize_bilinear(logits, *size)[0], axis=-1)


class Upernet:
    """Segments images with the published weights.

    Attributes:
      num_classes: 150; class i has the id i + 1 in the label maps of ADE20K.
    """

    num_classes = 150

    def __init__(self, encoder: str, decoder: str, *, old: bool = False):
        """Read the weights.

        Args:
          encoder: The file encoder_epoch_50.pth.
          decoder: The file decoder_epoch_50.pth.
          old: The files are of before August 2019 (baseline-resnet101-upernet), for inputs in BGR
            of [0, 255] less a mean; the later ones are for normalized RGB.

        Raises:
          UserError: A file cannot be read, or is of another network.
        """
        self._old = old
        remedy = (
            f'download encoder_epoch_50.pth and decoder_epoch_50.pth of {_URL}/{_FOLDERS[old]}, '
            'which miou of ADE20K needs, and pass --segmentation_weights=ENCODER,DECODER'
        )
        self._encoder, self._decoder = (
            WeightsFile('segmentation_weights', path, remedy) for path in (encoder, decoder)
        )
        state = read_state(self._encoder.path) | read_state(self._decoder.path)
        source = f'{encoder} with {decoder}'
        entries_of = functools.partial(entries_by_name, classifier='conv_last.1')
        params = load_params(Network(), state, entries_of, source=source, remedy=remedy)
        self._params = jax.device_put(params)
        if looks_old(state) != old:
            other = f'{encoder} is used as {_FOLDERS[old]}, but looks like {_FOLDERS[not old]}'
            print(f'warning: {other}', file=sys.stderr)

    def protocol(self) -> dict[str, str]:
        """What decides the predictions."""
        protocol = {'network': 'UPerNet101', 'weights_used_as': _FOLDERS[self._old]}
        protocol['short_sides'] = '450 of one scale (assumed), 300 to 600 of several'
        for part, file in (('encoder', self._encoder), ('decoder', self._decoder)):
            protocol |= {f'{part}_{key}': value for key, value in file.protocol().items()}
        return protocol

    def scores(
        self, image: np.ndarray, *, multi_scale: bool = False, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """The probabilities [H, W, 150] float32, averaged over the scales.

        Args:
          image: [H, W, 3] uint8.
          multi_scale: Take the five scales of the published scripts, not one.
          size: H, W of the result; that of the image by default.
        """
        sides = _MULTI_SCALE if multi_scale else _SINGLE_SCALE
        size = size or (image.shape[0], image.shape[1])
        total = np.zeros((*size, self.num_classes), np.float32)
        for side in sides:
            logits = network_logits(self._params, prepare(image, side, old=self._old))
            total += np.asarray(_probabilities(logits, size))
        return total / len(sides)

    def predict(
        self, image: np.ndarray, size: tuple[int, int] | None = None, multi_scale: bool = False
    ) -> np.ndarray:
        """The classes [H, W] int32 of an image [H, W, 3] uint8; arguments as of `scores`."""
        scores = self.scores(image, multi_scale=multi_scale, size=size)
        return scores.argmax(axis=-1).astype(np.int32)
