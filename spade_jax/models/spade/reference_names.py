"""Names and layouts of the published PyTorch checkpoints <-> the variables of this package.

The released files hold one state dictionary for each network. Names and orders of axes (OIHW <->
HWIO, channels first <-> channels last) are translated in both directions, and nothing else.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from spade_jax.errors import UserError
from spade_jax.models import torch_layout
from spade_jax.models.spade.options import LARGEST_ENCODER_DEPTH
from spade_jax.models.torch_layout import ModuleNames

# (name of a module there, name here); {} is the same number or letter in both. The first row that
# matches a whole name counts.
NORM_MODULES = (
    ('param_free_norm', 'norm'),
    ('mlp_shared.0', 'shared'),
    ('mlp_gamma', 'gamma'),
    ('mlp_beta', 'beta'),
)
NORMS_OF_BLOCK = tuple(
    (f'norm_{{}}.{theirs}', f'norm_{{}}/{ours}') for theirs, ours in NORM_MODULES
)
MODULES = {
    'generator': (
        ('fc', 'first'),
        ('conv_img', 'to_rgb'),
        ('head_0', 'head'),
        ('G_middle_{}', 'middle_{}'),
        ('up_{}', 'up_{}'),
    ),
    'block': (*NORMS_OF_BLOCK, ('conv_{}', 'conv_{}'), ('noise', 'noise')),  # Noise: ours alone.
    'norm': NORM_MODULES,
    # A hidden convolution that a normalization follows is one level deeper than one without.
    'discriminator': (
        ('discriminator_{}.model{}.0', 'scale_{}/conv_{}'),
        ('discriminator_{}.model{}.0.0', 'scale_{}/conv_{}'),
        ('discriminator_{}.model{}.0.1', 'scale_{}/norm_{}'),
    ),
    'encoder': (
        *((f'layer{i + 1}.0', f'conv_{i}') for i in range(LARGEST_ENCODER_DEPTH)),
        *((f'layer{i + 1}.1', f'norm_{i}') for i in range(LARGEST_ENCODER_DEPTH)),
        ('fc_mu', 'mean'),
        ('fc_var', 'log_variance'),
    ),
}


def module_path(name: str, network: str) -> str:
    """'up_0.norm_s.mlp_gamma' -> 'up_0/norm_s/gamma'.

    Args:
      name: Of a module in a published checkpoint, without the parameter.
      network: 'generator', 'discriminator', 'encoder', or a part of the generator: 'block', 'norm'.

    Raises:
      KeyError: No published network has such a module.
    """
    if network == 'generator' and '.' in name:
        block, rest = name.split('.', 1)
        return f'{module_path(block, network)}/{module_path(rest, "block")}'
    return _translate(name, MODULES[network])


def module_name(path: str, network: str) -> str:
    """'up_0/norm_s/gamma' -> 'up_0.norm_s.mlp_gamma': the inverse of `module_path`."""
    if network == 'generator' and '/' in path:
        block, rest = path.split('/', 1)
        return f'{module_name(block, network)}.{module_name(rest, "block")}'
    return _translate(path, [(ours, theirs) for theirs, ours in MODULES[network]])


def _translate(name: str, rows: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rows:
        if match := re.fullmatch(re.escape(pattern).replace(r'\{\}', '([a-z0-9]+)'), name):
            return replacement.format(*match.groups())
    raise KeyError(f'no network of the published models has a module named {name}')


def to_variables(
    state: Mapping[str, np.ndarray], network: str, *, grid_size: tuple[int, int] | None = None
) -> dict:
    """Flax variables of a network from its state dictionary, or from gradients of the same names.

    Args:
      state: Name -> array as PyTorch holds it; 'weight_orig' and 'weight' are both kernels.
      network: See `module_path`.
      grid_size: Height and width of a generator's coarsest grid; None without a style latent.

    Returns:
      {'params': ..., 'spectral': ..., 'batch_stats': ...}, the collections that occur.

    Raises:
      KeyError: A name that no published network has.
      UserError: The grid does not fit the rows of the first dense layer.
    """
    modules = {}
    for module in {name.rpartition('.')[0] for name in state}:
        path = module_path(module, network)
        path = _last_is_logits(path, state) if network == 'discriminator' else path
        modules[path] = module
    with_grids = {name: _channels_last(name, state, network, grid_size) for name in state}
    return torch_layout.to_variables(with_grids, ModuleNames(modules))


def _channels_last(
    name: str, state: Mapping[str, np.ndarray], network: str, grid_size: tuple[int, int] | None
) -> np.ndarray:
    """An entry; of a dense layer that makes or sees a grid, with the grid's channels last."""
    array = np.asarray(state[name])
    if network == 'generator' and name.startswith('fc.') and grid_size and array.ndim < 4:
        _check_grid(len(array), grid_size, state)
        return _move_channels(array, grid_size, 0, 2)
    if network == 'encoder' and array.ndim == 2:
        grid = _square(array.shape[1], _encoder_channels(state))
        return _move_channels(array.T, grid, 0, 2).T
    return array


