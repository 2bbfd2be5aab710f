"""The files of pix2pixHD++, the encoder-decoder of the published code of SPADE."""

import re
from collections.abc import Mapping
from typing import Any

from spade_jax.errors import UserError
from spade_jax.models.published_files import entry_shape
from spade_jax.models.spade.options import SpadeOptions
from spade_jax.models.torch_layout import ModuleNames, residual_generator_names

# The first convolution: in a sequence with its normalization, or spectrally normalized, neither of
# which there is in pix2pixHD itself.
_FIRST = re.compile(r'model\.1\.(0\.weight(_orig)?|weight_orig)')
_BLOCK = re.compile(r'model\.(\d{1,4})\.conv_block\.')
_LAST = re.compile(r'model\.(\d{1,4})\.weight')


def is_encoder_decoder(state: Mapping[str, Any]) -> bool:
    """True for the state dictionary of a generator of pix2pixHD++."""
    return any(map(_FIRST.fullmatch, state))


def module_names(options: SpadeOptions) -> ModuleNames:
    """The modules of the generator of these options, and their names there."""
    numbers = options.generator_downsamplings, options.generator_blocks
    modules, transposed = residual_generator_names(*numbers, nested=True)
    if options.generator_norm == 'none':  # The convolution is not in a sequence.
        convs = {path: name for path, name in modules.items() if path.endswith('/conv')}
        modules = {path: name.removesuffix('.0') for path, name in convs.items()}
    return ModuleNames(modules, transposed).inside('body')


def infer(state: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """The options that the entries tell, and the channels of the layout.

    Raises:
      UserError: Entries are missing.
    """
    first = next(name for name in state if _FIRST.fullmatch(name))
    blocks = {int(match[1]) for name in state if (match := _BLOCK.match(name))}
    last = max((int(match[1]) for name in state if (match := _LAST.fullmatch(name))), default=0)
    # The sequence has 2 elements before the first layer and after it, 2 for each downsampling and
    # each upsampling, 1 for each block.
    downsamplings, rest = divmod(last - 4 - len(blocks), 4)
    if not blocks or downsamplings < 1 or rest:
        problem = f'generator: {len(blocks)} residual blocks and last layer model.{last} are not '
        raise UserError(f'{problem}those of pix2pixHD++', 'is the file complete?')
    kernel = first.removeprefix('model.1.')  # '0.weight_orig'
    is_nested, inner = kernel.startswith('0.'), f'model.{min(blocks)}.conv_block.1.{kernel}'
    has_statistics = 'model.1.1.running_mean' in state
    norm = ('sync_batch' if has_statistics else 'instance') if is_nested else 'none'
    width, channels, kernel_size, _ = entry_shape('SPADE', 'generator', state, first)
    options = dict(
        generator_body='encoder_decoder',
        generator_conditioning='input',
        generator_width=width,
        generator_norm=norm,
        generator_spectral_norm=kernel.endswith('_orig'),
        style_encoder=False,
        generator_downsamplings=downsamplings,
        generator_blocks=len(blocks),
        residual_kernel_size=entry_shape('SPADE', 'generator', state, inner)[-1],
        first_kernel_size=kernel_size,
    )
    return options, channels
