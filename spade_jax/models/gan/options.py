"""The options of the unconditional GAN. This module imports no JAX."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.config.model_options import BATCH_NORMS, ModelOptions
from spade_jax.config.option import aspect_ratio_text, nearest_heights, option
from spade_jax.errors import UserError

NORMS = ('pixel', *BATCH_NORMS, 'instance', 'none')


class Growth(NamedTuple):
    """When the levels of resolution begin; level 0 is the coarsest grid, each doubles it.

    Attributes:
      first: The level at which training starts.
      begins: The step at which each later level begins, counted from 0.
      fades: The number of steps over which each of them fades in.
    """

    first: int
    begins: tuple[int, ...] = ()
    fades: tuple[int, ...] = ()

    def level_at(self, step: int) -> int:
        """The finest level that is trained in a step."""
        return self.first + sum(begin <= step for begin in self.begins)


@dataclasses.dataclass(frozen=True)
class GanOptions(ModelOptions):
    """A generator from a latent and its mirrored discriminator, which may grow together.

    The defaults follow Karras et al. 2018, made smaller: a latent of 128 dimensions, 16 channels at
    the finest level, no growth. Other than there, weights are not scaled at run time, the
    Wasserstein loss has no drift term, each level ends in a tanh, a single dense layer makes the
    logit, and pixel norm adds 1e-5 below the root.
    """

    name: ClassVar[str] = 'gan'
    conditions: ClassVar[tuple[str, ...]] = ('none',)
    defaults: ClassVar[Mapping[str, Any]] = dict(
        condition='none',
        gan_loss='wasserstein',
        feature_matching_weight=0.0,
        perceptual_weight=0.0,
        learning_rate=1e-3,
        ttur=False,
        adam_beta1=0.0,
        adam_beta2=0.99,
        ema_decay=0.999,
        initialization='kaiming',
    )
    unused: ClassVar[tuple[str, ...]] = (
        *('num_classes', 'dontcare', 'palette', 'palette_tolerance', 'label_remap'),
        *('resize_labels', 'coarsen_labels', 'tfds_label_feature', 'tfds_instance_feature'),
        *('feature_matching_weight', 'perceptual_weight', 'perceptual_network'),
        *('perceptual_input', 'vgg19_weights'),
    )

    gan_latent_dim: int = option(
        128, 'Dimensions of the latent of a GAN.', at_least=1, at_most=8192
    )
    base_size: int = option(
        4,
        'Width of the coarsest grid of a GAN; each level doubles it, up to crop_size.',
        at_least=1,
        at_most=64,
    )
    gan_width: int = option(
        16,
        'Channels of the finest level of generator and discriminator; a coarser one has twice as '
        'many as the next.',
        at_least=1,
        at_most=1024,
    )
    gan_max_width: int = option(
        512, 'Largest number of channels of a level.', at_least=1, at_most=8192
    )
    gan_norm: str = option(
        'pixel',
        'Normalization in the generator of a GAN. pixel: each pixel over its channels.',
        choices=NORMS,
    )
    gan_discriminator_norm: str = option(
        'none', 'Normalization in the discriminator of a GAN.', choices=NORMS
    )
    gan_spectral_norm: bool = option(
        False, 'Use spectral normalization in the discriminator of a GAN.'
    )
    minibatch_deviation: bool = option(
        True,
        'Show the discriminator of a GAN the deviation between the images of the batch, which a '
        'generator that collapses cannot imitate.',
    )
    gradient_penalty_weight: float | None = option(
        None,
        "Weight of (norm - 1)^2 of the discriminator's gradients between fake and real images. "
        'Default: 10 with --gan_loss=wasserstein, 0 with other losses.',
        at_least=0,
    )
    grow: str = option(
        '',
        'Growing resolution: widths and the steps at which they begin, e.g. "8:2000,16:4000" up to '
        'crop_size. Training starts at half of the first width. Default: no growth.',
    )
    fade_steps: int = option(
        0,
        'Steps over which the layers of a new resolution fade in. 0: half of the steps until the '
        'next one; for the last, half of the steps since the one before.',
        at_least=0,
    )

    def check(self, config: Config) -> None:
        self.num_levels(config.data)
        self.growth(config.data)
        weight, norm = self.penalty_weight(config.losses.gan_loss), self.gan_discriminator_norm
        if weight and norm in BATCH_NORMS:
            problem = f'gan_discriminator_norm={norm} with a gradient penalty: it needs the '
            problem += 'gradient of each image alone'
            raise UserError(problem, 'use --gan_discriminator_norm=none or instance')

    def for_cpu(self) -> Sequence[Mapping[str, Any]]:
        return [dict(gan_width=16), dict(gan_max_width=128), dict(batch_size=16)]

    @property
    def has_latent(self) -> bool:
        return True

    @property
    def size_is_fixed(self) -> bool:
        return True

    @property
    def size_multiple(self) -> int:
        return self.base_size

    @property
    def size_reason(self) -> str:
        return f'base_size={self.base_size}'

    def penalty_weight(self, gan_loss: str) -> float:
        """The weight of the gradient penalty."""
        if self.gradient_penalty_weight is None:
            return 10.0 if gan_loss == 'wasserstein' else 0.0
        return self.gradient_penalty_weight

    def num_levels(self, data: DataConfig) -> int:
        """Number of resolutions; UserError, with the nearest sizes, if they do not double."""
        width, height, base = data.image_width, data.image_height, self.base_size
        levels = max(1, (width // base).bit_length())
        legal = [base << level for level in (levels - 1, levels)]
        if width != legal[0]:
            problem = f'crop_size={width} is not base_size={base} doubled several times'
            raise UserError(problem, f'use {" or ".join(map(str, legal))}')
        multiple = 1 << (levels - 1)
        if height % multiple:
            nearest = ' or '.join(
                aspect_ratio_text(width, h) for h in nearest_heights(height, multiple)
            )
            problem = f'aspect_ratio={data.aspect_ratio} gives images of {width}x{height}, whose '
            problem += f'height is not divisible by {multiple} ({levels - 1} upsamplings)'
            raise UserError(problem, f'use {nearest}')
        return levels

    def grid_size(self, data: DataConfig, level: int) -> tuple[int, int]:
        """Height and width of a level."""
        factor = 1 << (self.num_levels(data) - 1 - level)
        return data.image_height // factor, data.image_width // factor

    def widths(self, data: DataConfig) -> tuple[int, ...]:
        """Channels of the levels, from the coarsest."""
        exponents = reversed(range(self.num_levels(data)))
        return tuple(min(self.gan_width << e, self.gan_max_width) for e in exponents)

    def growth(self, data: DataConfig) -> Growth:
        """The schedule of --grow; UserError if it is none."""
        last = self.num_levels(data) - 1
        if not self.grow:
            if self.fade_steps:
                problem = f'fade_steps={self.fade_steps} without a schedule in which layers fade in'
                raise UserError(problem, 'add --grow, or leave --fade_steps out')
            return Growth(last)
        given = f'grow={self.grow}'
        if not re.fullmatch(r'\d{1,6}:\d{1,9}(,\d{1,6}:\d{1,9})*', self.grow):
            raise UserError(f'{given} is no schedule', 'write WIDTH:STEP,..., e.g. 8:2000,16:4000')
        pairs = [[int(number) for number in pair.split(':')] for pair in self.grow.split(',')]
        sizes, begins = zip(*pairs, strict=True)
        all_sizes = [self.base_size << level for level in range(last + 1)]
        if list(sizes) not in (all_sizes[level:] for level in range(1, last + 1)):
            least = min(max(1, len(all_sizes) - len(sizes)), last)
            example = ','.join(
                f'{size}:{2000 * (i + 1)}' for i, size in enumerate(all_sizes[least:])
            )
            problem = f'{given}: the widths do not double up to crop_size={data.crop_size}'
            raise UserError(problem, f'use --grow={example}' if last else 'leave --grow out')
        steps = [0, *begins]
        lengths = [later - earlier for earlier, later in itertools.pairwise(steps)]
        if min(lengths) < 1:
            problem = f'{given}: the steps do not increase from 1 on'
            raise UserError(problem, f'write later steps, e.g. {sizes[0]}:2000')
        lengths = [*lengths[1:], lengths[-1]]  # Of the phases that begin there.
        if self.fade_steps > min(lengths):
            problem = f'fade_steps={self.fade_steps} is longer than a phase of {given}'
            raise UserError(problem, f'use {min(lengths)} or less')
        fades = tuple(self.fade_steps or max(1, length // 2) for length in lengths)
        return Growth(last - len(sizes), begins, fades)
