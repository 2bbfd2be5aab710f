"""The options of pix2pixHD. This module imports no JAX: the flags are generated from it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from spade_jax.config.config import Config
from spade_jax.config.model_options import BATCH_NORMS, FeatureTable, ModelOptions
from spade_jax.config.option import option
from spade_jax.errors import UserError

NORMS = ('instance', *BATCH_NORMS)


@dataclasses.dataclass(frozen=True)
class Pix2PixHDOptions(ModelOptions):
    """Generators, feature encoder and discriminators of Wang et al. 2018."""

    name: ClassVar[str] = 'pix2pixhd'
    defaults: ClassVar[Mapping[str, Any]] = dict(
        gan_loss='least_squares',
        batch_size=1,
        constant_epochs=100,
        decay_epochs=100,
        ttur=False,
        initialization='normal',
        init_biases='uniform',
    )
    unused: ClassVar[tuple[str, ...]] = ('discriminator_steps',)

    generator_width: int = option(
        64, 'Channels of the generator at full resolution.', at_least=1, at_most=1024
    )
    num_enhancers: int = option(
        0,
        'Local enhancers around the global generator, each at twice the resolution of the '
        'previous one. The published model for 2048x1024 has 1, with generator_width=32.',
        at_least=0,
        at_most=4,
    )
    generator_downsamplings: int = option(
        4, 'Halvings of the resolution in the global generator.', at_least=1, at_most=8
    )
    generator_blocks: int = option(
        9,
        'Residual blocks of the generator (of pix2pixHD: of the global one).',
        at_least=0,
        at_most=64,
    )
    enhancer_blocks: int = option(3, 'Residual blocks of an enhancer.', at_least=0, at_most=64)
    generator_norm: str = option('instance', 'Normalization of the generator.', choices=NORMS)
    frozen_epochs: int = option(
        0,
        'Epochs in which only the last enhancer (and the encoder) is trained; then everything is, '
        'with a fresh optimizer.',
        at_least=0,
        at_most=10**6,
    )

    instance_features: bool = option(
        False,
        'Train a feature encoder: the style of each instance is the mean of the features of its '
        'pixels. Needs label maps.',
    )
    feature_dim: int = option(
        3, 'Features of a pixel that the encoder makes.', at_least=1, at_most=256
    )
    feature_regions: str = option(
        'instances',
        'Where features are averaged: over instances (--condition=labels+edges) or over all '
        'pixels of a class.',
        choices=('instances', 'labels'),
    )
    feature_clusters: int = option(
        10,
        'Clusters of the features of each class, from which random styles are chosen.',
        at_least=1,
        at_most=1000,
    )
    encoder_width: int = option(
        16, "Channels of the encoder's first convolution.", at_least=1, at_most=1024
    )
    encoder_downsamplings: int = option(
        4, 'Halvings of the resolution in the feature encoder.', at_least=1, at_most=8
    )
    encoder_norm: str = option('instance', 'Normalization of the encoder.', choices=NORMS)

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
        choices=(*NORMS, 'none'),
    )
    image_pool_size: int = option(
        0,
        'Earlier fake images, with their conditions, of which the discriminator sees one instead '
        'of the new one half of the time. 0: only new ones, as published.',
        at_least=0,
        at_most=1000,
    )

    def check(self, config: Config) -> None:
        data, optimizer, frozen = config.data, config.optimizer, self.frozen_epochs
        multiple = self.size_multiple
        if min(data.image_width, data.image_height) < 2 * multiple:
            found = f'crop_size={data.crop_size} gives images of '
            problem = f'{found}{data.image_width}x{data.image_height}, of which a single pixel is '
            problem += f'left after {self.size_reason}'
            raise UserError(problem, f'use sides of {2 * multiple} or more')
        if frozen and not self.num_enhancers:
            problem = f'frozen_epochs={frozen} freezes the global generator, but there is no other'
            raise UserError(problem, 'add --num_enhancers=1, or leave --frozen_epochs out')
        if frozen > optimizer.constant_epochs:
            problem = f'frozen_epochs={frozen} is more than constant_epochs='
            problem += f'{optimizer.constant_epochs}: the fresh optimizer starts at the full rate'
            raise UserError(problem, f'use at most {optimizer.constant_epochs}')
        if self.image_pool_size and optimizer.accumulation_steps > 1:
            problem = f'image_pool_size={self.image_pool_size} with accumulation_steps='
            problem += f'{optimizer.accumulation_steps}: microbatches do not share a pool'
            raise UserError(problem, 'use --accumulation_steps=1 or --image_pool_size=0')
        if self.instance_features:
            self._check_regions(config)

    def _check_regions(self, config: Config) -> None:
        if not config.data.uses_labels:
            problem = f'instance_features with condition={config.data.condition}, which has no '
            raise UserError(f'{problem}classes', 'use label maps, or --noinstance_features')
        if self.feature_regions == 'instances' and not config.data.instance_edges:
            problem = f'feature_regions=instances with condition={config.data.condition}, which '
            remedy = 'use --condition=labels+edges or --feature_regions=labels'
            raise UserError(f'{problem}reads no instance maps', remedy)

    def for_cpu(self) -> Sequence[Mapping[str, Any]]:
        generator = dict(generator_width=16), dict(generator_blocks=3), dict(batch_size=1)
        return [*generator, dict(discriminator_width=16), dict(discriminator_depth=3)]

    @property
    def size_multiple(self) -> int:
        encoder = self.encoder_downsamplings if self.instance_features else 0
        return 2 ** max(self.generator_downsamplings + self.num_enhancers, encoder)

    @property
    def size_reason(self) -> str:
        return f'{self.size_multiple.bit_length() - 1} halvings of the resolution'

    @property
    def has_latent(self) -> bool:
        return self.instance_features

    @property
    def can_encode(self) -> bool:
        return self.instance_features

    @property
    def feature_table(self) -> FeatureTable | None:
        if not self.instance_features:
            return None
        by_instance = self.feature_regions == 'instances'
        return FeatureTable(self.feature_dim, self.feature_clusters, by_instance)
