"""Growth and losses of the GAN, with numbers that a person can check."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.layers.resampling import upsample_nearest
from spade_jax.models import losses
from spade_jax.models.gan.blocks import halve, pixel_norm
from spade_jax.models.gan.discriminator import minibatch_deviation
from spade_jax.models.gan.generator import faded
from spade_jax.models.gan.options import Growth
from spade_jax.models.losses import ScaleOutput
from spade_jax.models.model import build_model
from spade_jax.models.train_state import init_train_state

GROWTH = Growth(first=0, begins=(10, 30), fades=(10, 20))


@pytest.mark.parametrize(
    'steps, expected',
    [(0, (0, 0)), (10, (0, 0)), (15, (0.5, 0)), (20, (1, 0)), (35, (1, 0.25)), (50, (1, 1))],
)
def test_levels_fade_in_linearly(steps, expected):
    np.testing.assert_allclose(faded(GROWTH, jnp.float32(steps)), expected)


@pytest.fixture(scope='module')
def grown():
    """A model of 16x16 and its initial networks; 4x4 at first."""
    options = dict(crop_size=16, load_size=16, gan_width=2, gan_latent_dim=4)
    config = Config.create(model='gan', grow='8:10,16:30', fade_steps=10, **options)
    return build_model(config), init_train_state(config).networks


def images_after(grown, steps, level=None):
    model, networks = grown
    variables = networks['generator'] | {'schedule': {'steps': jnp.float32(steps)}}
    latent = jnp.linspace(-1, 1, 8).reshape(2, 4)
    return model.networks['generator'].apply(variables, latent, level, train=False)


@pytest.mark.parametrize('steps, level', [(3, 0), (14, 1), (20, 1), (33, 2), (90, 2)])
def test_samples_are_enlarged_images_of_the_training(grown, steps, level):
    trained = images_after(grown, steps, level)
    assert trained.shape == (2, 4 << level, 4 << level, 3)
    for _ in range(2 - level):
        trained = upsample_nearest(trained)
    np.testing.assert_allclose(images_after(grown, steps), trained, atol=1e-6)


def test_image_is_blended_while_a_level_fades_in(grown):
    before, after = upsample_nearest(images_after(grown, 0, 0)), images_after(grown, 20, 1)
    assert np.abs(before - after).max() > 1e-3
    blended = 0.7 * before + 0.3 * after
    np.testing.assert_allclose(images_after(grown, 13, 1), blended, atol=1e-6)


def test_real_images_are_blended_alike(grown):
    model, networks = grown
    networks['generator']['schedule'] = {'steps': jnp.float32(13)}
    image = jnp.arange(768).reshape(1, 16, 16, 3) % 251
    fine = halve(image / 127.5 - 1)  # [1, 8, 8, 3]
    expected = 0.3 * fine + 0.7 * upsample_nearest(halve(fine))
    np.testing.assert_allclose(model._real(networks, image, 1), expected, atol=1e-5)


def test_discriminator_forgets_the_new_level_at_its_start(grown):
    model, networks = grown
    image = jnp.sin(jnp.arange(384.0)).reshape(2, 8, 8, 3)
    discriminator, variables = model.networks['discriminator'], networks['discriminator']
    fresh = discriminator.apply(variables, image, jnp.float32(0), 1, train=True)
    coarse = discriminator.apply(variables, halve(image), None, 0, train=True)
    np.testing.assert_allclose(fresh, coarse, rtol=1e-5)


def test_deviation_of_equal_images_is_nearly_zero():
    x = jnp.broadcast_to(jnp.arange(3.0), (4, 2, 2, 3))
    assert minibatch_deviation(x).max() <= 2e-4
    apart = jnp.stack([x[0] - 1, x[0] + 1])  # Deviation 1 everywhere.
    np.testing.assert_allclose(minibatch_deviation(apart), np.ones((2, 2, 2, 1)), rtol=1e-5)


def test_pixel_norm_by_hand():
    np.testing.assert_allclose(
        pixel_norm(jnp.array([3.0, 4.0])), np.array([3, 4]) / 12.5**0.5, rtol=1e-5
    )


LOG_2, LOG_4 = np.log([2, 4])


@pytest.mark.parametrize(
    'kind, logit, real, fake, generator',
    [
        # A logit of log(3) is a probability of 3/4 that the image is real.
        ('minimax', 0.0, LOG_2, LOG_2, -LOG_2),
        ('minimax', np.log(3), np.log(4 / 3), LOG_4, -LOG_4),
        ('cross_entropy', np.log(3), np.log(4 / 3), LOG_4, np.log(4 / 3)),
        ('least_squares', 3.0, 4, 9, 4),
        ('hinge', 0.5, 0.5, 1.5, -0.5),
        ('wasserstein', 3.0, -3, 3, -3),
    ],
)
def test_losses_by_hand(kind, logit, real, fake, generator):
    output = [ScaleOutput([], jnp.full(5, logit))]
    found = losses.discriminator_loss(kind, output, output)
    np.testing.assert_allclose([found['real'], found['fake']], [real, fake], rtol=1e-5)
    np.testing.assert_allclose(losses.generator_loss(kind, output), generator, rtol=1e-5)


def test_gradient_of_minimax_vanishes_where_the_discriminator_is_sure():
    def gradient(kind):
        return jax.grad(lambda x: losses.generator_loss(kind, [ScaleOutput([], x)]))(-10.0)

    assert -1e-4 < gradient('minimax') < 0
    assert gradient('cross_entropy') < -0.99


@pytest.mark.parametrize(
    'logits, expected',
    [
        (lambda x: x @ jnp.array([0.0, 3.0]), (3 - 1) ** 2),  # The norm is 3 everywhere.
        (lambda x: jnp.square(x).sum(-1) / 2, 0.25),  # 1/2 and 3/2, at these fractions of 2.
        (lambda x: 0 * x.sum(-1), 1.0),
    ],
)
def test_gradient_penalty_by_hand(logits, expected):
    fake, real = jnp.zeros((2, 2)), jnp.array([[2.0, 0], [0, 2.0]])

    def penalty(scale):
        fractions = jnp.array([0.25, 0.75])
        return losses.gradient_penalty(lambda x: scale * logits(x), fake, real, fractions)

    value, slope = jax.value_and_grad(penalty)(1.0)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(slope)
