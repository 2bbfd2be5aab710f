"""What networks with published weights share: layers, and weights from PyTorch's names.

Batch normalization has fixed statistics, so it is folded into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from flax import traverse_util

from spade_jax.errors import UserError

Path = tuple[str, ...]
Padding = int | tuple[int, int] | str  # On each side; 'SAME' is that of TensorFlow.
# Entries that only one network has.
_TELLTALES = {
    'Mixed_7c.branch_pool.conv.weight': 'Inception v3',
    'base.0.0.weight': 'DRN',
    'base.layer1.conv1.conv.weight': 'DeepLab v2',
    'ppm_conv.0.0.weight': 'the decoder of UPerNet',
    'layer4.2.bn3.weight': 'a ResNet, such as the encoder of UPerNet',
    '_conv_stem.weight': 'EfficientNet-Lite0',
    'classifier.6.weight': 'AlexNet or VGG',
    'conv_img.weight': 'a generator of SPADE',
}
_MAX_LISTED = 5
_OTHERS = 'others'  # Blocks '1', '2', ... of a `Stage`.


class Entries(NamedTuple):
    """The entries of a state dictionary that hold one convolution or dense layer.

    Attributes:
      layer: Prefix of `weight` and, without normalization, of `bias` if the layer has one.
      norm: Prefix of the entries of the batch normalization after it; None if there is none.
    """

    layer: str
    norm: str | None = None


def convolution(
    features: int,
    kernel_size: tuple[int, int],
    strides: int = 1,
    padding: Padding = 0,
    *,
    dilation: int = 1,
    use_bias: bool = True,
    name: str | None = None,
) -> nn.Conv:
    """A convolution in full float32, which GPUs and TPUs would shorten."""
    if isinstance(padding, int):
        padding = padding, padding
    return nn.Conv(
        features,
        kernel_size,
        strides,
        padding=padding if isinstance(padding, str) else [(side, side) for side in padding],
        kernel_dilation=dilation,
        use_bias=use_bias,
        precision=jax.lax.Precision.HIGHEST,
        name=name,
    )


class Bottleneck(nn.Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions (He et al. 2016).

    Its shortcut is a convolution where the number of channels changes.

    Attributes:
      width: Channels of the first two; the output has four times as many.
      strides: Of the first two.
      dilation: Of the 3x3 convolution.
    """

    width: int
    strides: tuple[int, int] = (1, 1)
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / strides, W / strides, 4 * width]."""
        features, (first, second), dilation = 4 * self.width, self.strides, self.dilation
        y = nn.relu(convolution(self.width, (1, 1), first, name='conv1')(x))
        conv2 = convolution(
            self.width, (3, 3), second, padding=dilation, dilation=dilation, name='conv2'
        )
        y = convolution(features, (1, 1), name='conv3')(nn.relu(conv2(y)))
        if x.shape[-1] != features:
            x = convolution(features, (1, 1), first * second, name='downsample.0')(x)
        return nn.relu(x + y)


class Stage(nn.Module):
    """Bottlenecks '0', '1', ..., of which only the first changes size and channels.

    The others are a loop over stacked parameters, so that one of them is compiled.

    Attributes:
      count: Number of blocks, at least 2.
      width, strides, dilation: See `Bottleneck`; the strides are those of the first.
    """

    count: int
    width: int
    strides: tuple[int, int] = (1, 1)
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, C] -> [B, H / strides, W / strides, 4 * width]."""
        x = Bottleneck(self.width, self.strides, self.dilation, name='0')(x)
        others = Bottleneck(self.width, dilation=self.dilation, name=_OTHERS)
        repeat = nn.scan(
            lambda block, x, _: (block(x), None),
            variable_axes={'params': 0},
            split_rngs={'params': True},
            length=self.count - 1,
        )
        return repeat(others, x, None)[0]


def entries_by_name(path: Path, classifier: str) -> Entries:
    """x.0 has the normalization x.1, conv1 has bn1, and the layer `classifier` has none."""
    name = '.'.join(path)
    if name == classifier:
        return Entries(name)
    return Entries(name, f'{name[:-1]}1' if name.endswith('.0') else name.replace('conv', 'bn'))


