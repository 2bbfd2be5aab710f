"""Adam with two time scales (Heusel et al. 2017) and the learning rate as a function of the step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from spade_jax.config import Config


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Adam without its learning rate, which `descend` applies: the rate follows the step of the run, not the count of updates."""
    beta1, beta2 = config.adam_betas
    return optax.scale_by_adam(b1=beta1, b2=beta2, eps=1e-8)


def decay_factor(step: jax.Array | int, *, num_examples: int, config: Config) -> jax.Array:
    """Share of the full learning rate in a step: 1 for the constant epochs, then down to 0 in equal parts, one an epoch.

    The first epoch of the decay still has the full rate, since the published models were decayed after an epoch.

    Args:
      step: number of the step, from 0.
      num_examples: in the training set; an epoch is over when so many pictures were seen.
    """
    epoch = (jnp.asarray(step) * config.batch_size) // num_examples  # from 0
    decays = jnp.maximum(0, epoch - config.constant_epochs)
    return 1 - jnp.minimum(decays / max(config.decay_epochs, 1), 1.0)


def learning_rates(step: jax.Array | int, *, num_examples: int, config: Config) -> tuple[jax.Array, jax.Array]:
    """Learning rates of generator (with encoder) and discriminator in a step."""
    rate = config.learning_rate * decay_factor(step, num_examples=num_examples, config=config)
    return (rate / 2, rate * 2) if config.two_time_scales else (rate, rate)


def descend(optimizer: optax.GradientTransformation, gradients: Any, optimizer_state: optax.OptState, params: Any, rate: jax.Array) -> tuple[Any, optax.OptState]:
    """One step down the gradient. Returns the new parameters and the new state of the optimiser."""
    directions, optimizer_state = optimizer.update(gradients, optimizer_state, params)
    return optax.apply_updates(params, jax.tree.map(lambda direction: -rate * direction, directions)), optimizer_state
