"""The published PyTorch checkpoints of pix2pix: their configuration, and their weights.

Names and shapes of the entries tell the architecture. They do not tell whether a U-Net was trained
with dropout, and not the size of the images, of which the networks are independent: these have the
published values unless flags set them. Released files have the generator alone.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from spade_jax.config import catalog
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models import torch_layout
from spade_jax.models.model import Variables
from spade_jax.models.pix2pix.options import PATCHES, Pix2PixOptions
from spade_jax.models.pix2pix.reference_names import (
    PIXEL_NAMES,
    patch_names,
    unet_level,
    unet_names,
)
from spade_jax.models.published_files import (
    LETTERS,
    Options,
    State,
    check_flags,
    contradictions,
    entry_shape,
    is_this_the_file,
)
from spade_jax.models.torch_layout import ModuleNames, residual_generator_names

# Network -> letter of its file `<epoch>_net_<letter>`; those that a checkpoint must have.
FILES = {name: LETTERS[name] for name in ('generator', 'discriminator')}
REQUIRED = ('generator',)

_BLOCK = 'model.10.conv_block'  # The first one after two halvings.
_SIZES = dict(crop_size=256, load_size=286)


def recognizes(generator: State) -> bool:
    """True if this is the state dictionary of a generator of pix2pix (or of CycleGAN)."""
    blocks = [int(match[1]) for name in generator if (match := _block_match(name))]
    return 'model.model.0.weight' in generator or min(blocks, default=0) == 10


def infer_config(states: Mapping[str, State], described: Options, given: Options) -> Config:
    """The configuration of a published checkpoint; for the arguments see `spade.published`.

    Raises:
      UserError: The files are no pix2pix networks, or flags contradict them.
    """
    generator = states['generator']
    found = _generator_options(generator) | _discriminator_options(states.get('discriminator'))
    check_flags(contradictions(found, given))
    channels = np.shape(generator[_first(generator)])[1]
    options: dict[str, Any] = {'model': 'pix2pix', **_SIZES, **found, **described}
    if not {'dataset', 'num_classes', 'condition'} & set(described):
        options |= {'dataset': 'pairs', **catalog.defaults_of('pairs', '')}
    smallest = 2 ** options.get('pix2pix_depth', 2)
    if 'crop_size' not in described:
        options['crop_size'] = max(options['crop_size'], smallest)
    options['load_size'] = max(options['load_size'], options['crop_size'])
    config = Config.create(**options)
    if config.data.layout_channels != channels:
        problem = f'the generator takes a condition of {channels} channels, but '
        problem += f'condition={config.data.condition} has {config.data.layout_channels}'
        remedy = 'set --condition=rgb for 3, else --num_classes, --[no]dontcare and --condition'
        raise UserError(problem, f'{remedy} to make {channels}')
    return config


def to_reference(variables: Variables, network: str, config: Config) -> dict[str, np.ndarray]:
    """The state dictionary of a network of the reference implementation."""
    return torch_layout.to_state(variables, names_of(network, config))


def from_reference(state: Mapping[str, np.ndarray], network: str, config: Config) -> Variables:
    """The inverse of `to_reference`."""
    return torch_layout.to_variables(state, names_of(network, config))


def names_of(network: str, config: Config) -> ModuleNames:
    """The modules of a network."""
    options = config.model
    assert isinstance(options, Pix2PixOptions)
    if network == 'discriminator':
        halvings = PATCHES[options.pix2pix_patch]
        return patch_names(halvings) if halvings else PIXEL_NAMES
    if options.pix2pix_generator == 'unet':
        return unet_names(options.pix2pix_depth)
    # A dropout in its blocks shifts the numbers of the layers.
    return residual_generator_names(2, options.pix2pix_blocks, dropout=options.pix2pix_dropout)


def unsupported_by_reference(config: Config) -> list[str]:
    """Options, as flags, whose values the reference implementation cannot build networks of."""
    options = config.model
    assert isinstance(options, Pix2PixOptions)
    number, offered = ('pix2pix_depth', (7, 8))
    if options.pix2pix_generator == 'resnet':
        number, offered = ('pix2pix_blocks', (6, 9))
    value = getattr(options, number)
    return [] if value in offered else [f'--{number}={value}']


def _generator_options(state: State) -> dict[str, Any]:
    first = _first(state)
    options: dict[str, Any] = {
        'generator_width': entry_shape('pix2pix', 'generator', state, first)[0]
    }
    if first == 'model.model.0.weight':
        depth = 1
        while f'{unet_level(depth + 1)}.model.1.weight' in state:
            depth += 1
        norm = _norm_of(state, first, 'model.model.1.model.2.weight')
        return options | dict(pix2pix_generator='unet', pix2pix_depth=depth, pix2pix_norm=norm)
    second = np.shape(state.get(f'{_BLOCK}.5.weight', ()))
    return options | dict(
        pix2pix_generator='resnet',
        pix2pix_blocks=len({match[1] for name in state if (match := _block_match(name))}),
        pix2pix_norm=_norm_of(state, first, 'model.2.weight'),
        pix2pix_dropout=len(second) != 4,  # Element 5 of a block without dropout.
    )


def _discriminator_options(state: State | None) -> dict[str, Any]:
    if state is None:
        return {}
    first = 'net.0.weight' if 'net.0.weight' in state else 'model.0.weight'
    if first not in state:
        raise _foreign('discriminator', state)
    width = entry_shape('pix2pix', 'discriminator', state, first)[0]
    options: dict[str, Any] = {'discriminator_width': width}
    if first == 'net.0.weight':
        return options | {'pix2pix_patch': '1'}
    kernels = sum(name.endswith('.weight') and np.ndim(state[name]) == 4 for name in state)
    for patch, halvings in PATCHES.items():
        if halvings and kernels == halvings + 2:
            return options | {'pix2pix_patch': patch}
    raise _foreign('discriminator', state)


def _first(generator: State) -> str:
    """The kernel of the first convolution."""
    for name in ('model.model.0.weight', 'model.1.weight'):
        if name in generator and recognizes(generator):
            return name
    raise _foreign('generator', generator)


def _norm_of(state: State, first: str, scale: str) -> str:
    """The kind of normalization, from the first convolution and a scale that only a batch has."""
    if np.ndim(state.get(scale, 0.0)) == 1:
        return 'sync_batch'
    return 'instance' if first.replace('weight', 'bias') in state else 'none'


def _block_match(name: str) -> re.Match | None:
    return re.match(r'model\.(\d{1,3})\.conv_block\.', name)


def _foreign(network: str, state: State) -> UserError:
    known = ', '.join(list(state)[:3]) or 'nothing'
    problem = f'{network}: its entries ({known}, ...) are not those of pix2pix'
    return UserError(problem, is_this_the_file('pix2pix', network))
