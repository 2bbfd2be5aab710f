import types

import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.training.metrics import check_finite, mean_metrics, weight_norms


def test_weight_norms_are_those_of_parameters_by_network():
    painter = {
        'params': {'w': jnp.array([[6.0], [8.0]])},
        'batch_stats': {'mean': jnp.array([100.0])},
    }
    critic = {'params': {'w': jnp.array([float('nan'), 1.0])}}
    state = types.SimpleNamespace(networks={'painter': painter, 'critic': critic})
    norms = weight_norms(state)
    assert set(norms) == {'painter_weight_norm', 'critic_weight_norm'}
    np.testing.assert_allclose(norms['painter_weight_norm'], 10)
    assert np.isnan(norms['critic_weight_norm'])


def test_mean_metrics_ignores_steps_without_a_metric():
    records = [{'d_real': jnp.asarray(1.0), 'g_gan': jnp.asarray(4.0)}, {'d_real': jnp.asarray(3)}]
    assert mean_metrics(records) == {'d_real': 2.0, 'g_gan': 4.0}


GOOD = {'g_gan': 1.0, 'g_gradient_norm': 2.0}
NAN, INF = float('nan'), float('inf')


def test_finite_values_are_accepted():
    check_finite(50, [GOOD, GOOD], GOOD | {'generator_weight_norm': 3.0}, 40, lambda step: [])


def test_first_diverged_step_is_named_with_losses_and_examples():
    bad = {'g_gan': NAN, 'g_gradient_norm': 1e9, 'd_real': INF, 'd_fake': 0.25}
    with pytest.raises(FloatingPointError) as raised:
        check_finite(50, [GOOD, bad, bad], bad, 40, lambda step: [f'example {step}', 'b'])
    assert str(raised.value).startswith(
        'step 49: g_gan=nan, d_real=inf is not finite (g_gradient_norm=1e+09, d_fake=0.25); '
        'the batch: example 49, b; the newest checkpoint is that of step 40.'
    )
    assert 'new --workdir' in str(raised.value)


def test_diverged_weights_are_those_after_last_step():
    values = {'g_gan': 1.0, 'generator_weight_norm': NAN}
    message = 'step 50: generator_weight_norm=nan is not finite'
    with pytest.raises(FloatingPointError, match=message):
        check_finite(50, [GOOD] * 3, values, None, lambda step: [])
