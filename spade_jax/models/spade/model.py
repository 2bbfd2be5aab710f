"""SPADE: networks, condition, losses and sampling (Park et al. 2019)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.layers.cpu.fast_modulation import CACHE, FastModulation
from spade_jax.layers.plain_norm import PlainNorm
from spade_jax.layers.resampling import upsample_bilinear, upsample_nearest
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
from spade_jax.models.semantic_layout import condition_of
from spade_jax.models.spade.encoder import StyleEncoder, sample_style
from spade_jax.models.spade.encoder_decoder import EncoderDecoder
from spade_jax.models.spade.generator import SpadeGenerator
from spade_jax.models.spade.options import SpadeOptions
from spade_jax.random_streams import Stream

Outputs = list[losses.ScaleOutput]

UPSAMPLE = {'nearest': upsample_nearest, 'bilinear': upsample_bilinear}


class Spade(Model):
    """The implementation of `Model`; networks 'generator', 'discriminator' and maybe 'encoder'."""

    def __init__(self, config: Config, axis_name: str | None = None, *, portable: bool = False):
        assert isinstance(config.model, SpadeOptions)
        self.config, self.options, self.axis_name = config, config.model, axis_name
        dtype = jnp.dtype(config.optimizer.compute_dtype)
        self._shared: dict[str, Any] = dict(axis_name=axis_name, dtype=dtype)
        may_choose = self.options.label_conv == 'auto' and self.options.supports_dedup(config.data)
        self._chooses_dedup = portable and may_choose
        self.networks = self._build_networks()
        self.perceptual = PerceptualTerm(config.losses, dtype)
        has_encoder = self.options.style_encoder
        self.sampling_networks = ('generator', 'encoder') if has_encoder else ('generator',)
        self.latent_dim = self.options.latent_dim
        slow, fast = config.optimizer.time_scales
        everything, discriminator = tuple(self.networks), ('discriminator',)
        runs = discriminator if self.options.reuse_fakes else everything
        self.updates = (
            Update('generator', self.sampling_networks, self._generator_loss, everything, slow),
            Update('discriminator', discriminator, self._discriminator_loss, runs, fast),
        )

    def _build_networks(self) -> dict[str, nn.Module]:
        options, data = self.options, self.config.data
        patch_discriminator = functools.partial(
            PatchDiscriminator,
            width=options.discriminator_width,
            depth=options.discriminator_depth,
            norm=options.discriminator_norm,
            spectral_norm=options.discriminator_spectral_norm,
            **self._shared,
        )
        networks: dict[str, nn.Module] = {
            'generator': self._generator(options.use_dedup(data, jax.default_backend())),
            'discriminator': MultiscaleDiscriminator(
                patch_discriminator, options.num_discriminators, self._shared['dtype']
            ),
        }
        if options.style_encoder:
            networks['encoder'] = StyleEncoder(
                width=options.encoder_width,
                style_dim=options.style_dim,
                depth=options.encoder_convolutions(data),
                input_size=options.encoder_input_size,
                norm=options.encoder_norm,
                **self._shared,
            )
        return networks

    def _generator(self, dedup: bool) -> nn.Module:
        options = self.options
        shared: dict[str, Any] = dict(
            width=options.generator_width,
            norm=options.generator_norm,
            spade_hidden=options.spade_hidden,
            spade_kernel_size=options.spade_kernel_size,
            spectral_norm=options.generator_spectral_norm,
            modulation=FastModulation(dedup) if options.has_spade else None,
            **self._shared,
        )
        if options.is_encoder_decoder:
            return EncoderDecoder(
                num_downsamplings=options.generator_downsamplings,
                num_blocks=options.generator_blocks,
                kernel_size=options.residual_kernel_size,
                first_kernel_size=options.first_kernel_size,
                conditioning=options.generator_conditioning,
                **shared,
            )
        plain_norm = functools.partial(
            PlainNorm,
            norm=options.generator_norm,
            concat=options.generator_conditioning == 'concat',
            axis_name=self.axis_name,
        )
        return SpadeGenerator(
            multipliers=options.width_multipliers,
            num_upsamplings=options.num_upsamplings,
            style_dim=options.latent_dim,
            norm_layer=None if options.has_spade else plain_norm,
            rematerialize=options.rematerialize,
            upsample=UPSAMPLE[options.upsampling_method],
            noise_injection=options.noise_injection,
            **shared,
        )

    def example_inputs(self) -> dict[str, tuple[jax.ShapeDtypeStruct | None, ...]]:
        """Shapes of one layout, style latent and image."""
        data = self.config.data
        size = data.image_height, data.image_width
        layout, image = one_example(*size, data.layout_channels), one_example(*size, 3)
        style = None if self.latent_dim is None else one_example(self.latent_dim)
        inputs = dict(generator=(layout, style), discriminator=(layout, image), encoder=(image,))
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
        def apply(generator: nn.Module, *inputs: Any) -> Any:
            return generator.apply(*inputs, train=train, mutable=list(mutable))

        inputs = (variables['generator'], condition, latent)
        if not self._chooses_dedup:
            return apply(self.networks['generator'], *inputs)
        cpu, default = (functools.partial(apply, self._generator(dedup)) for dedup in (True, False))
        return jax.lax.platform_dependent(*inputs, cpu=cpu, default=default)

    def encode(
        self,
        variables: Networks,
        image: jax.Array,
        label: jax.Array | None = None,
        instance: jax.Array | None = None,
    ) -> jax.Array:
        del label, instance
        mean, _ = self.networks['encoder'].apply(variables['encoder'], image, train=False)
        return mean

    def prepare(self, variables: Networks, condition: jax.Array) -> Variables:
        """Gamma and beta of every SPADE layer, which depend on the layout alone."""
        latent = None if self.latent_dim is None else jnp.zeros((1, self.latent_dim))
        return self.sample(variables, condition, latent, mutable=(CACHE,))[1]

    def _generator_loss(
        self, variables: Networks, batch: Batch, noise: Noise, _: Any
    ) -> LossOutput:
        """Adversarial, feature matching, perceptual and KL terms (section 3.3 and appendix A)."""
        weights = self.config.losses
        layout, real = self.condition(batch.label, batch.instance), to_signed(batch.image)
        stream = Stream.STYLE_IN_GENERATOR_UPDATE
        fake, kl, updated = self._generate(variables, layout, real, noise, stream)
        fake_outputs, real_outputs, updated['discriminator'] = self._discriminate(
            variables, layout, fake, real, real_is_constant=True
        )
        terms = {'gan': losses.generator_loss(weights.gan_loss, fake_outputs)}
        if weights.feature_matching_weight:
            feature_matching = losses.feature_matching(fake_outputs, real_outputs)
            terms['feature_matching'] = weights.feature_matching_weight * feature_matching
        terms |= self.perceptual(variables, fake, real)
        if kl is not None:
            terms['kl'] = self.options.kl_weight * kl
        return LossOutput(terms, {}, updated, fake if self.options.reuse_fakes else None)

    def _discriminator_loss(
        self, variables: Networks, batch: Batch, noise: Noise, reused: Any
    ) -> LossOutput:
        """The adversarial terms of fake and real images; generator and encoder only run.

        `reused` are the fake images of the generator update, if they are reused.
        """
        layout, real = self.condition(batch.label, batch.instance), to_signed(batch.image)
        if reused is None:
            stream = Stream.STYLE_IN_DISCRIMINATOR_UPDATE
            fake, _, updated = self._generate(variables, layout, real, noise, stream)
        else:
            fake, updated = jax.lax.stop_gradient(reused), {}
        outputs = self._discriminate(variables, layout, fake, real, real_is_constant=False)
        fake_outputs, real_outputs, updated['discriminator'] = outputs
        terms = losses.discriminator_loss(self.config.losses.gan_loss, fake_outputs, real_outputs)
        return LossOutput(terms, losses.logit_metrics(fake_outputs, real_outputs), updated)

    def _generate(
        self, variables: Networks, layout: jax.Array, real: jax.Array, noise: Noise, stream: Stream
    ) -> tuple[jax.Array, jax.Array | None, dict[str, Variables]]:
        """Fake images [B, H, W, 3], the KL divergence or None, and the updated collections."""
        style, kl, updated = None, None, {}

        def forward(name: str, *inputs: Any) -> Any:
            network = self.networks[name]
            output, updated[name] = train_forward(network, variables[name], *inputs)
            return output

        if self.options.generator_start == 'noise':
            style = noise(stream, self.options.style_dim)
        elif 'encoder' in self.networks:
            mean, log_variance = forward('encoder', real)
            style = sample_style(mean, log_variance, noise(stream, self.options.style_dim))
            kl = losses.kl_divergence(mean, log_variance)
        return forward('generator', layout, style), kl, updated

    def _discriminate(
        self, variables: Networks, layout: jax.Array, *images: jax.Array, real_is_constant: bool
    ) -> tuple[Outputs, Outputs, Variables]:
        """Outputs for fake and for real images [B, H, W, 3], and the updated collections.

        One batch, so that both share batch statistics. If each image is normalized by itself and no
        gradient flows through the outputs for real images, these take a pass of their own instead,
        which has no backward pass.
        """
        fake, real = images
        args = self.networks['discriminator'], variables['discriminator'], layout
        if real_is_constant and self.options.discriminator_norm in ('instance', 'none'):
            fake_outputs, updated = train_forward(*args, fake)
            real_outputs, _ = train_forward(*args, real)
        else:
            outputs, updated = train_forward(*args, jnp.concatenate([fake, real]))  # [2B, ...]
            fake_outputs = jax.tree.map(lambda x: x[: len(fake)], outputs)
            real_outputs = jax.tree.map(lambda x: x[len(fake) :], outputs)
        return fake_outputs, real_outputs, updated
