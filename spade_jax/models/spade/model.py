"""SPADE: networks, condition, losses and sampling (Park et al. 2019)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.layers.cpu.fast_modulation import CACHE, FastModulation
from spade_jax.models import losses
from spade_jax.models.model import LossOutput, Noise, Update, Variables, to_signed, train_forward
from spade_jax.models.semantic_layout import semantic_layout
from spade_jax.models.spade.discriminator import MultiscaleDiscriminator
from spade_jax.models.spade.encoder import StyleEncoder, sample_style
from spade_jax.models.spade.generator import SpadeGenerator
from spade_jax.models.spade.options import SpadeOptions
from spade_jax.models.vgg19 import Vgg19, load_vgg19
from spade_jax.random_streams import Stream


class Spade:
    """The implementation of `Model`; networks 'generator', 'discriminator' and maybe 'encoder'."""

    def __init__(self, config: Config, axis_name: str | None = None, *, portable: bool = False):
        assert isinstance(config.model, SpadeOptions)
        self.config, self.options, self.axis_name = config, config.model, axis_name
        self._portable = portable
        self._dtype = jnp.dtype(config.optimizer.compute_dtype)
        self.networks = self._build_networks()
        self.perceptual_network = Vgg19(dtype=self._dtype)
        self.sampling_networks = ('generator', 'encoder')[: 1 + self.options.style_encoder]
        self.latent_dim = self.options.latent_dim
        self.can_encode = self.size_is_fixed = self.options.style_encoder
        slow, fast = (0.5, 2.0) if config.optimizer.ttur else (1.0, 1.0)
        everything = tuple(self.networks)
        reused = self.options.reuse_fakes
        self.updates = (
            Update('generator', self.sampling_networks, self._generator_loss, everything, slow),
            Update(
                'discriminator',
                ('discriminator',),
                self._discriminator_loss,
                ('discriminator',) if reused else everything,
                fast,
            ),
        )

    def _build_networks(self) -> dict[str, nn.Module]:
        options, data = self.options, self.config.data
        networks: dict[str, nn.Module] = {
            'generator': self._generator(dedup=self._use_dedup()),
            'discriminator': MultiscaleDiscriminator(
                num_scales=options.num_discriminators,
                width=options.discriminator_width,
                depth=options.discriminator_depth,
                norm=options.discriminator_norm,
                spectral_norm=options.discriminator_spectral_norm,
                axis_name=self.axis_name,
                dtype=self._dtype,
            ),
        }
        if options.style_encoder:
            networks['encoder'] = StyleEncoder(
                width=options.encoder_width,
                style_dim=options.style_dim,
                depth=options.encoder_depth(data),
                input_size=options.encoder_input_size,
                norm=options.encoder_norm,
                axis_name=self.axis_name,
                dtype=self._dtype,
            )
        return networks

    def _generator(self, dedup: bool) -> SpadeGenerator:
        options = self.options
        return SpadeGenerator(
            width=options.generator_width,
            multipliers=options.width_multipliers,
            num_upsamplings=options.num_upsamplings,
            style_dim=options.latent_dim,
            norm=options.generator_norm,
            spade_hidden=options.spade_hidden,
            spade_kernel_size=options.spade_kernel_size,
            spectral_norm=options.generator_spectral_norm,
            rematerialize=options.rematerialize,
            modulation=FastModulation(dedup=dedup),
            axis_name=self.axis_name,
            dtype=self._dtype,
        )

    def _use_dedup(self) -> bool:
        """True if the layout is convolved once for each distinct patch.

        On accelerators the dense convolution is faster than the lookup of patches.
        """
        wanted = self.options.label_conv == 'dedup'
        if self.options.label_conv == 'auto':
            wanted = jax.default_backend() == 'cpu'
        return wanted and self.options.supports_dedup(self.config.data)

    def updates_at(self, step: int, epoch: int) -> tuple[Update, ...]:
        """The generator is updated in every `discriminator_steps`-th step only."""
        del epoch
        due = step % self.config.optimizer.discriminator_steps == 0
        return self.updates if due else self.updates[1:]

    def example_inputs(self) -> dict[str, tuple[jax.ShapeDtypeStruct | None, ...]]:
        """Shapes of one layout, style latent and image."""
        data = self.config.data
        height, width = data.image_height, data.image_width
        layout = _float_array(1, height, width, data.layout_channels)
        image = _float_array(1, height, width, 3)
        style = None if self.latent_dim is None else _float_array(1, self.latent_dim)
        inputs = {
            'generator': (layout, style),
            'discriminator': (layout, image),
            'encoder': (image,),
        }
        return {name: inputs[name] for name in self.networks}

    def abstract_constants(self) -> dict[str, Variables]:
        """Shapes of VGG19 if its loss has a weight."""
        if not self.config.losses.perceptual_weight:
            return {}
        _, image = self.example_inputs()['discriminator']
        return {'vgg19': jax.eval_shape(self.perceptual_network.init, jax.random.key(0), image)}

    def load_constants(self) -> dict[str, Variables]:
        """VGG19 from `vgg19_weights` if its loss has a weight."""
        if not self.config.losses.perceptual_weight:
            return {}
        return {'vgg19': load_vgg19(self.config.losses.vgg19_weights)}

    def condition(self, label: jax.Array, instance: jax.Array | None = None) -> jax.Array:
        """One-hot classes and instance edges; or an RGB image in [-1, 1]."""
        data = self.config.data
        if not data.uses_labels:
            return to_signed(label)
        instance = instance if data.instance_edges else None
        return semantic_layout(
            label, instance, num_classes=data.num_classes, dontcare=data.dontcare
        )

    def sample(
        self,
        variables: Mapping[str, Variables],
        condition: jax.Array,
        latent: jax.Array | None = None,
        *,
        train: bool = False,
        mutable: tuple[str, ...] = (),
    ) -> tuple[jax.Array, Variables]:
        """See `Model.sample`."""

        def apply(generator, variables, condition, latent) -> Any:
            return generator.apply(variables, condition, latent, train=train, mutable=list(mutable))

        arguments = (variables['generator'], condition, latent)
        may_dedup = self.options.supports_dedup(self.config.data)
        if self._portable and self.options.label_conv == 'auto' and may_dedup:
            return jax.lax.platform_dependent(
                *arguments,
                cpu=functools.partial(apply, self._generator(dedup=True)),
                default=functools.partial(apply, self._generator(dedup=False)),
            )
        return apply(self.networks['generator'], *arguments)

    def encode(self, variables: Mapping[str, Variables], image: jax.Array) -> jax.Array:
        """The mean of the style latent."""
        mean, _ = self.networks['encoder'].apply(variables['encoder'], image, train=False)
        return mean

    def prepare(self, variables: Mapping[str, Variables], condition: jax.Array) -> Variables:
        """Gamma and beta of every SPADE layer, which depend on the layout alone."""
        latent = None if self.latent_dim is None else jnp.zeros((1, self.latent_dim))
        return self.sample(variables, condition, latent, mutable=(CACHE,))[1]

    def _generator_loss(
        self, variables: Mapping[str, Variables], batch: Batch, noise: Noise, reused: Any
    ) -> LossOutput:
        """Adversarial, feature matching, perceptual and KL terms (section 3.3 and appendix A)."""
        del reused
        weights = self.config.losses
        layout = self.condition(batch.label, batch.instance)
        real = to_signed(batch.image)
        stream = Stream.STYLE_IN_GENERATOR_UPDATE
        fake, kl, updated = self._generate(variables, layout, real, noise, stream)
        fake_outputs, real_outputs, updated_discriminator = self._discriminate(
            variables['discriminator'], layout, fake, real, real_is_constant=True
        )
        terms = {'gan': losses.generator_loss(weights.gan_loss, fake_outputs)}
        if weights.feature_matching_weight:
            feature_matching = losses.feature_matching(fake_outputs, real_outputs)
            terms['feature_matching'] = weights.feature_matching_weight * feature_matching
        if weights.perceptual_weight:
            vgg19: Any = functools.partial(self.perceptual_network.apply, variables['vgg19'])
            perceptual = losses.perceptual(vgg19, fake, real, input_range=weights.perceptual_input)
            terms['perceptual'] = weights.perceptual_weight * perceptual
        if kl is not None:
            terms['kl'] = self.options.kl_weight * kl
        reusable = fake if self.options.reuse_fakes else None
        return LossOutput(terms, {}, updated | updated_discriminator, reusable)

    def _discriminator_loss(
        self, variables: Mapping[str, Variables], batch: Batch, noise: Noise, reused: Any
    ) -> LossOutput:
        """The adversarial terms of fake and real images; generator and encoder only run.

        `reused` are the fake images of the generator update, if they are reused.
        """
        layout = self.condition(batch.label, batch.instance)
        real = to_signed(batch.image)
        if reused is None:
            stream = Stream.STYLE_IN_DISCRIMINATOR_UPDATE
            fake, _, updated = self._generate(variables, layout, real, noise, stream)
        else:
            fake, updated = jax.lax.stop_gradient(reused), {}
        fake_outputs, real_outputs, updated_discriminator = self._discriminate(
            variables['discriminator'], layout, fake, real
        )
        terms = losses.discriminator_loss(self.config.losses.gan_loss, fake_outputs, real_outputs)
        metrics = {
            'logits_fake': losses.mean_logits(fake_outputs),
            'logits_real': losses.mean_logits(real_outputs),
        }
        return LossOutput(terms, metrics, updated | updated_discriminator)

    def _generate(
        self,
        variables: Mapping[str, Variables],
        layout: jax.Array,
        real: jax.Array,
        noise: Noise,
        stream: Stream,
    ) -> tuple[jax.Array, jax.Array | None, dict[str, Variables]]:
        """Fake images [B, H, W, 3], the KL divergence or None, and the updated collections."""
        style, kl, updated = None, None, {}
        if 'encoder' in self.networks:
            (mean, log_variance), updated['encoder'] = train_forward(
                self.networks['encoder'], variables['encoder'], real
            )
            style = sample_style(mean, log_variance, noise(stream, self.options.style_dim))
            kl = losses.kl_divergence(mean, log_variance)
        fake, updated['generator'] = train_forward(
            self.networks['generator'], variables['generator'], layout, style
        )
        return fake, kl, updated

    def _discriminate(
        self,
        variables: Variables,
        layout: jax.Array,
        fake: jax.Array,
        real: jax.Array,
        *,
        real_is_constant: bool = False,
    ) -> tuple[list[losses.ScaleOutput], list[losses.ScaleOutput], dict[str, Variables]]:
        """Discriminate fake and real images in one batch, so that batch statistics are shared.

        Args:
          variables: Of the discriminator.
          layout: [B, H, W, S].
          fake: [B, H, W, 3].
          real: [B, H, W, 3].
          real_is_constant: True if no gradient flows through the outputs for real images. If each
            image is normalized by itself, they then take a forward pass of their own, which has no
            backward pass.

        Returns:
          Outputs for fake images, for real images, and the updated collections.
        """
        discriminator = self.networks['discriminator']
        if real_is_constant and self.options.discriminator_norm in ('instance', 'none'):
            fake_outputs, updated = train_forward(discriminator, variables, layout, fake)
            real_outputs, _ = train_forward(discriminator, variables, layout, real)
        else:
            both = jnp.concatenate([fake, real])  # [2B, H, W, 3]
            outputs, updated = train_forward(discriminator, variables, layout, both)
            batch = fake.shape[0]
            fake_outputs = jax.tree.map(lambda x: x[:batch], outputs)
            real_outputs = jax.tree.map(lambda x: x[batch:], outputs)
        if real_is_constant:
            real_outputs = jax.lax.stop_gradient(real_outputs)
        return fake_outputs, real_outputs, {'discriminator': updated}


def _float_array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)
