"""pix2pix: networks, condition, losses and sampling (Isola et al. 2017)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.model_options import BATCH_NORMS
from spade_jax.layers.dropout import LATENT_DIM
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
from spade_jax.models.patch_discriminator import PatchDiscriminator
from spade_jax.models.pix2pix.options import PATCHES, Pix2PixOptions
from spade_jax.models.pix2pix.pixel_discriminator import PixelDiscriminator
from spade_jax.models.pix2pix.resnet import ResNet
from spade_jax.models.pix2pix.unet import UNet
from spade_jax.models.semantic_layout import condition_of
from spade_jax.random_streams import Stream


class Pix2Pix(Model):
    """The implementation of `Model`; networks 'generator' and 'discriminator'."""

    sampling_networks = ('generator',)

    def __init__(self, config: Config, axis_name: str | None = None, *, portable: bool = False):
        del portable
        assert isinstance(config.model, Pix2PixOptions)
        self.config, self.options, self.axis_name = config, config.model, axis_name
        self.dtype = jnp.dtype(config.optimizer.compute_dtype)
        self.networks = {
            'generator': self._generator(axis_name),
            'discriminator': self._discriminator(),
        }
        self._evaluates_per_image = (
            self.options.pix2pix_statistics == 'image' and self.options.pix2pix_norm in BATCH_NORMS
        )
        self.latent_dim = LATENT_DIM if self.options.pix2pix_dropout else None
        slow, fast = config.optimizer.time_scales
        everything, discriminator = tuple(self.networks), ('discriminator',)
        self.updates = (
            Update('discriminator', discriminator, self._discriminator_loss, everything, fast),
            Update('generator', ('generator',), self._generator_loss, everything, slow),
        )

    def _generator(self, axis_name: str | None) -> nn.Module:
        options = self.options
        shared: dict[str, Any] = dict(
            width=options.generator_width,
            norm=options.pix2pix_norm,
            axis_name=axis_name,
            dtype=self.dtype,
        )
        if options.pix2pix_generator == 'unet':
            return UNet(depth=options.pix2pix_depth, **shared)
        use_bias, blocks = options.pix2pix_norm == 'instance', options.pix2pix_blocks
        return ResNet(num_downsamplings=2, num_blocks=blocks, use_bias=use_bias, **shared)

    def _discriminator(self) -> nn.Module:
        options = self.options
        shared: dict[str, Any] = dict(
            width=options.discriminator_width,
            norm=options.pix2pix_norm,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        if options.pix2pix_patch == '1':
            return PixelDiscriminator(**shared)
        return PatchDiscriminator(
            depth=PATCHES[options.pix2pix_patch] + 1,
            spectral_norm=False,
            use_bias=options.pix2pix_norm == 'instance',
            padding=1,
            max_features=8 * options.discriminator_width,
            **shared,
        )

    def example_inputs(self) -> dict[str, tuple[jax.ShapeDtypeStruct | None, ...]]:
        """Shapes of one condition, latent and image."""
        data = self.config.data
        size = data.image_height, data.image_width
        condition, image = one_example(*size, data.layout_channels), one_example(*size, 3)
        latent = None if self.latent_dim is None else one_example(self.latent_dim)
        return {'generator': (condition, latent), 'discriminator': (condition, image)}

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
        if latent is not None:  # A prepared map has one condition for all latents.
            condition = jnp.broadcast_to(condition, (latent.shape[0], *condition.shape[1:]))
        if self._evaluates_per_image and not train:
            return self._sample_alone(variables['generator'], condition, latent), {}
        generator, inputs = self.networks['generator'], (variables['generator'], condition, latent)
        image, updated = generator.apply(*inputs, train=train, mutable=list(mutable))
        return image, dict(updated)

    @functools.partial(jax.vmap, in_axes=(None, None, 0, 0))
    def _sample_alone(
        self, generator: Variables, condition: jax.Array, latent: jax.Array | None
    ) -> jax.Array:
        """Images normalized by their own statistics: in training mode, in batches of one."""
        latent = None if latent is None else latent[None]
        network = self._generator(None)
        return network.apply(generator, condition[None], latent, train=True, mutable=[])[0][0]

    def _discriminator_loss(
        self, variables: Networks, batch: Batch, noise: Noise, _: Any
    ) -> LossOutput:
        """Half of the adversarial terms of fake and real images, each a batch of its own."""
        condition, real = self.condition(batch.label, batch.instance), to_signed(batch.image)
        fake, generator = self._generate(variables, condition, noise)
        fake_outputs, updated = self._discriminate(variables['discriminator'], condition, fake)
        discriminator = variables['discriminator'] | updated
        real_outputs, updated = self._discriminate(discriminator, condition, real)
        terms = losses.discriminator_loss(self.config.losses.gan_loss, fake_outputs, real_outputs)
        return LossOutput(
            {name: term / 2 for name, term in terms.items()},
            losses.logit_metrics(fake_outputs, real_outputs),
            {'generator': generator, 'discriminator': updated},
        )

    def _generator_loss(
        self, variables: Networks, batch: Batch, noise: Noise, _: Any
    ) -> LossOutput:
        """Adversarial term and L1 (section 3.1) of the fake that the discriminator just saw.

        Its parameters and its noise are the same, so the compiler may compute it once. The running
        statistics have followed it already.
        """
        condition, real = self.condition(batch.label, batch.instance), to_signed(batch.image)
        fake, _ = self._generate(variables, condition, noise)
        outputs, updated = self._discriminate(variables['discriminator'], condition, fake)
        terms = {'gan': losses.generator_loss(self.config.losses.gan_loss, outputs)}
        if self.options.l1_weight:
            l1 = losses.mean_absolute_difference(fake, real)
            terms['l1'] = self.options.l1_weight * l1
        return LossOutput(terms, {}, {'discriminator': updated})

    def _generate(
        self, variables: Networks, condition: jax.Array, noise: Noise
    ) -> tuple[jax.Array, Variables]:
        """The fake images of a step, [B, H, W, 3], and the updated statistics."""
        latent = None
        if self.latent_dim is not None:
            latent = noise(Stream.STYLE_IN_GENERATOR_UPDATE, self.latent_dim)
        return train_forward(self.networks['generator'], variables['generator'], condition, latent)

    def _discriminate(
        self, variables: Variables, condition: jax.Array, image: jax.Array
    ) -> tuple[list[losses.ScaleOutput], Variables]:
        network = self.networks['discriminator']
        output, updated = train_forward(network, variables, condition, image)
        return [output], updated
