"""pix2pixHD: networks, condition, losses and sampling (Wang et al. 2018)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.distributed import replicas
from spade_jax.models import losses
from spade_jax.models.model import (
    LossOutput,
    Model,
    Networks,
    Noise,
    Update,
    Variables,
    one_example,
    to_signed,
    train_forward,
)
from spade_jax.models.patch_discriminator import MultiscaleDiscriminator, PatchDiscriminator
from spade_jax.models.perceptual import PerceptualTerm
from spade_jax.models.pix2pixhd.encoder import FeatureEncoder
from spade_jax.models.pix2pixhd.generator import CoarseToFineGenerator
from spade_jax.models.pix2pixhd.image_pool import ImagePool
from spade_jax.models.pix2pixhd.options import Pix2PixHDOptions
from spade_jax.models.semantic_layout import condition_of
from spade_jax.random_streams import Stream

Pair = tuple[jax.Array, jax.Array]  # Condition [B, H, W, S] and image [B, H, W, 3].


class Pix2PixHD(Model):
    """The implementation of `Model`; networks 'generator', 'discriminator', maybe 'encoder'.

    With an image pool there is the network 'image_pool', which has no parameters.
    """

    def __init__(self, config: Config, axis_name: str | None = None, *, portable: bool = False):
        assert isinstance(config.model, Pix2PixHDOptions)
        self.config, self.options, self.axis_name = config, config.model, axis_name
        self.dtype = jnp.dtype(config.optimizer.compute_dtype)
        self.networks = self._build_networks()
        self.perceptual = PerceptualTerm(config.losses, self.dtype)
        can_encode = self.options.can_encode
        self.sampling_networks = ('generator', 'encoder') if can_encode else ('generator',)
        classes = config.data.label_channels if can_encode else 0
        self.latent_dim = classes * self.options.feature_dim or None
        self.updates = self._updates()
        frozen = ['global', *(f'enhancer_{i}' for i in range(1, self.options.num_enhancers))]
        paths = tuple(f'generator/{name}' for name in frozen)
        first = dataclasses.replace(self.updates[0], frozen=paths)
        self._first_updates = (first, *self.updates[1:])

    def _updates(self) -> tuple[Update, ...]:
        slow, fast = self.config.optimizer.time_scales
        names, discriminator = tuple(self.networks), ('discriminator',)
        generator = Update(
            player='generator',
            networks=self.sampling_networks,
            loss=self._generator_loss,
            runs=names,
            time_scale=slow,
            restart_epoch=self.options.frozen_epochs,
        )
        loss = self._discriminator_loss
        simultaneous = Update('discriminator', discriminator, loss, (), fast, simultaneous=True)
        return generator, simultaneous

    def _build_networks(self) -> dict[str, nn.Module]:
        options = self.options
        shared: dict[str, Any] = dict(axis_name=self.axis_name, dtype=self.dtype)
        patch_discriminator = functools.partial(
            PatchDiscriminator,
            width=options.discriminator_width,
            depth=options.discriminator_depth,
            norm=options.discriminator_norm,
            spectral_norm=False,
            use_bias=True,
            **shared,
        )
        networks: dict[str, nn.Module] = {
            'generator': CoarseToFineGenerator(
                width=options.generator_width,
                num_enhancers=options.num_enhancers,
                num_downsamplings=options.generator_downsamplings,
                num_blocks=options.generator_blocks,
                enhancer_blocks=options.enhancer_blocks,
                norm=options.generator_norm,
                **shared,
            ),
            'discriminator': MultiscaleDiscriminator(
                patch_discriminator, options.num_discriminators, self.dtype, coarse_first=True
            ),
        }
        if options.instance_features:
            networks['encoder'] = FeatureEncoder(
                width=options.encoder_width,
                num_downsamplings=options.encoder_downsamplings,
                features=options.feature_dim,
                norm=options.encoder_norm,
                **shared,
            )
        if options.image_pool_size:
            networks['image_pool'] = ImagePool(options.image_pool_size)
        return networks

    def updates_at(self, step: int, epoch: int) -> tuple[Update, ...]:
        """In the first epochs, only the last enhancer and the encoder are trained."""
        del step
        return self._first_updates if epoch < self.options.frozen_epochs else self.updates

    def example_inputs(self) -> dict[str, tuple[jax.ShapeDtypeStruct | None, ...]]:
        """Shapes of one condition with its features, image, map of regions, pair and noise."""
        data = self.config.data
        size, layout = (data.image_height, data.image_width), data.layout_channels
        features = self.options.feature_dim if self.options.can_encode else 0
        condition, with_features, image, pair = (
            one_example(*size, channels) for channels in (layout, layout + features, 3, layout + 3)
        )
        inputs = dict(
            generator=(with_features,),
            discriminator=(condition, image),
            encoder=(image, jax.ShapeDtypeStruct((1, *size), jnp.int32)),
            image_pool=(pair, one_example(2)),
        )
        return {name: inputs[name] for name in self.networks}

    def abstract_constants(self) -> dict[str, Variables]:
        return self.perceptual.abstract_constants()

    def load_constants(self) -> dict[str, Variables]:
        return self.perceptual.load_constants()

    def condition(self, label: jax.Array, instance: jax.Array | None = None) -> jax.Array:
        return condition_of(self.config.data, label, instance)

    def sample(
        self,
        variables: Networks,
        condition: jax.Array,
        latent: jax.Array | None = None,
        *,
        train: bool = False,
        mutable: tuple[str, ...] = (),
    ) -> tuple[jax.Array, Variables]:
        """See `Model.sample`; a latent is a table [classes, feature_dim], flattened."""
        if latent is not None:
            classes = self.config.data.label_channels
            table = latent.reshape(-1, 1, classes, self.options.feature_dim)
            features = condition[..., :classes] @ table  # [B, H, W, feature_dim]
            # A prepared condition is one for several latents.
            shape = *features.shape[:3], condition.shape[-1]
            condition = jnp.broadcast_to(condition, shape)
            condition = jnp.concatenate([condition, features], axis=-1)
        generator: Any = self.networks['generator']
        options: dict[str, Any] = dict(train=train, mutable=list(mutable))
        return generator.apply(variables['generator'], condition, **options)

    def encode(
        self,
        variables: Networks,
        image: jax.Array,
        label: jax.Array | None = None,
        instance: jax.Array | None = None,
    ) -> jax.Array:
        """The mean features of each class in the image; 0 of those that are not there."""
        assert label is not None
        features = self.features(variables, image, label, instance)
        one_hot = self.condition(label, instance)[..., : self.config.data.label_channels]
        sums = jnp.einsum('bhwc,bhwf->bcf', one_hot, features)
        table = sums / jnp.maximum(jnp.sum(one_hot, axis=(1, 2)), 1)[..., None]
        return table.reshape(-1, self.latent_dim or 0)

    def features(
        self,
        variables: Networks,
        image: jax.Array,
        label: jax.Array,
        instance: jax.Array | None = None,
    ) -> jax.Array:
        """The features of images [B, H, W, 3] in [-1, 1], [B, H, W, feature_dim]."""
        encoder: Any = self.networks['encoder']
        regions = self._regions(label, instance)
        return encoder.apply(variables['encoder'], image, regions, train=False)

    def _regions(self, label: jax.Array, instance: jax.Array | None) -> jax.Array:
        by_instance = self.options.feature_regions == 'instances'
        regions = instance if by_instance else label
        assert regions is not None
        return jnp.asarray(regions, jnp.int32)

    def _generator_loss(
        self, variables: Networks, batch: Batch, noise: Noise, _: Any
    ) -> LossOutput:
        """Adversarial, feature matching and perceptual terms (sections 3.2 and 3.3).

        Unlike the published code, which adds the adversarial losses of the scales, SPADE averages
        them.
        """
        weights, options = self.config.losses, self.options
        condition, real = self.condition(batch.label, batch.instance), to_signed(batch.image)
        fake, updated = self._generate(variables, batch, condition, real)
        judged, pool = self._exchange(variables, (condition, jax.lax.stop_gradient(fake)), noise)
        updated |= pool
        # Each pass updates the statistics of batch norms, in this order.
        passes = [judged, (condition, real), (condition, fake)]
        discriminator, outputs = variables['discriminator'], []
        for pair in passes if 'batch_stats' in discriminator else passes[1:]:
            output, statistics = train_forward(self.networks['discriminator'], discriminator, *pair)
            discriminator, outputs = discriminator | statistics, [*outputs, output]
            updated['discriminator'] = statistics
        real_outputs, fake_outputs = outputs[-2:]
        gan = losses.generator_loss(weights.gan_loss, fake_outputs)
        terms = {'gan': options.num_discriminators * gan}
        if weights.feature_matching_weight:
            # Published for 4 hidden layers; with others, their sum has the weight of 4.
            weight = weights.feature_matching_weight * 4 / options.discriminator_depth
            terms['feature_matching'] = weight * losses.feature_matching(fake_outputs, real_outputs)
        terms |= self.perceptual(variables, fake, real)
        is_whole = self.config.optimizer.accumulation_steps == 1
        return LossOutput(terms, {}, updated, judged if is_whole else None)

    def _discriminator_loss(
        self, variables: Networks, batch: Batch, noise: Noise, judged: Pair | None
    ) -> LossOutput:
        """Half of the adversarial terms of fake and real images, added over the scales.

        Args:
          variables: Before the step: the loss is that of the forward pass of the generator update.
          batch: As there.
          noise: Not used.
          judged: The fake images of that update; None: they are computed again.
        """
        del noise
        condition, real = self.condition(batch.label, batch.instance), to_signed(batch.image)
        if judged is None:
            fake, _ = self._generate(variables, batch, condition, real)
            judged = condition, jax.lax.stop_gradient(fake)
        args = self.networks['discriminator'], variables['discriminator']
        outputs = [train_forward(*args, *pair)[0] for pair in (judged, (condition, real))]
        terms = losses.discriminator_loss(self.config.losses.gan_loss, *outputs)
        scale = 0.5 * self.options.num_discriminators
        terms = {name: scale * term for name, term in terms.items()}
        return LossOutput(terms, losses.logit_metrics(*outputs), {})

    def _generate(
        self, variables: Networks, batch: Batch, condition: jax.Array, real: jax.Array
    ) -> tuple[jax.Array, dict[str, Variables]]:
        """Fake images [B, H, W, 3] and the updated collections."""
        updated = {}
        if self.options.can_encode:
            encoder, regions = self.networks['encoder'], self._regions(batch.label, batch.instance)
            inputs = variables['encoder'], real, regions
            features, updated['encoder'] = train_forward(encoder, *inputs)
            condition = jnp.concatenate([condition, features], axis=-1)
        generator = self.networks['generator']
        fake, updated['generator'] = train_forward(generator, variables['generator'], condition)
        return fake, updated

    def _exchange(
        self, variables: Networks, pair: Pair, noise: Noise
    ) -> tuple[Pair, dict[str, Variables]]:
        """The pairs that the discriminator judges as fake, and the updated image pool.

        All replicas have the same pool and query it with the global batch.
        """
        if 'image_pool' not in self.networks:
            return pair, {}
        local = jnp.concatenate(pair, axis=-1), noise(Stream.IMAGE_POOL, 2)
        pairs, updated = self.networks['image_pool'].apply(
            variables['image_pool'],
            *replicas.all_gather(local, self.axis_name),
            train=True,
            mutable=['image_pool'],
        )
        pairs = replicas.local_examples(pairs, self.axis_name)
        condition, fake = jnp.split(pairs, [pair[0].shape[-1]], axis=-1)
        return (condition, fake), {'image_pool': dict(updated)}
