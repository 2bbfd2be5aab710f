"""The published PyTorch checkpoints of pix2pixHD: their configuration, and their weights.

Names and shapes of the entries tell the architecture. No entry tells how the channels of the layout
divide into classes and instance edges, whether features are means over instances or classes, and
the size of the images. These are asked for by name, or known from the data set.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from spade_jax.config.config import Config
from spade_jax.config.model_options import BATCH_NORMS
from spade_jax.errors import UserError
from spade_jax.models import torch_layout
from spade_jax.models.model import Variables
from spade_jax.models.pix2pixhd.options import Pix2PixHDOptions
from spade_jax.models.pix2pixhd.reference_names import (
    discriminator_names,
    encoder_names,
    generator_names,
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
from spade_jax.models.torch_layout import ModuleNames

# Network -> letter of its file `<epoch>_net_<letter>`; those that a checkpoint must have.
FILES = LETTERS
REQUIRED = ('generator',)

_shape = functools.partial(entry_shape, 'pix2pixHD')


def recognizes(generator: State) -> bool:
    """True if this is the state dictionary of a generator of pix2pixHD.

    With 2 halvings it has the names of a generator of pix2pix, which takes an RGB image.
    """
    if not {'model.1.weight', 'model.1.bias'} <= set(generator):
        return False
    inputs, has_enhancers = (
        np.shape(generator['model.1.weight'])[1],
        'model1_1.1.weight' in generator,
    )
    return has_enhancers or inputs != 3 or _num_downsamplings(generator) != 2


def infer_config(states: Mapping[str, State], described: Options, given: Options) -> Config:
    """The configuration of a published checkpoint; for the arguments see `spade.published`.

    Raises:
      UserError: The files are no pix2pixHD networks or do not belong together; flags contradict
        them, or options that they do not tell are missing (all of these are listed).
    """
    generator, discriminator = states['generator'], states.get('discriminator')
    found = _generator_options(generator) | _discriminator_options(discriminator)
    channels = _shape('generator', generator, 'model.1.weight')[1]
    found |= _feature_options(states, channels)
    features = found['feature_dim'] if found['instance_features'] else 0
    check_flags(contradictions(found, given))
    options: dict[str, Any] = {'model': 'pix2pixhd', 'dataset': 'folders', **described, **found}
    options |= {name: given[name] for name in found if name in given}
    if given.get('dataset') == 'cityscapes' and 'crop_size' not in given:
        options['crop_size'] = 1024 * 2 ** found['num_enhancers']
        options['load_size'] = max(options.get('load_size', 0), options['crop_size'])
    if missing := '; nor '.join(_missing(channels - features, options)):
        raise UserError(f'the files do not tell {missing}', 'set these flags')
    options.setdefault('load_size', max(286, options['crop_size']))
    if features and options.get('condition') != 'labels+edges':
        options.setdefault('feature_regions', 'labels')
    config = Config.create(**options)
    if (total := config.data.layout_channels) != channels - features:
        problem = f'the generator takes a layout of {channels - features} channels, but '
        problem += f'condition={config.data.condition} with the given classes makes {total}'
        raise UserError(problem, 'set --num_classes, --[no]dontcare and --condition')
    return config


def to_reference(variables: Variables, network: str, config: Config) -> dict[str, np.ndarray]:
    """The state dictionary of a network of the reference implementation."""
    return torch_layout.to_state(variables, _module_names(network, config))


def from_reference(state: Mapping[str, np.ndarray], network: str, config: Config) -> Variables:
    """The inverse of `to_reference`."""
    return torch_layout.to_variables(state, _module_names(network, config))


def _module_names(network: str, config: Config) -> ModuleNames:
    """The modules of 'generator', 'discriminator' or 'encoder'."""
    options = config.model
    assert isinstance(options, Pix2PixHDOptions)
    if network == 'discriminator':
        has_features = config.losses.feature_matching_weight > 0
        scales, depth = options.num_discriminators, options.discriminator_depth
        return discriminator_names(scales, depth, features=has_features)
    if network == 'encoder':
        return encoder_names(options.encoder_downsamplings)
    return generator_names(
        options.generator_downsamplings,
        options.generator_blocks,
        options.num_enhancers,
        options.enhancer_blocks,
    )


def unsupported_by_reference(config: Config) -> list[str]:
    """Options, as flags, whose values the reference implementation cannot build networks of."""
    options, flags = config.model, []
    assert isinstance(options, Pix2PixHDOptions)
    norms = {name: getattr(options, name) for name in ('generator_norm', 'discriminator_norm')}
    if options.instance_features:
        norms['encoder_norm'] = options.encoder_norm
    kinds = {'batch' if norm in BATCH_NORMS else norm for norm in norms.values()}
    if len(kinds) > 1 or 'none' in kinds:  # It has one norm for all networks.
        flags += [f'--{name}={value}' for name, value in norms.items()]
    return flags


def _generator_options(state: State) -> dict[str, Any]:
    matches = [re.match(r'model(\d)_[12]\.', name) for name in state]
    enhancers = max((int(match[1]) for match in matches if match), default=0)
    shape = _shape('generator', state, 'model.1.weight')
    if shape[0] % 2**enhancers:
        problem = f'generator: model.1.weight has {shape[0]} outputs, with {enhancers} enhancers'
        raise UserError(problem, is_this_the_file('pix2pixHD', 'generator'))
    options = dict(
        num_enhancers=enhancers,
        generator_width=shape[0] // 2**enhancers,
        generator_downsamplings=_num_downsamplings(state),
        generator_blocks=_count(r'model\.(\d+)\.conv_block\.1\.weight', state),
        generator_norm=_norm(state),
    )
    blocks = _count(r'model1_2\.(\d+)\.conv_block\.1\.weight', state)
    return options | (dict(enhancer_blocks=blocks) if enhancers else {})


def _num_downsamplings(state: State) -> int:
    """Half of the 3x3 convolutions outside of blocks; the others double the resolution."""
    matches = [re.fullmatch(r'model\.\d+\.weight', name) for name in state]
    shapes = [np.shape(state[match[0]]) for match in matches if match]
    return sum(len(shape) == 4 and shape[-1] == 3 for shape in shapes) // 2


def _feature_options(states: Mapping[str, State], channels: int) -> dict[str, Any]:
    """Options of the feature encoder; `channels` are the inputs of the generator."""
    encoder, discriminator = states.get('encoder'), states.get('discriminator')
    if encoder is None:
        if discriminator is not None:
            inputs = _shape('discriminator', discriminator, _first_layer(discriminator))[1]
            if channels > inputs - 3:
                problem = f'the generator takes {channels - inputs + 3} features, but there is no '
                problem += 'file of the feature encoder (net_E)'
                raise UserError(problem, "put it next to the generator's")
        return dict(instance_features=False)
    matches = [re.fullmatch(r'model\.(\d+)\.bias', name) for name in encoder]
    last = max((int(match[1]) for match in matches if match), default=0)
    return dict(
        instance_features=True,
        encoder_width=_shape('encoder', encoder, 'model.1.weight')[0],
        encoder_downsamplings=_num_downsamplings(encoder),
        encoder_norm=_norm(encoder),
        feature_dim=_shape('encoder', encoder, f'model.{last}.weight')[0],
    )


def _discriminator_options(state: State | None) -> dict[str, Any]:
    if state is None:
        return {}
    width = _shape('discriminator', state, _first_layer(state))[0]
    has_features = _first_layer(state).startswith('scale')
    scale = r'scale(\d+)_layer0\.0\.weight' if has_features else r'layer(\d+)\.0\.weight'
    layer = r'scale0_layer(\d+)\.0\.weight' if has_features else r'layer0\.(\d+)\.weight'
    shapes = {int(m[1]): np.shape(state[m[0]]) for n in state if (m := re.fullmatch(layer, n))}
    depth = sum(len(shape) == 4 for shape in shapes.values()) - 1
    norm = 'scale0_layer1.1.weight' if has_features else 'layer0.3.weight'
    return dict(
        num_discriminators=_count(scale, state),
        discriminator_depth=depth,
        discriminator_width=width,
        discriminator_norm='sync_batch' if norm in state else 'instance',
    ) | ({} if has_features else dict(feature_matching_weight=0.0))


def _first_layer(state: State) -> str:
    return 'scale0_layer0.0.weight' if 'scale0_layer0.0.weight' in state else 'layer0.0.weight'


def _norm(state: State) -> str:
    return 'sync_batch' if 'model.2.weight' in state else 'instance'


def _count(pattern: str, state: State) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _missing(channels: int, options: Options) -> list[str]:
    """What neither the entries nor the options tell, with the flags that do."""
    missing = []
    if 'num_classes' not in options and options.get('condition') != 'rgb':
        missing.append(
            f'how the {channels} channels of the layout divide: --num_classes=N, with '
            '--condition=labels+edges if the model has instance edges'
        )
    if 'crop_size' not in options:
        missing.append('the image size: --crop_size=WIDTH, and --aspect_ratio=WIDTH/HEIGHT')
    return missing
