"""What the networks of this folder share: convolutions, and weights from PyTorch's names.

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
_MAX_LISTED = 5


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
    groups: int = 1,
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
        feature_group_count=groups,
        use_bias=use_bias,
        precision=jax.lax.Precision.HIGHEST,
        name=name,
    )


def load_params(
    network: nn.Module,
    state: Mapping[str, np.ndarray],
    entries_of: Callable[[Path], Entries],
    *,
    source: str,
    epsilon: float = 1e-5,
) -> dict[str, Any]:
    """The parameters of a network from the state dictionary of its PyTorch form.

    Args:
      network: Takes images [B, H, W, 3].
      state: Arrays by PyTorch's names.
      entries_of: Path of a layer in the network -> its entries.
      source: What errors call the state dictionary: the file, and what it should be.
      epsilon: Of the batch normalizations.

    Raises:
      UserError: Entries are missing or have another shape.
    """
    image = jax.ShapeDtypeStruct((1, 299, 299, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)['params']
    layers: dict[Path, dict[str, Any]] = {}
    flat: Any = traverse_util.flatten_dict(shapes)
    for path, array in flat.items():
        layers.setdefault(path[:-1], {})[path[-1]] = array.shape
    loader = _Loader(state, epsilon)
    params = {path: loader.layer(entries_of(path), wanted) for path, wanted in layers.items()}
    if loader.faults:
        listed = '; '.join(loader.faults[:_MAX_LISTED])
        more = f' and {len(loader.faults) - _MAX_LISTED} more' * (len(loader.faults) > _MAX_LISTED)
        raise UserError(f'{source} does not fit: {listed}{more}', 'give the file of this network')
    return traverse_util.unflatten_dict(params)


class _Loader:
    """Reads layers and lists the entries that are missing or misshapen."""

    def __init__(self, state: Mapping[str, np.ndarray], epsilon: float):
        self.state, self.epsilon = state, epsilon
        self.faults: list[str] = []

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
        array = self.state.get(name)
        if array is None or array.shape != shape:
            found = 'missing' if array is None else f'{list(array.shape)} instead of {list(shape)}'
            self.faults.append(f'{name} is {found}')
            return np.ones(shape, np.float32)
        return np.asarray(array, np.float32)
