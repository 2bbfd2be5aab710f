"""One step of training: the generator update, then the discriminator update against a picture of the updated generator."""

from __future__ import annotations

from typing import Any, Callable

import jax
import jax.numpy as jnp

from spade_jax import losses, replicas
from spade_jax.batch import Batch
from spade_jax.config import Config
from spade_jax.models import Networks, image_of, layout_of
from spade_jax.networks.style_encoder import sample_style
from spade_jax.random_streams import Stream, style_noise
from spade_jax.training import gauges
from spade_jax.training.optimizers import descend, learning_rates, make_optimizer
from spade_jax.training.train_state import TrainState, Variables, trained_by_generator_update

Metrics = dict[str, jax.Array]
NoiseSource = Callable[[Stream, jax.Array, jax.Array], jax.Array]  # (stream, step, [B] indices) -> [B, style_dim]


def train_step(state: TrainState, batch: Batch, vgg19: Variables | None = None, *, config: Config, networks: Networks, num_examples: int,
               update_generator: bool = True, axis_name: str | None = None, noise: NoiseSource | None = None) -> tuple[TrainState, Metrics]:
    """Updates generator (with encoder), then discriminator.

    A pure function; mapped over replicas by `replicas.replicate`. Every network in it runs in training mode, so running statistics and spectral
    vectors move with every pass: twice a step.

    Args:
      state: equal on all replicas.
      batch: this replica's share of the global batch.
      vgg19: variables of the perceptual network; needed when its loss has a weight.
      config, networks: of the run; `networks` built for the same `axis_name`.
      num_examples: in the training set, for the learning rate.
      update_generator: False in the steps that move the discriminator alone.
      axis_name: the axis of replicas; None where there is one.
      noise: draws the latents' noise; default: from the seed.

    Returns:
      The new state, and scalars over the global batch, g_* and d_*: the losses with their weights, norms of gradients, mean scores.
    """
    step = Step(config, networks, vgg19, axis_name, noise or seeded_noise(config))
    layout, real = layout_of(batch, config), image_of(batch)
    generator_rate, discriminator_rate = learning_rates(state.step, num_examples=num_examples, config=config)
    metrics = {'discriminator_learning_rate': discriminator_rate}
    if update_generator:
        state, generator_metrics = step.update_generator(state, layout, real, generator_rate)
        metrics |= generator_metrics | {'generator_learning_rate': generator_rate}
    state, discriminator_metrics = step.update_discriminator(state, layout, real, discriminator_rate)
    return state.replace(step=state.step + 1), replicas.mean(metrics | discriminator_metrics, axis_name)


def seeded_noise(config: Config) -> NoiseSource:
    """The noise of a run: a function of (seed, stream, step, index)."""
    return lambda stream, step, indices: style_noise(config.seed, stream, step, indices, config.style_dim)


