"""Adversarial losses, feature matching, perceptual loss and KL divergence, all in float32.

Predictions and features come as the discriminator returns them: a list over scales of lists over layers, the logits last. Every loss is a mean
over the batch it is given, so that the mean over replicas is the loss of the global batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jax import lax

PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)  # of relu1_1 ... relu5_1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Features = Sequence[Sequence[jax.Array]]


def hinge(logits: jax.Array, target_is_real: bool, for_discriminator: bool) -> jax.Array:
    """Discriminator: max(0, 1 - D(real)) + max(0, 1 + D(fake)); generator: -D(fake) (Lim and Ye 2017). Scalar mean over all patches."""
    if for_discriminator:
        return jnp.mean(jax.nn.relu(1 - logits if target_is_real else 1 + logits))
    if not target_is_real:
        raise ValueError('the generator\'s hinge loss is defined for the target "real" only')
    return -jnp.mean(logits)


def least_squares(logits: jax.Array, target_is_real: bool, for_discriminator: bool) -> jax.Array:
    """(D(x) - 1)^2 for the target "real", D(x)^2 for "fake" (Mao et al. 2017)."""
    return jnp.mean(jnp.square(logits - float(target_is_real)))


def cross_entropy(logits: jax.Array, target_is_real: bool, for_discriminator: bool) -> jax.Array:
    """Sigmoid cross entropy with target 1 or 0 (Goodfellow et al. 2014, non-saturating)."""
    return jnp.mean(
        optax.sigmoid_binary_cross_entropy(logits, jnp.full_like(logits, float(target_is_real)))
    )


def wasserstein(logits: jax.Array, target_is_real: bool, for_discriminator: bool) -> jax.Array:
    """-D(x) for the target "real", D(x) for "fake" (Arjovsky et al. 2017)."""
    return -jnp.mean(logits) if target_is_real else jnp.mean(logits)


GAN_LOSSES: dict[str, Callable[[jax.Array, bool, bool], jax.Array]] = {
    'hinge': hinge,
    'least_squares': least_squares,
    'cross_entropy': cross_entropy,
    'wasserstein': wasserstein,
}


def adversarial(
    outputs: Features, target_is_real: bool, *, kind: str, for_discriminator: bool
) -> jax.Array:
    """The loss `kind` of the logits, mean over the scales."""
    losses = [
        GAN_LOSSES[kind](scale[-1].astype(jnp.float32), target_is_real, for_discriminator)
        for scale in outputs
    ]
    return sum(losses) / len(losses)


def feature_matching(fake: Features, real: Features) -> jax.Array:
    """Mean absolute difference of every hidden feature, summed over the layers, mean over the scales (Wang et al. 2018, equation 4).

    The features of the real picture are constants here.
    """
    total = 0.0
    for fake_scale, real_scale in zip(fake, real, strict=True):
        for fake_feature, real_feature in zip(fake_scale[:-1], real_scale[:-1], strict=True):
            total += mean_absolute_difference(fake_feature, lax.stop_gradient(real_feature))
    return total / len(fake)


def perceptual(
    vgg_features: Callable[[jax.Array], Sequence[jax.Array]],
    fake: jax.Array,
    real: jax.Array,
    *,
    input_range: str = 'raw',
) -> jax.Array:
    """Weighted mean absolute differences of five VGG19 activations (Johnson et al. 2016).

    Args:
      vgg_features: from pictures to the five activations.
      fake, real: [B, H, W, 3] in [-1, 1].
      input_range: 'raw' hands [-1, 1] to VGG19, which is not how it was trained but how the published models were; 'imagenet' normalises first.
    """
    prepare = {'raw': lambda x: x, 'imagenet': imagenet_normalize}[input_range]
    fake_features = vgg_features(prepare(fake))
    real_features = lax.stop_gradient(vgg_features(lax.stop_gradient(prepare(real))))
    return sum(
        weight * mean_absolute_difference(f, r)
        for weight, f, r in zip(PERCEPTUAL_WEIGHTS, fake_features, real_features, strict=True)
    )


def imagenet_normalize(image: jax.Array) -> jax.Array:
    """[-1, 1] -> what torchvision's networks were trained on. [B, H, W, 3]."""
    return ((image + 1) / 2 - jnp.asarray(IMAGENET_MEAN)) / jnp.asarray(IMAGENET_STD)


def kl_divergence(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, variance) || N(0, 1)), summed over the latent, mean over the batch. mean, log_variance: [B, D].

    The published code sums over the pictures on one GPU as well; a mean does not depend on how many there are. `Config.kl_weight` says which weight
    equals the published recipe.
    """
    return jnp.mean(
        -0.5 * jnp.sum(1 + log_variance - jnp.square(mean) - jnp.exp(log_variance), axis=-1)
    )


def mean_absolute_difference(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean of |x - y| in float32."""
    return jnp.mean(jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32)))
