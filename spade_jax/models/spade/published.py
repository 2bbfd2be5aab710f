"""The published PyTorch checkpoints of SPADE: which configuration they have, and their weights.

Names and shapes of the entries tell most of the architecture; flags give the rest. No entry tells
how the channels of the layout divide into classes, don't-care and instance edges; the size of the
images; and, without a style encoder, whether there are 5 or 6 upsamplings, which have the same
parameters. These are asked for by name, never guessed.
"""

import functools
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from spade_jax.config.config import Config
from spade_jax.config.option import format_flags
from spade_jax.errors import UserError
from spade_jax.models import torch_layout
from spade_jax.models.model import Variables
from spade_jax.models.published_files import (
    LETTERS,
    Options,
    State,
    check_flags,
    contradictions,
    entry_shape,
    same_files,
)
from spade_jax.models.spade import published_encoder_decoder, reference_names
from spade_jax.models.spade.generator import PUBLISHED_BLOCKS, block_name
from spade_jax.models.spade.options import PUBLISHED_MULTIPLIERS, UPSAMPLINGS, SpadeOptions

# Network -> letter of its file `<epoch>_net_<letter>`; those that a checkpoint must have.
FILES = LETTERS
REQUIRED = ('generator',)
_WIDTHS = 'generator_width', 'generator_multipliers'

_shape = functools.partial(entry_shape, 'SPADE')

# Channels of the layout of a published model -> its data set, a description, and the options that
# the data set does not set. The upsamplings of the Cityscapes model are not on record.
_SIZE = dict(crop_size=256, upsampling='normal')
PUBLISHED = {
    184: ('coco_stuff', "COCO-Stuff: 182 classes, don't-care, edges", _SIZE),
    151: ('ade20k', 'ADE20K: 150 classes and one channel more', _SIZE),
    36: ('cityscapes', 'Cityscapes: 35 classes, edges', dict(crop_size=512)),
}


class Architecture(NamedTuple):
    """What the entries of a checkpoint tell."""

    options: dict[str, Any]  # Of Config, by name.
    layout_channels: int  # Classes, don't-care and edges together.
    grid_cells: int | None  # Height times width of the coarsest grid; None without a style latent.
    encoder_depth: int | None  # Number of convolutions of the encoder; None without one.


def recognizes(generator: State) -> bool:
    """True if this is the state dictionary of a generator of SPADE."""
    return any(name.startswith('head_0.norm_0.mlp_shared.') for name in generator)


def infer_config(states: Mapping[str, State], described: Options, given: Options) -> Config:
    """The configuration of a published checkpoint.

    Args:
      states: Network -> state dictionary; the generator at least.
      described: Options that flags, data set and palette set.
      given: Those of them that flags set.

    Raises:
      UserError: The files are no SPADE networks or do not belong together; flags contradict them,
        or options that they do not tell are missing (all of these are listed).
    """
    found = infer(**states, noise_start=given.get('generator_start') == 'noise')
    return resolve(found, described, given)


def to_reference(variables: Variables, network: str, config: Config) -> dict[str, np.ndarray]:
    """The state dictionary of a network of the reference implementation.

    Raises:
      UserError: The reference has no such generator.
    """
    if names := _encoder_decoder_names(network, config):
        return torch_layout.to_state(variables, names)
    return reference_names.to_state(variables, network, grid_size=_dense_grid(network, config))


def from_reference(state: Mapping[str, np.ndarray], network: str, config: Config) -> Variables:
    """The inverse of `to_reference`."""
    if names := _encoder_decoder_names(network, config):
        return torch_layout.to_variables(state, names)
    return reference_names.to_variables(state, network, grid_size=_dense_grid(network, config))


def _encoder_decoder_names(network: str, config: Config) -> torch_layout.ModuleNames | None:
    """The names of an encoder-decoder; None for other networks."""
    options = _options(config)
    if network != 'generator':
        return None
    is_published = options.is_encoder_decoder == (options.generator_conditioning == 'input')
    if not is_published or options.generator_conditioning == 'concat':
        problem = f'generator_body={options.generator_body} with generator_conditioning='
        problem += f'{options.generator_conditioning} is no network of the published code'
        raise UserError(problem, 'export it as a function with --mode=export')
    return published_encoder_decoder.module_names(options) if options.is_encoder_decoder else None