class Step:
    """The two updates, with what does not change during a run bound once. All methods are pure."""

    def __init__(self, config: Config, networks: Networks, vgg19: Variables | None, axis_name: str | None, noise: NoiseSource):
        self.config, self.networks, self.vgg19, self.axis_name, self.noise = config, networks, vgg19, axis_name, noise
        self.optimizer = make_optimizer(config)

    def update_generator(self, state: TrainState, layout: jax.Array, real: jax.Array, rate: jax.Array) -> tuple[TrainState, Metrics]:
        """One Adam step of generator and encoder against the discriminator as it is."""
        config = self.config

        def loss(params):
            fake, kl, generator, encoder = self.generate(state, params, layout, real, Stream.STYLE_IN_GENERATOR_UPDATE)
            fake_outputs, real_outputs, discriminator = self.discriminate(state.discriminator, state.discriminator['params'], layout, fake, real)
            terms = {'g_gan': losses.adversarial(fake_outputs, True, kind=config.gan_loss, for_discriminator=False)}
            if config.feature_matching_weight:
                terms['g_feature_matching'] = config.feature_matching_weight * losses.feature_matching(fake_outputs, real_outputs)
            if config.perceptual_weight:
                terms['g_perceptual'] = config.perceptual_weight * losses.perceptual(self.vgg19_features, fake, real, input_range=config.perceptual_input)
            if kl is not None:
                terms['g_kl'] = config.kl_weight * kl
            return sum(terms.values()), (terms, generator, encoder, discriminator)

        params = trained_by_generator_update(state.generator, state.encoder)
        gradients, (terms, generator, encoder, discriminator) = jax.grad(loss, has_aux=True)(params)
        gradients = replicas.mean(gradients, self.axis_name)
        params, optimizer_state = descend(self.optimizer, gradients, state.generator_optimizer, params, rate)
        return state.replace(
            generator=generator | {'params': params['generator']},
            encoder=None if encoder is None else encoder | {'params': params['encoder']},
            discriminator=discriminator, generator_optimizer=optimizer_state), terms | gauges.gradient_norm('g', gradients)

    def update_discriminator(self, state: TrainState, layout: jax.Array, real: jax.Array, rate: jax.Array) -> tuple[TrainState, Metrics]:
        """One Adam step of the discriminator; generator and encoder only draw, though their statistics move."""
        fake, _, generator, encoder = self.generate(state, trained_by_generator_update(state.generator, state.encoder), layout, real,
                                                    Stream.STYLE_IN_DISCRIMINATOR_UPDATE)

        def loss(params):
            fake_outputs, real_outputs, discriminator = self.discriminate(state.discriminator, params, layout, fake, real)
            terms = {'d_fake': losses.adversarial(fake_outputs, False, kind=self.config.gan_loss, for_discriminator=True),
                     'd_real': losses.adversarial(real_outputs, True, kind=self.config.gan_loss, for_discriminator=True)}
            return sum(terms.values()), (terms | gauges.mean_scores(fake_outputs, real_outputs), discriminator)

        gradients, (terms, discriminator) = jax.grad(loss, has_aux=True)(state.discriminator['params'])
        gradients = replicas.mean(gradients, self.axis_name)
        params, optimizer_state = descend(self.optimizer, gradients, state.discriminator_optimizer, state.discriminator['params'], rate)
        state = state.replace(generator=generator, encoder=encoder, discriminator=discriminator | {'params': params}, discriminator_optimizer=optimizer_state)
        return state, terms | gauges.gradient_norm('d', gradients)

    def generate(self, state: TrainState, params: dict[str, Any], layout: jax.Array, real: jax.Array, stream: Stream):
        """Draws the layouts, in the style of the real pictures where there is an encoder.

        Returns:
          The pictures [B, H, W, 3], the KL divergence or None, and the moved variables of generator and encoder (or None).
        """
        style, kl, encoder = None, None, None
        if self.networks.encoder is not None:
            (mean, log_variance), encoder = forward(self.networks.encoder, state.encoder, params['encoder'], real)
            noise = self.noise(stream, state.step, replicas.global_indices(real.shape[0], self.axis_name))
            style, kl = sample_style(mean, log_variance, noise), losses.kl_divergence(mean, log_variance)
        fake, generator = forward(self.networks.generator, state.generator, params['generator'], layout, style)
        return fake, kl, generator, encoder

    def discriminate(self, variables: Variables, params: Any, layout: jax.Array, fake: jax.Array, real: jax.Array):
        """Judges fake and real pictures in one batch. Returns the outputs of each, and the moved variables."""
        outputs, variables = forward(self.networks.discriminator, variables, params, jnp.concatenate([layout, layout]), jnp.concatenate([fake, real]))
        fake_outputs, real_outputs = (jax.tree.map(lambda x: x[half], outputs) for half in (slice(fake.shape[0]), slice(fake.shape[0], None)))
        return fake_outputs, real_outputs, variables

    def vgg19_features(self, image: jax.Array) -> list[jax.Array]:
        """The activations that the perceptual loss compares."""
        return self.networks.vgg19.apply(self.vgg19, image)


def forward(network, variables: Variables, params: Any, *inputs) -> tuple[Any, Variables]:
    """A training pass with `params`: the output, and the variables with moved statistics and spectral vectors (and the parameters they had)."""
    statistics = {name: collection for name, collection in variables.items() if name != 'params'}
    output, moved = network.apply({'params': params, **statistics}, *inputs, train=True, mutable=list(statistics))
    return output, variables | jax.lax.stop_gradient(moved)
