"""An unconditional GAN: networks, losses, sampling, and growth (Karras et al. 2018)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.layers.resampling import upsample_nearest
from spade_jax.models import losses
from spade_jax.models.gan.blocks import halve
from spade_jax.models.gan.discriminator import GrowingDiscriminator
from spade_jax.models.gan.generator import SCHEDULE, GrowingGenerator, faded
from spade_jax.models.gan.options import GanOptions
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
from spade_jax.random_streams import Stream


class Gan(Model):
    """The implementation of `Model`; networks 'generator' and 'discriminator'.

    The discriminator goes first, as in algorithm 1 of Goodfellow et al. 2014: the generator should
    follow a discriminator that knows its present images. With several discriminator steps, the
    generator is updated at the end of each group of steps.
    """

    sampling_networks = ('generator',)

    def __init__(self, config: Config, axis_name: str | None = None, *, portable: bool = False):
        assert isinstance(config.model, GanOptions)
        self.config, self.options, self.axis_name = config, config.model, axis_name
        self.latent_dim, data = self.options.gan_latent_dim, config.data
        self.growth = self.options.growth(data)
        dtype = jnp.dtype(config.optimizer.compute_dtype)
        widths = self.options.widths(data)
        shared: dict[str, Any] = dict(widths=widths, axis_name=axis_name, dtype=dtype)
        self._top = len(widths) - 1
        generator = GrowingGenerator(
            grid=self.options.grid_size(data, 0),
            growth=self.growth,
            norm=self.options.gan_norm,
            **shared,
        )
        discriminator = GrowingDiscriminator(
            first=self.growth.first,
            minibatch_deviation=self.options.minibatch_deviation,
            norm=self.options.gan_discriminator_norm,
            spectral_norm=self.options.gan_spectral_norm,
            **shared,
        )
        self.networks: dict[str, nn.Module] = dict(generator=generator, discriminator=discriminator)
        self._updates_of = functools.cache(self._updates)  # The engine compiles each tuple once.
        self.updates = self._updates_of(self._top, True)

    def _updates(self, level: int, updates_generator: bool) -> tuple[Update, ...]:
        """The updates of a step at a level; the last one counts the step."""
        slow, fast = self.config.optimizer.time_scales
        everything = tuple(self.networks)

        def update(player: str, loss: Any, time_scale: float, counts: bool) -> Update:
            loss = functools.partial(loss, level, counts)
            return Update(player, (player,), loss, everything, time_scale)

        first = update('discriminator', self._discriminator_loss, fast, not updates_generator)
        second = update('generator', self._generator_loss, slow, True)
        return (first, second) if updates_generator else (first,)

    def updates_at(self, step: int, epoch: int) -> tuple[Update, ...]:
        """The updates at the level of the step; the generator is updated in every n-th step."""
        del epoch
        due = (step + 1) % self.config.optimizer.discriminator_steps == 0
        return self._updates_of(self.growth.level_at(step), due)

    def example_inputs(self) -> dict[str, tuple[jax.ShapeDtypeStruct | None, ...]]:
        """Shapes of one latent; of one image, and how far its level has faded in."""
        data = self.config.data
        image = one_example(data.image_height, data.image_width, 3)
        fade = jax.ShapeDtypeStruct((), jnp.float32)
        return {
            'generator': (one_example(self.options.gan_latent_dim),),
            'discriminator': (image, fade),
        }

    def condition(self, label: jax.Array, instance: jax.Array | None = None) -> jax.Array:
        """Nothing: an image without channels."""
        return to_signed(label)

    def sample(
        self,
        variables: Networks,
        condition: jax.Array,
        latent: jax.Array | None = None,
        *,
        train: bool = False,
        mutable: tuple[str, ...] = (),
    ) -> tuple[jax.Array, Variables]:
        generator, options = self.networks['generator'], dict(train=train, mutable=list(mutable))
        return generator.apply(variables['generator'], latent, **options)  # pyright: ignore

    def _discriminator_loss(
        self, level: int, counts: bool, variables: Networks, batch: Batch, noise: Noise, _: Any
    ) -> LossOutput:
        """The adversarial terms of fake and real images, and the gradient penalty."""
        kind = self.config.losses.gan_loss
        stream = Stream.STYLE_IN_DISCRIMINATOR_UPDATE
        fake, updated = self._generate(variables, level, noise, stream, counts)
        real, fade = self._real(variables, batch.image, level), self._fade(variables, level)
        discriminator = self.networks['discriminator']
        fake_logits, in_between = train_forward(
            discriminator, variables['discriminator'], fake, fade, level
        )
        trained = variables['discriminator'] | in_between
        real_logits, statistics = train_forward(discriminator, trained, real, fade, level)
        outputs = _output(fake_logits), _output(real_logits)
        terms = losses.discriminator_loss(kind, *outputs)
        if weight := self.options.penalty_weight(kind):
            fractions = jax.scipy.stats.norm.cdf(noise(Stream.GRADIENT_PENALTY, 1))  # Uniform.
            penalty = losses.gradient_penalty(
                lambda image: train_forward(discriminator, trained, image, fade, level)[0],
                fake,
                real,
                fractions,
            )
            terms['gradient_penalty'] = weight * penalty
        changed = {'generator': updated, 'discriminator': statistics}
        return LossOutput(terms, losses.logit_metrics(*outputs), changed)

    def _generator_loss(
        self, level: int, counts: bool, variables: Networks, batch: Batch, noise: Noise, _: Any
    ) -> LossOutput:
        """The adversarial term."""
        stream = Stream.STYLE_IN_GENERATOR_UPDATE
        fake, updated = self._generate(variables, level, noise, stream, counts)
        inputs = variables['discriminator'], fake, self._fade(variables, level), level
        logits, statistics = train_forward(self.networks['discriminator'], *inputs)
        terms = {'gan': losses.generator_loss(self.config.losses.gan_loss, _output(logits))}
        return LossOutput(terms, {}, {'generator': updated, 'discriminator': statistics})

    def _generate(
        self, variables: Networks, level: int, noise: Noise, stream: Stream, counts: bool
    ) -> tuple[jax.Array, Variables]:
        """Fake images of a level, and the updated collections; with `counts`, the step too."""
        latent, own = noise(stream, self.options.gan_latent_dim), variables['generator']
        fake, updated = train_forward(self.networks['generator'], own, latent, level)
        if counts and SCHEDULE in own:
            end = float(max(map(sum, zip(self.growth.begins, self.growth.fades, strict=True))))
            updated[SCHEDULE] = {'steps': jnp.minimum(own[SCHEDULE]['steps'] + 1, end)}
        return fake, updated

    def _fade(self, variables: Networks, level: int) -> jax.Array | None:
        """How far a level has faded in; None for the first one."""
        if level == self.growth.first:
            return None
        ramps = faded(self.growth, variables['generator'][SCHEDULE]['steps'])
        return ramps[level - self.growth.first - 1]

    def _real(self, variables: Networks, image: jax.Array, level: int) -> jax.Array:
        """Real images of a level, as far as it has faded in; before, the mean of four pixels."""
        real, fade = halve(to_signed(image), self._top - level), self._fade(variables, level)
        return real if fade is None else fade * real + (1 - fade) * upsample_nearest(halve(real))


def _output(logits: jax.Array) -> list[losses.ScaleOutput]:
    return [losses.ScaleOutput([], logits)]
