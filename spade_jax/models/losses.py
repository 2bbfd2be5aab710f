"""Adversarial losses, feature matching, perceptual loss and KL divergence, in float32.

Each loss is a mean over its batch, so the mean over replicas is the loss of the global batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax


class ScaleOutput(NamedTuple):
    """The output of a discriminator at one scale.

    Attributes:
      features: Hidden features by layer, [B, h, w, C] each.
      logits: [B, h, w, 1] float32, one for each patch; high for real.
    """

    features: list[jax.Array]
    logits: jax.Array


def hinge(logits: jax.Array, target: int) -> jax.Array:
    """Mean of max(0, 1 - target * logits) (Lim and Ye 2017, Geometric GAN)."""
    return jnp.mean(jax.nn.relu(1 - target * logits))


def least_squares(logits: jax.Array, target: int) -> jax.Array:
    """Mean of (logits - target)^2 (Mao et al. 2017, LSGAN)."""
    return jnp.mean(jnp.square(logits - target))


def cross_entropy(logits: jax.Array, target: int) -> jax.Array:
    """Sigmoid cross entropy (Goodfellow et al. 2014); non-saturating for the generator."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, target)))


def saturating(logits: jax.Array, target: int) -> jax.Array:
    """Mean of log(1 - sigmoid(logits)), the generator's side of the minimax game.

    Goodfellow et al. 2014, equation 1. Its gradient vanishes where the discriminator is sure that
    an image is fake. `target` is ignored.
    """
    del target
    return -cross_entropy(logits, 0)


def wasserstein(logits: jax.Array, target: int) -> jax.Array:
    """Mean of -target * logits (Arjovsky et al. 2017), without the constraint on the weights."""
    return -target * jnp.mean(logits)


class GanLoss(NamedTuple):
    """An adversarial loss, from functions of logits and a target, which is 1 for real images.

    Attributes:
      discriminator: Of real images, and of fake ones with `fake_target`.
      fake_target: 0 or -1.
      generator: Of fake images, with the target of real ones.
    """

    discriminator: Callable[[jax.Array, int], jax.Array]
    fake_target: int
    generator: Callable[[jax.Array, int], jax.Array]


GAN_LOSSES = {
    'hinge': GanLoss(hinge, -1, wasserstein),
    'least_squares': GanLoss(least_squares, 0, least_squares),
    'cross_entropy': GanLoss(cross_entropy, 0, cross_entropy),
    'minimax': GanLoss(cross_entropy, 0, saturating),
    'wasserstein': GanLoss(wasserstein, -1, wasserstein),
}


@jax.named_scope('generator_loss')
def generator_loss(kind: str, fake: Sequence[ScaleOutput]) -> jax.Array:
    """The generator's loss `kind`, mean over the scales of the outputs for fake images."""
    return _mean_over_scales(lambda logits: GAN_LOSSES[kind].generator(logits, 1), fake)


@jax.named_scope('discriminator_loss')
def discriminator_loss(
    kind: str, fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput]
) -> dict[str, jax.Array]:
    """The discriminator's losses `kind` for 'fake' and 'real' images, mean over the scales."""
    loss, fake_target, _ = GAN_LOSSES[kind]
    return {
        'fake': _mean_over_scales(lambda logits: loss(logits, fake_target), fake),
        'real': _mean_over_scales(lambda logits: loss(logits, 1), real),
    }


@jax.named_scope('gradient_penalty')
def gradient_penalty(
    logits: Callable[[jax.Array], jax.Array], fake: jax.Array, real: jax.Array, fractions: jax.Array
) -> jax.Array:
    """Mean of (norm - 1)^2 of the gradients between fake and real images (Gulrajani et al. 2017).

    Args:
      logits: Maps images [B, ...] to logits of any shape, those of an image from it alone.
      fake: [B, ...].
      real: [B, ...].
      fractions: [B] in [0, 1], of the way from `fake` to `real`.
    """
    fractions = fractions.reshape(-1, *[1] * (fake.ndim - 1))
    between = fake + fractions * (real - fake)
    gradients = jax.grad(lambda images: jnp.sum(logits(images).astype(jnp.float32)))(between)
    squares = jnp.sum(jnp.square(gradients.reshape(len(gradients), -1)), axis=-1)
    return jnp.mean(jnp.square(jnp.sqrt(squares + 1e-12) - 1))  # sqrt has no gradient at 0.


def logit_metrics(fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput]) -> dict[str, jax.Array]:
    """The mean logits of fake and of real images, for the log."""
    return {'logits_fake': mean_logits(fake), 'logits_real': mean_logits(real)}


def mean_logits(outputs: Sequence[ScaleOutput]) -> jax.Array:
    """Mean logit over patches and scales: a diagnostic, whatever the loss is."""
    return _mean_over_scales(jnp.mean, outputs)


def _mean_over_scales(
    loss: Callable[[jax.Array], jax.Array], outputs: Sequence[ScaleOutput]
) -> jax.Array:
    losses = [loss(scale.logits.astype(jnp.float32)) for scale in outputs]
    return sum(losses, jnp.zeros(())) / len(losses)


@jax.named_scope('feature_matching')
def feature_matching(fake: Sequence[ScaleOutput], real: Sequence[ScaleOutput]) -> jax.Array:
    """Mean absolute difference of the discriminator's features (Wang et al. 2018, equation 4).

    Summed over the layers, mean over the scales. The features of real images are constants.
    """
    total = jnp.zeros(())
    for fake_scale, real_scale in zip(fake, real, strict=True):
        for f, r in zip(fake_scale.features, real_scale.features, strict=True):
            total += mean_absolute_difference(f, lax.stop_gradient(r))
    return total / len(fake)


@jax.named_scope('perceptual')
def perceptual(
    features: Callable[[jax.Array], Sequence[jax.Array]],
    fake: jax.Array,
    real: jax.Array,
    weights: Sequence[float],
) -> jax.Array:
    """Weighted mean absolute differences of the activations of a network (Johnson et al. 2016).

    Args:
      features: Maps images to the activations.
      fake: [B, H, W, 3] in [-1, 1].
      real: [B, H, W, 3] in [-1, 1]; a constant of this loss.
      weights: Of the activations.
    """
    fake_features = features(fake)
    real_features = lax.stop_gradient(features(lax.stop_gradient(real)))
    total = jnp.zeros(())
    for weight, f, r in zip(weights, fake_features, real_features, strict=True):
        total += weight * mean_absolute_difference(f, r)
    return total


@jax.named_scope('kl_divergence')
def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)) of [B, D], summed over the latent, mean over the batch.

    The published code sums over the images of a GPU as well, so its weight depends on their number;
    the help of `kl_weight` names the equal weight.
    """
    variance = jnp.exp(log_variance)
    return jnp.mean(-0.5 * jnp.sum(1 + log_variance - jnp.square(mean) - variance, axis=-1))


def mean_absolute_difference(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean of |x - y|, in float32."""
    return jnp.mean(jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)))