def load_params(
    network: nn.Module,
    state: Mapping[str, np.ndarray],
    entries_of: Callable[[Path], Entries],
    *,
    source: str,
    epsilon: float = 1e-5,
    remedy: str = 'give the file of this network',
) -> dict[str, Any]:
    """The parameters of a network from the state dictionary of its PyTorch form.

    Args:
      network: Takes images [B, H, W, 3].
      state: Arrays by PyTorch's names.
      entries_of: Path of a layer in the network -> its entries. In a `Stage`, the path has the
        number of the block.
      source: What errors call the state dictionary: the file, and what it should be.
      epsilon: Of the batch normalizations.
      remedy: Of the error.

    Raises:
      UserError: Entries are missing, have another shape, or are not finite.
    """
    image = jax.ShapeDtypeStruct((1, 299, 299, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)['params']
    layers: dict[Path, dict[str, Any]] = {}
    flat: Any = traverse_util.flatten_dict(shapes)
    for path, array in flat.items():
        layers.setdefault(path[:-1], {})[path[-1]] = array.shape
    loader = _Loader(state, entries_of, epsilon)
    params = {path: loader.layers(path, wanted) for path, wanted in layers.items()}
    if loader.faults:
        listed = '; '.join(loader.faults[:_MAX_LISTED])
        more = f' and {len(loader.faults) - _MAX_LISTED} more' * (len(loader.faults) > _MAX_LISTED)
        other = {*_TELLTALES} & state.keys() - loader.requested
        found = [_TELLTALES[entry] for entry in other]
        looks = f' (it looks like {found[0]})' if found else ''
        raise UserError(f'{source} does not fit{looks}: {listed}{more}', remedy)
    return traverse_util.unflatten_dict(params)


class _Loader:
    """Reads layers and lists the entries that are missing or misshapen."""

    def __init__(
        self, state: Mapping[str, np.ndarray], entries_of: Callable[[Path], Entries], epsilon: float
    ):
        self.state, self.entries_of, self.epsilon = state, entries_of, epsilon
        self.faults: list[str] = []
        self.requested: set[str] = set()

    def layers(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """The parameters of a layer, stacked if it stands for that of several blocks."""
        if _OTHERS not in path:
            return self.layer(self.entries_of(path), shapes)
        numbers = range(1, 1 + shapes['kernel'][0])
        paths = (tuple(str(i) if part == _OTHERS else part for part in path) for i in numbers)
        single = {name: shape[1:] for name, shape in shapes.items()}
        layers = [self.layer(self.entries_of(path), single) for path in paths]
        return {name: np.stack([layer[name] for layer in layers]) for name in single}

    def layer(self, entries: Entries, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
        """Kernel [kh, kw, in, out] (dense: [in, out]) and bias [out]."""
        *kernel_size, inputs, outputs = shapes['kernel']
        weight = self.entry(f'{entries.layer}.weight', (outputs, inputs, *kernel_size))
        kernel = np.moveaxis(weight, (0, 1), (-1, -2))
        if entries.norm is None:
            if 'bias' not in shapes:
                return {'kernel': kernel}
            return {'kernel': kernel, 'bias': self.entry(f'{entries.layer}.bias', (outputs,))}
        scale, shift, mean, variance = (
            self.entry(f'{entries.norm}.{name}', (outputs,)).astype(np.float64)
            for name in ('weight', 'bias', 'running_mean', 'running_var')
        )
        factor = scale / np.sqrt(variance + self.epsilon)
        bias = shift - mean * factor
        return {'kernel': (kernel * factor).astype(np.float32), 'bias': bias.astype(np.float32)}

    def entry(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        self.requested.add(name)
        array = self.state.get(name)
        if array is None or array.shape != shape:
            found = 'missing' if array is None else f'{list(array.shape)} instead of {list(shape)}'
            self.faults.append(f'{name} is {found}')
            return np.ones(shape, np.float32)
        if not np.isfinite(array).all():
            self.faults.append(f'{name} is not finite')
        return np.asarray(array, np.float32)