def _dense_grid(network: str, config: Config) -> tuple[int, int] | None:
    """The grid that the first layer of a generator with a style latent makes, else None."""
    options = _options(config)
    is_dense = network == 'generator' and options.latent_dim is not None
    return options.grid_size(config.data) if is_dense else None


def _options(config: Config) -> SpadeOptions:
    assert isinstance(config.model, SpadeOptions)
    return config.model


def unsupported_by_reference(config: Config) -> list[str]:
    """Options, as flags, whose values the reference implementation cannot build networks of."""
    options = _options(config)
    fixed: dict[str, Any] = dict(
        spade_hidden=128,
        generator_multipliers='',
        generator_start='layout',
        upsampling_method='nearest',
        noise_injection=False,
    )
    if options.is_encoder_decoder:
        fixed = dict(generator_spectral_norm=True)
    elif options.generator_norm == 'none':
        fixed |= dict(generator_norm='sync_batch')
    if options.style_encoder:
        fixed |= dict(encoder_input_size=256, style_dim=256)
    values = {name: getattr(options, name) for name in fixed}
    flags = format_flags({name: values[name] for name in values if values[name] != fixed[name]})
    if options.style_encoder:
        published = options.published_encoder_depth(config.data)
        if options.encoder_convolutions(config.data) != published:
            flags.append(f'--encoder_depth={options.encoder_depth}')
        elif published == 5:
            flags.append(f'--crop_size={config.data.crop_size} with a style encoder')
    return flags


def infer(
    generator: State,
    discriminator: State | None = None,
    encoder: State | None = None,
    *,
    noise_start: bool = False,
) -> Architecture:
    """The architecture of the networks with these state dictionaries; see `infer_config`.

    With `noise_start`, the latent of a generator is noise instead of a style.
    """
    if published_encoder_decoder.is_encoder_decoder(generator):
        options, channels = published_encoder_decoder.infer(generator)
        grid_cells = None
    else:
        options, channels, grid_cells = _generator_options(generator)
    has_style = options['style_encoder']
    if has_style and encoder is None:
        if not noise_start:
            problem = 'the generator starts from a latent, but there is no file of the style '
            remedy = "put it next to the generator's; or give --generator_start=noise"
            raise UserError(f'{problem}encoder (net_E)', remedy)
        options |= dict(style_encoder=False, generator_start='noise')
    if encoder is not None and not has_style:
        problem = 'there is a file of a style encoder (net_E), but the generator takes no style'
        raise UserError(problem, "they are not of one model; move the encoder's file away")
    encoder_options, depth = ({}, None) if encoder is None else _encoder_options(encoder)
    options |= encoder_options | _discriminator_options(discriminator)
    return Architecture(options, channels, grid_cells, depth)


def _generator_options(state: State) -> tuple[dict[str, Any], int, int | None]:
    """Options, channels of the layout, and cells of the coarsest grid or None."""
    spectral = 'head_0.conv_0.weight_orig' in state
    conv = 'head_0.conv_0.weight_orig' if spectral else 'head_0.conv_0.weight'
    first = _shape('generator', state, 'fc.weight', ranks=(2, 4))
    hidden = _shape('generator', state, 'head_0.norm_0.mlp_shared.0.weight')
    features = _shape('generator', state, conv)[0]
    has_style = len(first) == 2
    options: dict[str, Any] = dict(
        generator_body='decoder',
        generator_conditioning='spade',
        generator_spectral_norm=spectral,
        generator_norm=_norm_of(state, 'head_0.norm_0.param_free_norm'),
        spade_hidden=hidden[0],
        spade_kernel_size=hidden[-1],
        style_encoder=has_style,
        noise_injection='head_0.noise.weight' in state,
    )
    if has_style:
        options['style_dim'] = first[1]
    options |= _generator_widths(state, features)
    return options, hidden[1], first[0] // features if has_style else None


