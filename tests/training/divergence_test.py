import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.data.pipeline.input_pipeline import example_index, locations_of_step
from spade_jax.training.divergence import MOST_ROLLBACKS, Rollbacks, check_finite, detoured


def test_the_first_step_that_broke_is_named_with_its_losses_and_its_examples():
    good, bad = (
        {'g_gan': 1.0, 'g_gradient_norm': 2.0},
        {'g_gan': float('nan'), 'g_gradient_norm': 1e9, 'd_real': float('inf'), 'd_fake': 0.25},
    )
    check_finite(50, [good, good], good | {'generator_weight_norm': 3.0}, 40, str)
    with pytest.raises(FloatingPointError) as raised:
        check_finite(50, [good, bad, bad], bad, 40, lambda step: [f'example {step}', 'b'])
    message = str(raised.value)
    assert message.startswith(
        'step 49: g_gan=nan, d_real=inf is not finite (g_gradient_norm=1e+09, d_fake=0.25); the batch: example 49, b; the newest checkpoint is '
        'that of step 40.'
    )
    assert 'new --workdir' in message


def test_weights_that_broke_are_those_after_the_last_step():
    with pytest.raises(
        FloatingPointError, match='step 50: generator_weight_norm=nan is not finite'
    ):
        check_finite(
            50,
            [{'g_gan': 1.0}] * 3,
            {'g_gan': 1.0, 'generator_weight_norm': float('nan')},
            None,
            lambda step: [],
        )


def test_the_examples_of_a_step():
    class Source:
        locations = [f'{i}.png' for i in range(7)]

        def __len__(self):
            return 7

    config = Config.create(batch_size=4, seed=3)
    assert locations_of_step(Source(), config, 2) == [
        f'{example_index(3, position, 7)}.png' for position in (4, 5, 6, 7)
    ]


def test_a_detour_is_another_seed_and_nothing_else():
    config = Config.create(seed=3)
    assert detoured(config, 0) is config
    seeds = [detoured(config, detour).seed for detour in (1, 2)] + [
        detoured(Config.create(seed=4), 1).seed
    ]
    assert len({3, 4, *seeds}) == 5 and all(0 <= seed < 2**31 for seed in seeds)
    assert detoured(config, 1) == detoured(config, 1)
    assert {
        name
        for name, value in detoured(config, 1).to_json().items()
        if value != config.to_json()[name]
    } == {'seed'}


def test_stop_is_stop():
    error = FloatingPointError('step 5')
    with pytest.raises(FloatingPointError) as raised:
        Rollbacks('stop', 0).take(error, 4)
    assert raised.value is error


def test_rollbacks_end_where_no_new_checkpoint_comes_of_them(capsys):
    rollbacks, error = Rollbacks('rollback', 2), FloatingPointError('step 5 broke')
    for _ in range(MOST_ROLLBACKS):
        rollbacks.take(error, 4)
    for _ in range(MOST_ROLLBACKS):
        rollbacks.take(error, 8)
    assert rollbacks.detour == 2 + 2 * MOST_ROLLBACKS
    assert 'step 5 broke' in capsys.readouterr().err
    with pytest.raises(FloatingPointError, match='step 5 broke; given up after 3 rollbacks'):
        rollbacks.take(error, 8)
    assert np.unique([detoured(Config.create(), detour).seed for detour in range(100)]).size == 100
