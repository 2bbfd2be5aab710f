"""The options of the SPADE model. This module imports no JAX: the flags are generated from it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.config.model_options import BATCH_NORMS, ModelOptions
from spade_jax.config.option import format_flags, option, positive_integers
from spade_jax.errors import UserError

UPSAMPLINGS = {'normal': 5, 'more': 6, 'most': 7}
# Channels of the residual blocks; the last one is there with upsampling=most only.
PUBLISHED_MULTIPLIERS = (16, 16, 16, 8, 4, 2, 1, 0.5)
LARGEST_ENCODER_DEPTH = 10
_MOST_BLOCKS = 14  # All but the first double the resolution.
# Options of the decoder that an encoder-decoder lacks: their values without effect, and why.
_OF_DECODER = {
    'generator_start': ('layout', 'starts from the layout'),
    'style_encoder': (False, 'starts from the layout'),
    'upsampling': ('normal', 'has --generator_downsamplings'),
    'upsampling_method': ('nearest', 'has transposed convolutions'),
    'noise_injection': (False, 'has no noise'),
    'generator_multipliers': ('', 'has widths that double at each downsampling'),
    'rematerialize': ('none', 'keeps its activations'),
}
_OF_ENCODER_DECODER = (
    'generator_downsamplings',
    'generator_blocks',
    'residual_kernel_size',
    'first_kernel_size',
)


@dataclasses.dataclass(frozen=True)
class SpadeOptions(ModelOptions):
    """Generator, style encoder and discriminator of Park et al. 2019, section 4 and appendix A.

    The options `generator_body`, `generator_conditioning` and `generator_start` make the generators
    that the paper compares with, in section 4.4.
    """

    name: ClassVar[str] = 'spade'
    not_in_files: ClassVar[tuple[str, ...]] = ('upsampling',)

    generator_body: str = option(
        'decoder',
        'decoder: the SPADE generator. encoder_decoder: that of pix2pixHD, which halves the '
        'resolution of the layout, and doubles it again after residual blocks.',
        choices=('decoder', 'encoder_decoder'),
    )
    generator_conditioning: str = option(
        'spade',
        'How the layers of the generator see the layout. spade: they are modulated by it; concat: '
        'it is appended to their input; input: only the first layer sees it.',
        choices=('spade', 'concat', 'input'),
    )
    generator_start: str = option(
        'layout',
        'What a decoder without style encoder starts from. layout: the downsampled layout; noise: '
        'a random latent of style_dim dimensions.',
        choices=('layout', 'noise'),
    )

    generator_width: int = option(
        64, 'Channels of the generator at full resolution.', at_least=1, at_most=1024
    )
    upsampling: str = option(
        'normal',
        'Upsamplings from the coarsest grid: normal 5, more 6, most 7 (and one more block).',
        choices=tuple(UPSAMPLINGS),
    )
    generator_multipliers: str = option(
        '',
        'Channels of the residual blocks in multiples of generator_width, e.g. "8,4,2,1"; all '
        'blocks but the first upsample. Default: the published blocks, see --upsampling.',
    )
    upsampling_method: str = option(
        'nearest',
        'How a block doubles the resolution: nearest, as published, or bilinear, which has no '
        'seams at the borders of the coarse pixels.',
        choices=('nearest', 'bilinear'),
    )
    noise_injection: bool = option(
        False,
        'Add fixed noise, scaled per channel, inside the residual blocks. From it the generator '
        'makes the detail of regions of one class.',
    )
    generator_norm: str = option(
        'sync_batch',
        'Normalization of the generator (of SPADE: inside its layers). sync_batch: over all '
        'devices; batch: over each device.',
        choices=(*BATCH_NORMS, 'instance', 'none'),
    )
    generator_spectral_norm: bool = option(
        True, 'Use spectral normalization in the convolutions of the residual blocks.'
    )
    generator_downsamplings: int = option(
        4,
        'Halvings of the resolution (of SPADE: by an encoder-decoder; of pix2pixHD: in the global '
        'generator).',
        at_least=1,
        at_most=8,
    )
    generator_blocks: int = option(
        9,
        'Residual blocks of the generator (of SPADE: of an encoder-decoder; of pix2pixHD: of the '
        'global generator).',
        at_least=1,
        at_most=64,
    )
    residual_kernel_size: int = option(
        3, 'Kernel size of the residual blocks of an encoder-decoder; odd.', at_least=1, at_most=63
    )
    first_kernel_size: int = option(
        7, 'Kernel size of the first layer of an encoder-decoder; odd.', at_least=1, at_most=63
    )
    spade_hidden: int = option(128, 'Hidden channels of a SPADE layer.', at_least=1, at_most=8192)
    spade_kernel_size: int = option(
        3, 'Kernel size of the convolutions over the layout; odd.', at_least=1, at_most=63
    )
    label_conv: str = option(
        'auto',
        'How SPADE convolves the layout. dense: at every pixel. dedup: once for each distinct '
        'patch, on grids of 64x64 and more; the same up to rounding, faster on a CPU, and not '
        'reproducible bit for bit on a GPU. auto: dedup on a CPU, dense on other devices.',
        choices=('auto', 'dense', 'dedup'),
        mutable=True,
    )
    rematerialize: str = option(
        'none',
        'Generator activations that the backward pass recomputes to save memory: none, modulation '
        '(the SPADE layers), or blocks (whole residual blocks).',
        choices=('none', 'modulation', 'blocks'),
        mutable=True,
    )

    style_encoder: bool = option(
        False, 'Train a style encoder (VAE); the generator then starts from a style latent.'
    )
    style_dim: int = option(
        256, 'Dimensions of the latent of styles or noise.', at_least=1, at_most=8192
    )
    kl_weight: float = option(
        0.05,
        'Weight of the KL divergence, summed over the dimensions of the style latent, mean over '
        'the batch. The published recipe with 4 images a GPU equals 0.2.',
        at_least=0,
    )
    encoder_width: int = option(
        64, "Channels of the encoder's first convolution.", at_least=1, at_most=1024
    )
    encoder_depth: int = option(
        0,
        'Convolutions of the style encoder. 0: as published, 6 from --crop_size=256 on, else 5.',
        at_least=0,
        at_most=LARGEST_ENCODER_DEPTH,
    )
    encoder_norm: str = option(
        'instance',
        'Normalization of the encoder, see --generator_norm.',
        choices=('instance', *BATCH_NORMS),
    )
    encoder_input_size: int = option(
        256, 'Side in pixels to which the encoder resizes its input.', at_least=1, at_most=2048
    )

    discriminator_width: int = option(
        64, "Channels of a discriminator's first convolution.", at_least=1, at_most=1024
    )
    discriminator_depth: int = option(4, 'Convolutions before the logits.', at_least=1, at_most=8)
    num_discriminators: int = option(
        2,
        'Number of discriminators, each at half the resolution of the previous one.',
        at_least=1,
        at_most=8,
    )
    discriminator_norm: str = option(
        'instance',
        'Normalization of the hidden layers of the discriminator.',
        choices=('instance', *BATCH_NORMS, 'none'),
    )
    discriminator_spectral_norm: bool = option(
        True, 'Use spectral normalization in the hidden layers of the discriminator.'
    )
    reuse_fakes: bool = option(
        False,
        'Train the discriminator on the fake images of the generator update instead of sampling '
        'new ones from the updated generator: an approximation that saves one forward pass.',
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ('spade_kernel_size', 'residual_kernel_size', 'first_kernel_size'):
            if (size := getattr(self, name)) % 2 == 0:
                problem = f'{name}={size} is even, so its output would not be centered'
                raise UserError(problem, f'use {size - 1} or {size + 1}')
        if min(self.width_multipliers) * self.generator_width < 1:
            problem = f'generator_width={self.generator_width} leaves no channel for the narrowest'
            raise UserError(f'{problem} block', 'use 2 or more')
        if self.generator_multipliers and self.upsampling != 'normal':
            problem = f'upsampling={self.upsampling} with generator_multipliers, which determine it'
            raise UserError(problem, 'leave --upsampling out')
        if self.style_encoder and self.generator_start == 'noise':
            problem = 'generator_start=noise with style_encoder, whose latent the generator starts '
            raise UserError(f'{problem}from', 'leave one of the two out')
        self._check_body()
        if self.generator_conditioning == 'input' and self.latent_dim is not None:
            start = 'style_encoder' if self.style_encoder else 'generator_start=noise'
            problem = f'generator_conditioning=input with {start}: the generator would not see the '
            raise UserError(f'{problem}layout', 'use --generator_conditioning=spade or concat')

    def _check_body(self) -> None:
        """Raises UserError for an option of the other kind of generator."""
        for name, (neutral, reason) in _OF_DECODER.items() if self.is_encoder_decoder else ():
            if (value := getattr(self, name)) != neutral:
                problem = f'{name}={value} with generator_body=encoder_decoder, which {reason}'
                (remedy,) = format_flags({name: neutral})
                raise UserError(problem, f'use {remedy} or --generator_body=decoder')
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in () if self.is_encoder_decoder else _OF_ENCODER_DECODER:
            if (value := getattr(self, name)) != defaults[name]:
                problem = f'{name}={value}, but generator_body=decoder does not have it'
                raise UserError(problem, 'leave it out, or use --generator_body=encoder_decoder')

    def check(self, config: Config) -> None:
        data = config.data
        if self.label_conv == 'dedup' and not self.supports_dedup(data):
            kernel_size = f'spade_kernel_size={self.spade_kernel_size}'
            cause = kernel_size if data.uses_labels else f'condition={data.condition}'
            if not self.has_spade:
                cause = f'generator_conditioning={self.generator_conditioning}'
            problem = f'label_conv=dedup with {cause}: it needs label maps and SPADE of 3x3 kernels'
            raise UserError(problem, 'use --label_conv=auto')
        self._check_padding(data)
        depth, size = self.encoder_convolutions(data), self.encoder_input_size
        if self.style_encoder and size < 2 ** (depth + 1):
            problem = f'encoder_input_size={size} leaves a single pixel after {depth} convolutions'
            raise UserError(f'{problem} of stride 2', f'use {2 ** (depth + 1)} or more')
        reasons = {
            'accumulation_steps': 'the fake images of a microbatch are not kept',
            'discriminator_steps': 'steps without a generator update have no fake images',
        }
        for name, reason in reasons.items():
            if self.reuse_fakes and (value := getattr(config.optimizer, name)) > 1:
                problem = f'reuse_fakes with {name}={value}: {reason}'
                raise UserError(problem, f'use --{name}=1 or --noreuse_fakes')

    def _check_padding(self, data: DataConfig) -> None:
        """Raises UserError when a side of an encoder-decoder is too short to be mirrored."""
        smallest = min(data.image_height, data.image_width)
        sizes = dict(
            first_kernel_size=(self.first_kernel_size, smallest),
            residual_kernel_size=(self.residual_kernel_size, smallest // self.size_multiple),
        )
        for name, (kernel_size, side) in sizes.items() if self.is_encoder_decoder else ():
            if kernel_size // 2 >= side:
                problem = f'{name}={kernel_size} needs a padding of {kernel_size // 2} pixels, but '
                problem += f'there are {side} to mirror in an image of {smallest}'
                raise UserError(problem, 'use larger images or fewer --generator_downsamplings')

    def portable(self) -> ModelOptions:
        return dataclasses.replace(self, label_conv='auto')

    def on_accelerator(self) -> ModelOptions:
        dense = dataclasses.replace(self, label_conv='dense')
        return dense if self.label_conv == 'auto' else self

    def for_cpu(self) -> Sequence[Mapping[str, Any]]:
        small = [dict(generator_width=16), dict(batch_size=4)]
        small += [dict(spade_hidden=16)] * self.has_spade
        small += [dict(discriminator_width=32), dict(discriminator_depth=3)]
        if self.style_encoder:
            small += [dict(encoder_width=16), dict(encoder_input_size=64)]
        without_seams = [dict(upsampling_method='bilinear'), dict(noise_injection=True)]
        # Runs on a CPU are short: larger steps than the published ones, and each fake twice.
        short = dict(ttur=False, learning_rate=5e-4, adam_beta1=0.0, adam_beta2=0.9)
        return [*small, *without_seams, short, dict(reuse_fakes=True)]

    @property
    def is_encoder_decoder(self) -> bool:
        """True if the body of the generator is that of pix2pixHD."""
        return self.generator_body == 'encoder_decoder'

    @property
    def has_spade(self) -> bool:
        """True if the generator has SPADE layers."""
        return self.generator_conditioning == 'spade'

    @property
    def size_multiple(self) -> int:
        return 2**self.num_upsamplings

    @property
    def size_reason(self) -> str:
        kind = 'downsamplings' if self.is_encoder_decoder else 'upsamplings'
        return f'{self.num_upsamplings} {kind}'

    @property
    def num_upsamplings(self) -> int:
        """How often the generator doubles its resolution."""
        if self.is_encoder_decoder:
            return self.generator_downsamplings
        if self.generator_multipliers:
            return len(self.width_multipliers) - 1
        return UPSAMPLINGS[self.upsampling]

    @property
    def width_multipliers(self) -> tuple[float, ...]:
        """Channels of the residual blocks, in multiples of `generator_width`."""
        if not self.generator_multipliers:
            return PUBLISHED_MULTIPLIERS[: 8 if self.upsampling == 'most' else 7]
        texts = self.generator_multipliers.split(',')
        if len(texts) > _MOST_BLOCKS:
            problem = f'generator_multipliers has {len(texts)} blocks'
            raise UserError(problem, f'use at most {_MOST_BLOCKS}')
        return tuple(positive_integers('generator_multipliers', texts, at_most=64))

    @property
    def latent_dim(self) -> int | None:
        """Dimensions of the latent that an image is sampled from; None: the condition alone."""
        return self.style_dim if self.style_encoder or self.generator_start == 'noise' else None

    @property
    def has_latent(self) -> bool:
        return self.latent_dim is not None

    @property
    def can_encode(self) -> bool:
        return self.style_encoder

    @property
    def size_is_fixed(self) -> bool:
        return self.has_latent  # The latent becomes the coarsest grid by a dense layer.

    def grid_size(self, data: DataConfig) -> tuple[int, int]:
        """Height and width of the generator's coarsest grid."""
        return data.image_height // self.size_multiple, data.image_width // self.size_multiple

    def encoder_convolutions(self, data: DataConfig) -> int:
        """Convolutions of the style encoder."""
        return self.encoder_depth or self.published_encoder_depth(data)

    @staticmethod
    def published_encoder_depth(data: DataConfig) -> int:
        """Convolutions of the published style encoders."""
        return 6 if data.crop_size >= 256 else 5

    def supports_dedup(self, data: DataConfig) -> bool:
        """True if the layout can be convolved once for each distinct patch."""
        return self.has_spade and data.uses_labels and self.spade_kernel_size == 3

    def use_dedup(self, data: DataConfig, backend: str) -> bool:
        """True if each distinct patch is convolved once.

        Accelerators convolve the whole layout, which is faster there than the lookup.
        """
        wanted = 'dedup' if self.label_conv == 'auto' and backend == 'cpu' else self.label_conv
        return wanted == 'dedup' and self.supports_dedup(data)
