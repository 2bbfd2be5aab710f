"""The options of the pix2pix model. This module imports no JAX: the flags are generated from it."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from spade_jax.config.config import Config
from spade_jax.config.model_options import BATCH_NORMS, ModelOptions
from spade_jax.config.option import option
from spade_jax.errors import UserError

# Receptive field of a discriminator in pixels -> its convolutions of stride 2.
PATCHES = {'1': 0, '16': 1, '34': 2, '70': 3, '142': 4, '286': 5}
_SMALLEST_RESNET = 8  # Pixels: reflection needs two at a quarter of the size.


@dataclasses.dataclass(frozen=True)
class Pix2PixOptions(ModelOptions):
    """Generator and discriminator of Isola et al. 2017, and of their PyTorch code."""

    name: ClassVar[str] = 'pix2pix'
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        dict(
            gan_loss='cross_entropy',
            feature_matching_weight=0.0,
            perceptual_weight=0.0,
            batch_size=1,
            constant_epochs=100,
            decay_epochs=100,
            lr_decay='early',
            learning_rate=2e-4,
            ttur=False,  # Adam's betas are then 0.5 and 0.999.
            initialization='normal',
        )
    )
    unused: ClassVar[tuple[str, ...]] = (
        *('feature_matching_weight', 'perceptual_weight', 'perceptual_network'),
        *('perceptual_input', 'vgg19_weights'),
    )

    pix2pix_generator: str = option(
        'unet',
        'unet: halves the condition --pix2pix_depth times. resnet: halves it twice, then has '
        '--pix2pix_blocks residual blocks.',
        choices=('unet', 'resnet'),
    )
    pix2pix_depth: int = option(
        8, 'unet: number of halvings; 7 for images of 128 pixels.', at_least=5, at_most=12
    )
    pix2pix_blocks: int = option(
        9, 'resnet: number of residual blocks; 6 for 128 pixels.', at_least=1, at_most=64
    )
    generator_width: int = option(
        64, 'Channels of the convolutions at full size.', at_least=1, at_most=1024
    )
    pix2pix_norm: str = option(
        'sync_batch',
        'Normalization of both networks. sync_batch: over all devices; batch: over each device.',
        choices=(*BATCH_NORMS, 'instance', 'none'),
    )
    pix2pix_dropout: bool = option(
        True, 'Use dropout, the noise of pix2pix: at sampling too, where --seed sets it.'
    )
    pix2pix_statistics: str = option(
        'image',
        'Batch normalization at sampling. image: by the statistics of each image, as the '
        'published test does. running: by those of the training (its option --eval).',
        choices=('image', 'running'),
    )
    pix2pix_patch: str = option(
        '70',
        'Receptive field of the discriminator in pixels: that of an output. 1: each pixel alone.',
        choices=tuple(PATCHES),
    )
    discriminator_width: int = option(
        64, "Channels of the discriminator's first convolution.", at_least=1, at_most=1024
    )
    l1_weight: float = option(
        100.0, 'Weight of the mean absolute difference to the real image.', at_least=0
    )

    def check(self, config: Config) -> None:
        side = min(config.data.image_width, config.data.image_height)
        if self.pix2pix_generator == 'resnet' and side < _SMALLEST_RESNET:
            problem = f'images of {side} pixels are too small for pix2pix_generator=resnet'
            raise UserError(problem, f'use {_SMALLEST_RESNET} or more')
        fitting = [patch for patch, number in PATCHES.items() if side >> number >= 3 or not number]
        if self.pix2pix_patch not in fitting:
            problem = f'pix2pix_patch={self.pix2pix_patch}: images of {side} pixels leave no output'
            needed = 3 << PATCHES[self.pix2pix_patch]
            remedy = f'use --pix2pix_patch={fitting[-1]}, or images of {needed} pixels or more'
            raise UserError(problem, remedy)

    def for_cpu(self) -> Sequence[Mapping[str, Any]]:
        return [dict(generator_width=16), dict(discriminator_width=16)]

    @property
    def size_multiple(self) -> int:
        return 2**self.num_halvings

    @property
    def size_reason(self) -> str:
        flag = ' of --pix2pix_depth' if self.pix2pix_generator == 'unet' else ''
        return f'{self.num_halvings} halvings{flag}'

    @property
    def has_latent(self) -> bool:
        return self.pix2pix_dropout

    @property
    def num_halvings(self) -> int:
        """How often the generator halves the size of the condition."""
        return self.pix2pix_depth if self.pix2pix_generator == 'unet' else 2
