"""Names and layouts of the published PyTorch checkpoints against the variables here.

The released files hold one state dictionary a network: generator (G), discriminator (D) and style encoder (E). This table translates names and
orders of axes (OIHW <-> HWIO, channels first <-> channels last) in both directions, and nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

# (a module's name there, its name here); {} stands for the same number or letter in both. The first row that fits a whole name counts.
GENERATOR_MODULES = (
    ('fc', 'first'),
    ('conv_img', 'to_rgb'),
    ('head_0', 'head'),
    ('G_middle_{}', 'middle_{}'),
    ('up_{}', 'up_{}'),
)
NORM_MODULES = (
    ('param_free_norm', 'norm'),
    ('mlp_shared.0', 'shared'),
    ('mlp_gamma', 'gamma'),
    ('mlp_beta', 'beta'),
)
BLOCK_MODULES = tuple(
    (f'norm_{{}}.{theirs}', f'norm_{{}}/{ours}') for theirs, ours in NORM_MODULES
) + (('conv_{}', 'conv_{}'),)
# A hidden convolution that a normalisation follows stands one level deeper than one that stands alone.
DISCRIMINATOR_MODULES = (
    ('discriminator_{}.model{}.0', 'scale_{}/conv_{}'),
    ('discriminator_{}.model{}.0.0', 'scale_{}/conv_{}'),
    ('discriminator_{}.model{}.0.1', 'scale_{}/norm_{}'),
)
ENCODER_MODULES = tuple((f'layer{i + 1}.0', f'conv_{i}') for i in range(9)) + (
    ('fc_mu', 'mean'),
    ('fc_var', 'log_variance'),
)
MODULES = {
    'generator': GENERATOR_MODULES,
    'block': BLOCK_MODULES,
    'norm': NORM_MODULES,
    'discriminator': DISCRIMINATOR_MODULES,
    'encoder': ENCODER_MODULES,
}

# (a parameter's name there, collection and name here). A spectrally normalised kernel is called weight_orig there.
PARAMETERS = (
    ('weight', ('params', 'kernel')),
    ('weight_orig', ('params', 'kernel')),
    ('weight', ('params', 'scale')),
    ('bias', ('params', 'bias')),
    ('weight_u', ('spectral', 'spectral_norm/u')),
    ('weight_v', ('spectral', 'spectral_norm/v')),
    ('running_mean', ('batch_stats', 'mean')),
    ('running_var', ('batch_stats', 'var')),
)
BATCH_COUNT = 'num_batches_tracked'  # beside running statistics there; has no place here and no bearing on any picture


def module_path(name: str, network: str) -> str:
    """'up_0.norm_s.mlp_gamma' -> 'up_0/norm_s/gamma'.

    Args:
      name: of a module in a published checkpoint, without the parameter.
      network: 'generator', 'discriminator', 'encoder', or a part of the generator on its own: 'block' or 'norm'.

    Raises:
      KeyError: no published network has such a module.
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


def to_variables(
    state: Mapping[str, np.ndarray], network: str, *, latent_size: tuple[int, int] | None = None
) -> dict:
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
    collections = dict(reversed(PARAMETERS))  # of the two meanings of 'weight', the kernel
    flat = {}
    for name, array in state.items():
        module, _, parameter = name.rpartition('.')
        if parameter == BATCH_COUNT:
            continue
        collection, leaf = collections[parameter]
        path = module_path(module, network)
        if network == 'discriminator' and '/conv_' in path:
            path = _last_is_logits(path, state)
        if network == 'discriminator' and '/norm_' in path and parameter == 'weight':
            leaf = 'scale'
        array = np.asarray(array)
        if parameter == 'weight_v':
            if f'{module}.weight_orig' not in state:
                raise KeyError(
                    f'{module}.weight_v has no {module}.weight_orig beside it to tell its layout'
                )
            array = _right_vector(array, np.shape(state[f'{module}.weight_orig']))
        elif array.ndim == 4:  # OIHW -> HWIO
            array = array.transpose(2, 3, 1, 0)
        elif network == 'generator' and path == 'first' and latent_size is not None:
            array = _grid_to_channels_last(array, latent_size).T
        elif network == 'encoder' and array.ndim == 2:
            array = _grid_to_channels_last(array.T, _encoder_grid(array, _last_channels(state)))
        else:
            array = array.T
        flat[(collection, *path.split('/'), *leaf.split('/'))] = array
    return traverse_util.unflatten_dict(flat)


