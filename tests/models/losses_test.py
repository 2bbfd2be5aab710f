import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config import config
from spade_jax.models import losses
from spade_jax.models.losses import GAN_LOSSES, ScaleOutput
from spade_jax.models.spade.encoder import sample_style
from spade_jax.models.vgg19 import LAYER_WEIGHTS, Vgg19
from tests import parity


def outputs_of(golden, prefix):
    """The arrays prefix/<scale>/<layer>."""
    outputs = []
    for i, shapes in enumerate(golden.meta['shapes']):
        layers = [golden[f'{prefix}/{i}/{j}'] for j in range(len(shapes))]
        outputs.append(ScaleOutput(layers[:-1], layers[-1]))
    return outputs


# The reference's names of the losses: target and player.
LOSSES = {
    'real/G': losses.generator_loss,
    'real/D': lambda kind, real: losses.discriminator_loss(kind, real, real)['real'],
    'fake/D': lambda kind, fake: losses.discriminator_loss(kind, fake, fake)['fake'],
}


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('mode', parity.GAN_LOSSES)
def test_adversarial_losses_have_golden_numbers(mode, name):
    golden = parity.Golden('loss_gan')
    outputs, kind, key = outputs_of(golden, 'in/fake'), parity.GAN_LOSSES[mode], f'{mode}/{name}'

    value, gradients = jax.value_and_grad(lambda outputs: LOSSES[name](kind, outputs))(outputs)
    golden.check(np.reshape(value, 1), f'out/list/{key}')
    golden.check(LOSSES[name](kind, outputs[:1]), f'out/single/{key}')
    for i, scale in enumerate(gradients):
        golden.check(scale.logits, f'grad_in/list/{key}/{i}')
        assert not any(np.any(gradient) for gradient in scale.features)


def test_table_has_the_losses_of_the_config():
    assert tuple(GAN_LOSSES) == config.GAN_LOSS_NAMES


def test_feature_matching_has_golden_numbers():
    golden = parity.Golden('loss_gan')
    fake, real = outputs_of(golden, 'in/fake'), outputs_of(golden, 'in/real')
    weight = golden.meta['lambda_feat']

    def loss(fake):
        return weight * losses.feature_matching(fake, real)

    value, gradients = jax.value_and_grad(loss)(fake)
    expected = golden['out/feature_matching']
    golden.check(np.reshape(value, expected.shape), 'out/feature_matching')
    for i, scale in enumerate(gradients):
        for j, gradient in enumerate(scale.features):
            golden.check(gradient, f'grad_in/feature_matching/{i}/{j}')


def test_feature_matching_gives_real_features_no_gradient():
    fake, real = ([ScaleOutput([jnp.full((1, 2, 2, 1), x)], jnp.zeros(1))] for x in (1.0, 3.0))
    value, gradient = jax.value_and_grad(losses.feature_matching, argnums=1)(fake, real)
    assert value == 2
    assert not np.any(gradient[0].features[0])


def test_kl_divergence_has_golden_numbers():
    golden = parity.Golden('loss_kld')
    weight = golden.meta['lambda_kld']
    mean, log_variance = golden['in/mu'], golden['in/logvar']

    def loss(mean, log_variance):  # the reference sums over the batch
        return len(mean) * losses.kl_divergence(mean, log_variance)

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(mean, log_variance)
    golden.check(value, 'out/kld')
    golden.check(weight * value, 'out/kld_weighted')
    for gradient, name in zip(gradients, ('mu', 'logvar'), strict=True):
        golden.check(gradient, f'grad_in/{name}')
    golden.check(sample_style(mean, log_variance, golden['in/eps']), 'out/z')


def test_kl_divergence_of_prior_is_zero():
    assert losses.kl_divergence(jnp.zeros((5, 3)), jnp.zeros((5, 3))) == 0


@pytest.mark.parametrize('batch', [1, 6])
def test_kl_divergence_does_not_depend_on_batch_size(batch):
    np.testing.assert_allclose(
        losses.kl_divergence(jnp.ones((batch, 4)), jnp.zeros((batch, 4))), 2.0
    )


def test_perceptual_loss_has_golden_numbers():
    golden = parity.Golden('loss_vgg')
    vgg = Vgg19(golden.meta['vgg']['width_divisor'])
    variables = parity.vgg19_variables(golden.state('sd'))

    def features(x):
        return vgg.apply(variables, x)

    for i, feature in enumerate(features(golden['in/x'])):
        golden.check(feature, f'feat/x/{i}')

    def loss(x):
        return losses.perceptual(features, x, golden['in/y'], LAYER_WEIGHTS)

    value, gradient = jax.value_and_grad(loss)(golden['in/x'])
    golden.check(value, 'out/loss')
    golden.check(gradient, 'grad_in/x')


@pytest.mark.parametrize('logit, real, fake', [(1.0, 0.0, 2.0), (0.0, 1.0, 1.0), (-1.0, 2.0, 0.0)])
def test_hinge_by_hand(logit, real, fake):
    outputs = [ScaleOutput([jnp.zeros((1, 2, 2, 8))], jnp.full((1, 3, 3, 1), logit))]
    assert losses.discriminator_loss('hinge', outputs, outputs) == {'real': real, 'fake': fake}
    assert losses.generator_loss('hinge', outputs) == -logit


def test_losses_are_means_over_scales():
    outputs = [ScaleOutput([], jnp.full((1, size, size, 1), 1.0 * size)) for size in (1, 3)]
    assert losses.generator_loss('wasserstein', outputs) == -2


def test_mean_logits_weights_scales_equally():
    def output(*logits):
        features = [jnp.full((1, 2, 2, 1), 100.0)]
        return losses.ScaleOutput(features, jnp.asarray(logits).reshape(1, 1, -1, 1))

    assert losses.mean_logits([output(1.0, 3.0, 2.0, 2.0), output(-4.0)]) == -1.0