def _last_is_logits(path: str, state: Mapping) -> str:
    """The path of a layer of a discriminator, whose layer of the highest number is the logits."""
    scale, layer = path.split('/')
    pattern = scale.replace('scale', 'discriminator') + r'\.model(\d+)'
    last = max(int(match[1]) for name in state if (match := re.match(pattern, name)))
    return f'{scale}/logits' if layer == f'conv_{last}' else path


def _check_grid(rows: int, grid: tuple[int, int], state: Mapping) -> None:
    """Raises UserError when the rows of the first dense layer are not channels * height * width."""
    head = state.get('head_0.conv_0.weight_orig', state.get('head_0.conv_0.weight'))
    cells = math.prod(grid)
    if rows % cells if head is None else rows != np.shape(head)[1] * cells:
        problem = f'the first dense layer has {rows} rows, which do not fit a grid of '
        problem += f'{grid[0]}x{grid[1]} (height x width)'
        raise UserError(problem, 'give the size and --upsampling that the model was trained with')


def _encoder_channels(state: Mapping) -> int:
    """Output channels of the last convolution of an encoder."""
    layers = [name for name in state if re.fullmatch(r'layer\d+\.0\.weight(_orig)?', name)]
    return np.shape(state[max(layers, key=lambda name: int(name[5:].split('.')[0]))])[0]


def to_state(
    variables: Mapping, network: str, *, grid_size: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """The state dictionary of a network from its Flax variables: the inverse of `to_variables`.

    The variables are those of a whole network; see `to_variables` for the other arguments.
    """
    params: Any = variables['params']
    leaves = traverse_util.flatten_dict(dict(variables), sep='/')
    parents = (name.partition('/')[2].rpartition('/')[0] for name in leaves)
    paths = {path.removesuffix('/spectral_norm') for path in parents}
    modules = {path: _whole_module_name(path, network, params) for path in paths}
    state = torch_layout.to_state(variables, ModuleNames(modules))
    for name, array in state.items():
        if network == 'generator' and name.startswith('fc.') and grid_size and array.ndim < 4:
            state[name] = _move_channels(array, grid_size, 2, 0)
        elif network == 'encoder' and array.ndim == 2:
            channels = np.shape(params[f'conv_{_num_convolutions(params) - 1}']['kernel'])[-1]
            grid = _square(array.shape[1], channels)
            state[name] = _move_channels(array.T, grid, 2, 0).T
    return state


def _whole_module_name(path: str, network: str, params: Mapping) -> str:
    """`module_name`; the names in a discriminator also depend on the neighboring layers."""
    if network != 'discriminator':
        return module_name(path, network)
    scale, layer = path.split('/')
    if layer == 'logits':
        return module_name(f'{scale}/conv_{_num_convolutions(params[scale])}', network)
    alone = layer == 'conv_0' or layer.startswith('norm_') or 'bias' in params[scale][layer]
    return module_name(path, network) + ('' if alone else '.0')


def _num_convolutions(params: Mapping) -> int:
    return sum(name.startswith('conv_') for name in params)


def _square(rows: int, channels: int) -> tuple[int, int]:
    """The square grid with so many rows in the dense layer that sees it."""
    side = math.isqrt(rows // channels)
    return side, side


def _move_channels(
    array: np.ndarray, grid: tuple[int, int], source: int, destination: int
) -> np.ndarray:
    """Reorder the rows [C * h * w, ...] or [h * w * C, ...] of a dense layer to or from a grid."""
    shape = list(grid)
    shape.insert(source, -1)
    rows = array.reshape(*shape, *array.shape[1:])
    return np.moveaxis(rows, source, destination).reshape(array.shape)
