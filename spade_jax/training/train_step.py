"""One step of training: the generator update, then the discriminator update against a picture of the updated generator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.distributed import replicas
from spade_jax.layers.spectral_norm import power_iterate
from spade_jax.models import losses
from spade_jax.models.optimizers import apply_gradients, learning_rates, make_optimizer
from spade_jax.models.spade.encoder import sample_style
from spade_jax.models.spade.model import Networks, image_of, layout_of
from spade_jax.models.train_state import (
    TrainState,
    Variables,
    moved_average,
    trained_by_generator_update,
)
from spade_jax.random_streams import Stream, style_noise
from spade_jax.training import metrics

Metrics = dict[str, jax.Array]
NoiseSource = Callable[
    [Stream, jax.Array, jax.Array], jax.Array
]  # (stream, step, [B] indices) -> [B, style_dim]


def train_step(
    state: TrainState,
    batch: Batch,
    vgg19: Variables | None = None,
    *,
    config: Config,
    networks: Networks,
    num_examples: int,
    update_generator: bool = True,
    axis_name: str | None = None,
    noise: NoiseSource | None = None,
) -> tuple[TrainState, Metrics]:
    """Updates generator (with encoder), then discriminator.

    A pure function; mapped over replicas by `replicas.pmap_step`. Every network in it runs in training mode, so running statistics and spectral
    vectors move twice a step; those of generator and encoder once, with `config.model.reuse_fakes` "reused".

    With `config.optimizer.accumulation_steps` the batch goes through in parts, one after the other, in the memory of one. Losses and gradients are their means
    over the parts, and all parts of an update see the same spectral vectors; so with normalisation of single pictures the update is that of the whole
    batch. Batch normalisation takes its statistics over each part, and the running statistics move towards the mean of theirs.

    Args:
      state: equal on all replicas, but for the optimisers' slices.
      batch: this replica's share of the global batch, see `replicas.shard_batch`.
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
    parts = parts_of(batch, config.optimizer.accumulation_steps, axis_name)
    generator_rate, discriminator_rate = learning_rates(
        state.step, num_examples=num_examples, config=config
    )
    metrics = {'discriminator_learning_rate': discriminator_rate}
    fake = None
    if update_generator:
        state, generator_metrics, fake = step.update_generator(state, parts, generator_rate)
        metrics |= generator_metrics | {'generator_learning_rate': generator_rate}
    state, discriminator_metrics = step.update_discriminator(state, parts, discriminator_rate, fake)
    if state.average is not None and update_generator:
        state = state.replace(
            average=moved_average(
                state.average,
                state.generator,
                state.encoder,
                step=state.step,
                decay=config.optimizer.ema_decay,
            )
        )
    return state.replace(step=state.step + 1), replicas.mean(
        metrics | discriminator_metrics, axis_name
    )


class Part(NamedTuple):
    """Examples that go through the networks together: [b, ...]; or all parts of a batch: [parts, b, ...].

    indices: the position of each example in the global batch.
    """

    batch: Batch
    indices: jax.Array