def _generator_widths(state: State, first: int) -> dict[str, Any]:
    """Width; multipliers or upsampling unless normal. `first` are the first block's channels."""
    channels = []
    while True:
        block = reference_names.module_name(block_name(len(channels)), 'generator')
        kernel = f'{block}.conv_1.weight'
        kernel = kernel if kernel in state else f'{kernel}_orig'
        if kernel not in state:
            break
        channels.append(_shape('generator', state, kernel)[0])
    width = max(1, first // 16)
    published = [int(multiplier * width) for multiplier in PUBLISHED_MULTIPLIERS]
    is_published = len(channels) >= PUBLISHED_BLOCKS and channels == published[: len(channels)]
    # A file that lacks blocks is a damaged published one: its last kernel fits no block.
    inputs_of_last = np.shape(state.get('conv_img.weight', ()))[1:2]
    is_complete = bool(channels) and inputs_of_last == (channels[-1],)
    if is_published or not is_complete:
        has_up_4 = any(name.startswith('up_4.') for name in state)
        return {'generator_width': width} | ({'upsampling': 'most'} if has_up_4 else {})
    width = math.gcd(*channels)
    multipliers = ','.join(str(number // width) for number in channels)
    return {'generator_width': width, 'generator_multipliers': multipliers}


def _encoder_options(state: State) -> tuple[dict[str, Any], int]:
    """Options, and the number of convolutions."""
    layers = [int(match[1]) for name in state if (match := re.match(r'layer(\d{1,2})\.', name))]
    depth = max(layers, default=0)
    width = _shape('encoder', state, 'layer1.0.weight_orig')[0]
    features = _shape('encoder', state, f'layer{max(1, depth)}.0.weight_orig')[0]
    side = math.isqrt(_shape('encoder', state, 'fc_mu.weight', ranks=(2,))[1] // features)
    norm, size = _norm_of(state, 'layer1.1'), side * 2**depth
    return dict(encoder_width=width, encoder_input_size=size, encoder_norm=norm), depth


def _discriminator_options(state: State | None) -> dict[str, Any]:
    if state is None:
        return {}
    width = _shape('discriminator', state, 'discriminator_0.model0.0.weight')[0]
    matches = [re.match(r'discriminator_(\d{1,2})\.model(\d{1,2})\.', name) for name in state]
    scale, depth = (max(int(match[i]) for match in matches if match) for i in (1, 2))
    if depth < 1:
        problem = 'discriminator: it has no logits (discriminator_0.model1...)'
        raise UserError(problem, 'is this the file of a discriminator (net_D)?')
    options: dict[str, Any] = dict(
        num_discriminators=scale + 1, discriminator_width=width, discriminator_depth=depth
    )
    if depth > 1:  # Otherwise no hidden layer shows its kind.
        layer = 'discriminator_0.model1.0'  # A convolution alone, or one and its normalization.
        is_alone = bool({f'{layer}.weight', f'{layer}.weight_orig'} & set(state))
        spectral = any(name.startswith(layer) and name.endswith('_orig') for name in state)
        norm = 'none' if is_alone else _norm_of(state, f'{layer}.1')
        options |= dict(discriminator_spectral_norm=spectral, discriminator_norm=norm)
    return options


def _norm_of(state: State, module: str) -> str:
    return 'sync_batch' if f'{module}.running_mean' in state else 'instance'


def resolve(found: Architecture, described: Options, given: Options) -> Config:
    """The Config of a checkpoint whose entries tell `found`; see `infer_config`."""
    check_flags(_contradictions(found, given))
    channels = found.layout_channels
    dataset, about, defaults = PUBLISHED.get(channels, ('', '', {}))
    if 'crop_size' in given and given['crop_size'] != defaults.get('crop_size'):
        defaults = {}  # A model of another size is another model.
    options: dict[str, Any] = {'dataset': 'folders'}
    options |= defaults if given.get('dataset') == dataset else {}
    options |= {**described, **found.options}
    options |= {name: given[name] for name in found.options if name in given}
    source = f'{channels} channels are those of the published model of {about}: --dataset={dataset}'
    hint = f'; {source}' if about else ''
    missing = '; nor '.join(_missing(found, options))
    if 'crop_size' in options and found.grid_cells is not None:
        options['upsampling'] = _upsampling_of_grid(found.grid_cells, options)
    if missing:
        raise UserError(f'the files do not tell {missing}', f'set these flags{hint}')
    _check_channels(channels, options, hint)
    options.setdefault('load_size', max(286, options['crop_size']))
    config = Config.create(**options)
    depth, size = _options(config).encoder_convolutions(config.data), config.data.crop_size
    if found.encoder_depth not in (None, depth):
        problem = f'the style encoder has {found.encoder_depth} convolutions, but with '
        problem += f'crop_size={size} it would have {depth} (6 from 256 on, 5 below)'
        raise UserError(problem, 'set the --crop_size that the model was trained at')
    return config


def _missing(found: Architecture, options: Options) -> list[str]:
    """What neither the entries nor the options tell, with the flags that do."""
    channels = found.layout_channels
    missing = []
    if 'num_classes' not in options and options.get('condition') != 'rgb':
        missing.append(
            f'how the {channels} channels of the layout divide: --num_classes=N, with '
            '--dontcare and --condition=labels+edges if the model has them'
        )
    if 'crop_size' not in options:
        missing.append('the image size: --crop_size=WIDTH, and --aspect_ratio=WIDTH/HEIGHT')
    is_known = 'generator_downsamplings' in found.options or found.grid_cells is not None
    if not is_known and not {'upsampling', 'generator_multipliers'} & set(options):
        missing.append('the upsamplings: --upsampling=normal or --upsampling=more')
    return missing


def _contradictions(found: Architecture, given: Options) -> list[str]:
    def same(name: str, value: Any) -> bool:
        if name == 'encoder_input_size' and found.encoder_depth is not None:
            # Only the size after the convolutions of stride 2 matters; each rounds up.
            scale = 2**found.encoder_depth
            return math.ceil(given[name] / scale) == value // scale
        if name in _WIDTHS:  # 4 and "8,4" are the same as 16 and "2,1".
            return _channels({**found.options, **given}) == _channels(found.options)
        return same_files(given[name], value)

    problems = contradictions(found.options, given, same)
    if given.get('upsampling') == 'most' and 'upsampling' not in found.options:
        problems.append('upsampling is normal or more, not most (there is no block up_4)')
    return problems


def _channels(options: Options) -> list[float]:
    """The channels of the residual blocks."""
    widths = SpadeOptions(**{name: options[name] for name in _WIDTHS if name in options})
    return [widths.generator_width * multiplier for multiplier in widths.width_multipliers]


def _upsampling_of_grid(cells: int, options: Options) -> str:
    """The kind of upsampling with which images of the given size have this many grid cells."""
    width, ratio = options['crop_size'], options.get('aspect_ratio', 1.0)
    kinds = [options['upsampling']] if 'upsampling' in options else ['normal', 'more']
    numbers = {kind: UPSAMPLINGS[kind] for kind in kinds}
    if 'generator_multipliers' in options:  # The blocks determine the upsamplings.
        numbers = {'normal': options['generator_multipliers'].count(',')}
    grids = []
    for kind, number in numbers.items():
        columns = width // 2**number
        rows = max(1, round(columns / ratio))
        if rows * columns == cells:
            return kind
        grids.append(f'{columns}x{rows} with {number} upsamplings')
    scale = 2 ** min(numbers.values())
    sizes = [(cells // rows * scale, rows * scale) for rows in range(1, cells + 1)]
    sizes = [(w, h) for w, h in sizes if w * h == cells * scale**2 and 0.25 <= w / h <= 4]
    examples = ', '.join(f'--crop_size={w} --aspect_ratio={w / h:.4g} ({w}x{h})' for w, h in sizes)
    problem = f'the generator starts from a grid of {cells} cells, but crop_size={width} and '
    problem += f'aspect_ratio={ratio:.4g} have {" or ".join(grids)}'
    example = f', for example {examples}' if examples else ''
    raise UserError(problem, f'set the size that the model was trained at{example}')


def _check_channels(channels: int, options: Options, hint: str) -> None:
    """Raises UserError when the options do not make a layout of so many channels."""
    if options.get('condition') == 'rgb':
        parts = {'red, green and blue': 3}
    else:
        parts = {f'num_classes={options["num_classes"]}': options['num_classes']}
        parts['dontcare'] = int(options.get('dontcare', False))
        parts['instance edges'] = int(options.get('condition') == 'labels+edges')
    if (total := sum(parts.values())) != channels:
        names = ', '.join(name for name, number in parts.items() if number)
        problem = f'the generator takes a layout of {channels} channels, but {names} make {total}'
        remedy = f'set --num_classes, --[no]dontcare and --condition to make {channels}{hint}'
        raise UserError(problem, remedy)