def to_state(
    variables: Mapping, network: str, *, latent_size: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """The state dictionary of one network from its Flax variables: the inverse of `to_variables`, without counts of batches.

    Args:
      variables: of a whole network.
      network, latent_size: as for `to_variables`.
    """
    names = dict((meaning, name) for name, meaning in reversed(PARAMETERS))
    params = traverse_util.flatten_dict(variables['params'], sep='/')
    state = {}
    for (collection, *path), array in traverse_util.flatten_dict(variables).items():
        array, leaf = np.asarray(array), path.pop()
        if collection == 'spectral':
            leaf = f'{path.pop()}/{leaf}'
        path, parameter = '/'.join(path), names[collection, leaf]
        kernel = np.shape(params.get(f'{path}/kernel', ()))
        if parameter == 'weight' and leaf == 'kernel' and _at(variables.get('spectral', {}), path):
            parameter = 'weight_orig'
        if parameter == 'weight_v':
            array = (
                array.reshape(kernel[:3]).transpose(2, 0, 1).reshape(-1)
            )  # [K * K * I] -> [I * K * K]
        elif array.ndim == 4:  # HWIO -> OIHW
            array = array.transpose(3, 2, 0, 1)
        elif network == 'generator' and path == 'first' and latent_size is not None:
            array = _grid_to_channels_first(array.T, latent_size)
        elif network == 'encoder' and array.ndim == 2:
            channels = np.shape(
                params[
                    f'conv_{sum(name.startswith("conv_") for name in variables["params"]) - 1}/kernel'
                ]
            )[-1]
            array = _grid_to_channels_first(array, _encoder_grid(array.T, channels)).T
        state[f'{_whole_module_name(path, network, variables["params"])}.{parameter}'] = array
    return state


def _translate(name, rows):
    for pattern, replacement in rows:
        if match := re.fullmatch(re.escape(pattern).replace(r'\{\}', '([a-z0-9]+)'), name):
            return replacement.format(*match.groups())
    raise KeyError(f'no network of the published models has a module named {name}')


def _whole_module_name(path, network, params):
    """`module_name`, with what in a discriminator depends on the layers around."""
    if network != 'discriminator':
        return module_name(path, network)
    scale, layer = path.split('/')
    if layer == 'logits':
        return module_name(
            f'{scale}/conv_{sum(name.startswith("conv_") for name in params[scale])}', network
        )
    alone = layer == 'conv_0' or layer.startswith('norm_') or 'bias' in params[scale][layer]
    return module_name(path, network) + ('' if alone else '.0')


def _last_is_logits(path, state):
    """The highest numbered layer of a discriminator is its prediction."""
    scale, layer = path.split('/')
    prefix = scale.replace('scale', 'discriminator') + '.model'
    highest = max(
        int(name[len(prefix) :].split('.')[0]) for name in state if name.startswith(prefix)
    )
    return f'{scale}/logits' if layer == f'conv_{highest}' else path


def _at(tree, path):
    for name in path.split('/'):
        tree = tree.get(name, {})
    return tree


def _right_vector(array, kernel_shape):
    """[I * K * K] -> [K * K * I], for a kernel of the shape OIKK."""
    return array.reshape(kernel_shape[1:]).transpose(1, 2, 0).reshape(-1)


def _last_channels(state):
    """Output channels of the last convolution of an encoder."""
    return max(
        (int(name[len('layer') :].split('.')[0]), np.shape(value)[0])
        for name, value in state.items()
        if name.endswith('weight_orig')
    )[1]


def _encoder_grid(head, channels):
    """Height and width of the square grid that a dense head [D, C * h * w] of the encoder looks at."""
    side = math.isqrt(head.shape[1] // channels)
    return side, side


def _grid_to_channels_last(array, grid):
    """The rows of a dense layer to or from a grid: [C * h * w, ...] -> [h * w * C, ...]."""
    return np.moveaxis(array.reshape(-1, *grid, *array.shape[1:]), 0, 2).reshape(array.shape)


def _grid_to_channels_first(array, grid):
    """[h * w * C, ...] -> [C * h * w, ...]."""
    return np.moveaxis(array.reshape(*grid, -1, *array.shape[1:]), 2, 0).reshape(array.shape)