def parts_of(batch: Batch, num_parts: int, axis_name: str | None = None) -> Part:
    """The parts [num_parts, b, ...] of this replica's share of a batch."""
    local_batch = batch.image.shape[0]
    indices = replicas.global_indices(local_batch, axis_name, num_parts)
    return jax.tree.map(
        lambda x: jnp.reshape(x, (num_parts, local_batch // num_parts, *x.shape[1:])),
        Part(batch, indices),
    )


def mean_over_parts(compute: Callable[[Part], Any], parts: Part) -> Any:
    """Mean of a tree of arrays that is computed of each part, one after the other."""
    num_parts = parts.indices.shape[0]
    first = jax.tree.map(lambda x: x[0], parts)
    if num_parts == 1:
        return compute(first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(compute, first))
    total, _ = jax.lax.scan(
        lambda total, part: (jax.tree.map(jnp.add, total, compute(part)), None), zeros, parts
    )
    return jax.tree.map(lambda x: x / num_parts, total)


def seeded_noise(config: Config) -> NoiseSource:
    """The noise of a run: a function of (seed, stream, step, index)."""
    return lambda stream, step, indices: style_noise(
        config.run.seed, stream, step, indices, config.model.style_dim
    )


class Step:
    """The two updates, with what does not change during a run bound once. All methods are pure."""

    def __init__(
        self,
        config: Config,
        networks: Networks,
        vgg19: Variables | None,
        axis_name: str | None,
        noise: NoiseSource,
    ):
        self.config, self.networks, self.vgg19, self.axis_name, self.noise = (
            config,
            networks,
            vgg19,
            axis_name,
            noise,
        )
        self.optimizer = make_optimizer(config)

    def update_generator(
        self, state: TrainState, parts: Part, rate: jax.Array
    ) -> tuple[TrainState, Metrics, jax.Array | None]:
        """One Adam step of generator and encoder against the discriminator as it is. Returns the pictures too, where they will be reused."""
        config, state = self.config, with_moved_vectors(state)

        def loss(params, part):
            layout, real = layout_of(part.batch, config), image_of(part.batch)
            fake, kl, moved = self.generate(
                state, params, layout, real, part.indices, Stream.STYLE_IN_GENERATOR_UPDATE
            )
            fake_outputs, real_outputs, moved_discriminator = self.discriminate(
                state.discriminator, layout, fake, real, real_is_constant=True
            )
            terms = {
                'g_gan': losses.adversarial(
                    fake_outputs, True, kind=config.losses.gan_loss, for_discriminator=False
                )
            }
            if config.losses.feature_matching_weight:
                terms['g_feature_matching'] = (
                    config.losses.feature_matching_weight
                    * losses.feature_matching(fake_outputs, real_outputs)
                )
            if config.losses.perceptual_weight:
                terms['g_perceptual'] = config.losses.perceptual_weight * losses.perceptual(
                    self.vgg19_features, fake, real, input_range=config.losses.perceptual_input
                )
            if kl is not None:
                terms['g_kl'] = config.model.kl_weight * kl
            return sum(terms.values()), (
                terms,
                moved | moved_discriminator,
                fake if config.model.reuse_fakes == 'reused' else None,
            )

        params = trained_by_generator_update(state.generator, state.encoder)
        gradients, (terms, moved, fake) = mean_over_parts(
            functools.partial(jax.grad(loss, has_aux=True), params), parts
        )
        params, optimizer_state, norm = apply_gradients(
            self.optimizer, gradients, state.generator_optimizer, params, rate, self.axis_name
        )
        state = with_moved(
            with_moved(state, moved), {name: {'params': params[name]} for name in params}
        )
        return (
            state.replace(generator_optimizer=optimizer_state),
            terms | {'g_gradient_norm': norm},
            fake,
        )

    def update_discriminator(
        self, state: TrainState, parts: Part, rate: jax.Array, reused: jax.Array | None = None
    ) -> tuple[TrainState, Metrics]:
        """One Adam step of the discriminator; generator and encoder only draw, though their statistics move.

        Args:
          reused: pictures [B, H, W, 3] of the generator update; then generator and encoder stay as they are.
        """
        state = (
            with_moved_vectors(state)
            if reused is None
            else state.replace(discriminator=power_iterate(state.discriminator))
        )
        drawing = trained_by_generator_update(state.generator, state.encoder)

        def loss(params, part):
            layout, real = layout_of(part.batch, self.config), image_of(part.batch)
            if reused is None:
                fake, _, moved = self.generate(
                    state, drawing, layout, real, part.indices, Stream.STYLE_IN_DISCRIMINATOR_UPDATE
                )
            else:
                fake, moved = jax.lax.stop_gradient(reused), {}
            fake_outputs, real_outputs, moved_discriminator = self.discriminate(
                state.discriminator | {'params': params}, layout, fake, real
            )
            terms = {
                'd_fake': losses.adversarial(
                    fake_outputs, False, kind=self.config.losses.gan_loss, for_discriminator=True
                ),
                'd_real': losses.adversarial(
                    real_outputs, True, kind=self.config.losses.gan_loss, for_discriminator=True
                ),
            }
            return sum(terms.values()), (
                terms | metrics.mean_logits(fake_outputs, real_outputs),
                moved | moved_discriminator,
            )

        params = state.discriminator['params']
        gradients, (terms, moved) = mean_over_parts(
            functools.partial(jax.grad(loss, has_aux=True), params), parts
        )
        params, optimizer_state, norm = apply_gradients(
            self.optimizer, gradients, state.discriminator_optimizer, params, rate, self.axis_name
        )
        state = with_moved(with_moved(state, moved), {'discriminator': {'params': params}})
        return state.replace(discriminator_optimizer=optimizer_state), terms | {
            'd_gradient_norm': norm
        }

    def generate(
        self,
        state: TrainState,
        params: dict[str, Any],
        layout: jax.Array,
        real: jax.Array,
        indices: jax.Array,
        stream: Stream,
    ):
        """Draws the layouts, in the style of the real pictures where there is an encoder.

        Args:
          params: of the generator, and of the encoder where there is one.
          indices: [B] position of each example in the global batch.

        Returns:
          The pictures [B, H, W, 3], the KL divergence or None, and the statistics that moved, by network.
        """
        style, kl, moved = None, None, {}
        if self.networks.encoder is not None:
            (mean, log_variance), moved['encoder'] = forward(
                self.networks.encoder, state.encoder | {'params': params['encoder']}, real
            )
            style = sample_style(mean, log_variance, self.noise(stream, state.step, indices))
            kl = losses.kl_divergence(mean, log_variance)
        fake, moved['generator'] = forward(
            self.networks.generator,
            state.generator | {'params': params['generator']},
            layout,
            style,
        )
        return fake, kl, moved

    def discriminate(
        self,
        variables: Variables,
        layout: jax.Array,
        fake: jax.Array,
        real: jax.Array,
        *,
        real_is_constant: bool = False,
    ):
        """Judges fake and real pictures in one batch.

        Args:
          real_is_constant: no gradient flows through the judgement of the real pictures. Then they go through by themselves, where every picture is normalised
            by itself, and there is no backward pass for them.

        Returns:
          The outputs of each, and the statistics that moved.
        """
        if real_is_constant and self.config.model.discriminator_norm in ('instance', 'none'):
            fake_outputs, moved = forward(self.networks.discriminator, variables, layout, fake)
            real_outputs, _ = forward(self.networks.discriminator, variables, layout, real)
        else:
            outputs, moved = forward(
                self.networks.discriminator, variables, layout, jnp.concatenate([fake, real])
            )
            fake_outputs, real_outputs = (
                jax.tree.map(lambda x: x[half], outputs)
                for half in (slice(fake.shape[0]), slice(fake.shape[0], None))
            )
        return (
            fake_outputs,
            jax.lax.stop_gradient(real_outputs) if real_is_constant else real_outputs,
            {'discriminator': moved},
        )

    def vgg19_features(self, image: jax.Array) -> list[jax.Array]:
        """The activations that the perceptual loss compares."""
        return self.networks.vgg19.apply(self.vgg19, image)


def forward(network, variables: Variables, *inputs) -> tuple[Any, Variables]:
    """A training pass: the output, and the running statistics that it moved."""
    statistics = [name for name in variables if name == 'batch_stats']
    output, moved = network.apply(variables, *inputs, train=True, mutable=statistics)
    return output, jax.lax.stop_gradient(moved)


def with_moved_vectors(state: TrainState) -> TrainState:
    """The state after a power iteration in every spectral norm: once for each training pass, however many parts it has."""
    return state.replace(
        generator=power_iterate(state.generator),
        discriminator=power_iterate(state.discriminator),
        encoder=None if state.encoder is None else power_iterate(state.encoder),
    )


def with_moved(state: TrainState, moved: dict[str, Variables]) -> TrainState:
    """The state with new collections of some networks' variables, by the networks' names."""
    return state.replace(
        **{name: getattr(state, name) | collections for name, collections in moved.items()}
    )
