"""Names and layouts of the published PyTorch checkpoints against the variables here.

The released files hold one state dictionary a network: generator (G), discriminator (D) and style encoder (E). This table translates names,
orders of axes (OIHW -> HWIO, channels first -> channels last), and nothing else.
"""

from __future__ import annotations

import math
import re
from typing import Mapping

import numpy as np
from flax import traverse_util

# (pattern of a module's name, name here), tried in order on the whole name.
GENERATOR_MODULES = (
    (r'fc', 'first'), (r'conv_img', 'to_rgb'), (r'head_0', 'head'), (r'G_middle_(\d)', r'middle_\1'), (r'up_(\d)', r'up_\1'),
)
BLOCK_MODULES = (
    (r'(norm_[01s])\.param_free_norm', r'\1/norm'), (r'(norm_[01s])\.mlp_shared\.0', r'\1/shared'), (r'(norm_[01s])\.mlp_(gamma|beta)', r'\1/\2'),
    (r'(conv_[01s])', r'\1'),
)
NORM_MODULES = ((r'param_free_norm', 'norm'), (r'mlp_shared\.0', 'shared'), (r'mlp_(gamma|beta)', r'\1'))
DISCRIMINATOR_MODULES = ((r'discriminator_(\d+)\.model(\d+)\.0(?:\.0)?', r'scale_\1/conv_\2'), (r'discriminator_(\d+)\.model(\d+)\.0\.1', r'scale_\1/norm_\2'))
ENCODER_MODULES = ((r'fc_mu', 'mean'), (r'fc_var', 'log_variance'))


def module_path(name: str, network: str) -> str:
    """'up_0.norm_s.mlp_gamma' -> 'up_0/norm_s/gamma'.

    Args:
      name: of a module in a published checkpoint, without the parameter.
      network: 'generator', 'discriminator', 'encoder', or a part of the generator on its own: 'block' or 'norm'.
    """
    if network == 'encoder' and (match := re.fullmatch(r'layer(\d)\.0', name)):
        return f'conv_{int(match[1]) - 1}'
    if network == 'generator' and '.' in name:
        block, rest = name.split('.', 1)
        return f'{_translate(block, GENERATOR_MODULES)}/{_translate(rest, BLOCK_MODULES)}'
    tables = {'generator': GENERATOR_MODULES, 'block': BLOCK_MODULES, 'norm': NORM_MODULES, 'discriminator': DISCRIMINATOR_MODULES, 'encoder': ENCODER_MODULES}
    return _translate(name, tables[network])


def to_variables(state: Mapping[str, np.ndarray], network: str, *, latent_size: tuple[int, int] | None = None) -> dict:
    """Flax variables of one network from its state dictionary (or from anything of the same names, such as gradients).

    Args:
      state: name -> array as PyTorch holds it; 'weight_orig' and 'weight' are both kernels.
      network: as for `module_path`.
      latent_size: height and width of the coarse grid of a generator with a style latent, whose first layer is dense; None for one without.

    Returns:
      {'params': ..., 'spectral': ..., 'batch_stats': ...}, only the collections that occur. Counts of batches have no place here.

    Raises:
      KeyError: a name that no published network has.
    """
    flat = {}
    for name, array in state.items():
        module, _, parameter = name.rpartition('.')
        if parameter == 'num_batches_tracked':
            continue
        collection, leaf = _LEAVES[parameter]
        path = module_path(module, network)
        if network == 'discriminator' and 'conv_' in path:
            path = _last_is_logits(path, state)
        if '/norm_' in f'/{path}' and network == 'discriminator' and parameter == 'weight':
            leaf = 'scale'
        array = _to_channels_last(np.asarray(array), parameter, path, network, state, module, latent_size)
        flat[(collection, *path.split('/'), *leaf.split('/'))] = array
    return traverse_util.unflatten_dict(flat)


_LEAVES = {
    'weight': ('params', 'kernel'), 'weight_orig': ('params', 'kernel'), 'bias': ('params', 'bias'),
    'weight_u': ('spectral', 'spectral_norm/u'), 'weight_v': ('spectral', 'spectral_norm/v'),
    'running_mean': ('batch_stats', 'mean'), 'running_var': ('batch_stats', 'var'),
}


def _translate(name, table):
    for pattern, replacement in table:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise KeyError(f'no network of the published models has a module named {name}')


def _last_is_logits(path, state):
    """The highest numbered layer of a discriminator is its prediction."""
    scale, layer = path.split('/')
    prefix = scale.replace('scale', 'discriminator') + '.model'
    highest = max(int(name[len(prefix):].split('.')[0]) for name in state if name.startswith(prefix))
    return f'{scale}/logits' if layer == f'conv_{highest}' else path


def _to_channels_last(array, parameter, path, network, state, module, latent_size):
    if parameter == 'weight_v':  # [I * K * K] -> [K * K * I]
        kernel_shape = np.shape(state[f'{module}.weight_orig']) if f'{module}.weight_orig' in state else None
        if kernel_shape is None:
            raise KeyError(f'{module}.weight_v has no {module}.weight_orig beside it to tell its layout')
        return array.reshape(kernel_shape[1:]).transpose(1, 2, 0).reshape(-1)
    if array.ndim == 4:  # OIHW -> HWIO
        return array.transpose(2, 3, 1, 0)
    if network == 'generator' and path == 'first' and latent_size is not None:
        return _dense_from_channels_first(array, latent_size)
    if network == 'encoder' and array.ndim == 2:
        return _dense_over_channels_first(array, state)
    return array.T


def _dense_from_channels_first(array, latent_size):
    """The rows of a dense layer whose output is a grid: [C * h * w, ...] -> [..., h * w * C]."""
    height, width = latent_size
    grid = array.reshape(-1, height, width, *array.shape[1:])
    return np.moveaxis(grid, 0, 2).reshape(-1, *array.shape[1:]).T


def _dense_over_channels_first(array, state):
    """The columns of a dense layer whose input is a square grid: [D, C * h * w] -> [h * w * C, D]."""
    channels = max((int(name[5:].split('.')[0]), np.shape(value)[0]) for name, value in state.items() if name.endswith('weight_orig'))[1]
    side = math.isqrt(array.shape[1] // channels)
    return array.reshape(array.shape[0], channels, side, side).transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
