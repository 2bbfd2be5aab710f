"""Ranges of steps."""

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.config.option import parse_step_range
from spade_jax.errors import UserError


@pytest.mark.parametrize('text, expected', [('10-12', (10, 12)), ('7', (7, 7)), (' 1-1 ', (1, 1))])
def test_parse_step_range_returns_first_and_last_step(text, expected):
    assert parse_step_range('profile_steps', text) == expected


@pytest.mark.parametrize(
    'text, message',
    [
        (
            '10:12',
            'profile_steps=10:12 is not a range of steps; write FIRST-LAST, for example 10-12',
        ),
        ('-3', 'is not a range'),
        ('a-b', 'is not a range'),
        ('5-', 'is not a range'),
        ('0-2', 'steps are numbered from 1'),
        ('12-10', 'profile_steps=12-10 ends before it begins; write 10-12'),
    ],
)
def test_config_rejects_bad_step_range(text, message):
    with pytest.raises(UserError) as error:
        Config.create(profile_steps=text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(batch_size='8'), "batch_size='8' is not a whole number; its default is 32"),
        (dict(batch_size=8.0), 'batch_size=8.0 is not a whole number'),
        (dict(batch_size=True), 'batch_size=True is not a whole number'),
        (dict(batch_size=None), 'batch_size=None is not a whole number'),
        (dict(flip=1), 'flip=1 is not True or False'),
        (dict(adam_beta1='x'), "adam_beta1='x' is not a number; its default is None"),
        (dict(data_dir=None), 'data_dir=None is not a text'),
    ],
)
def test_config_rejects_values_of_other_types(options, message):
    with pytest.raises(UserError) as error:
        Config.create(**options)
    assert message in str(error.value)


def test_config_has_values_of_python_types():
    options = Config.create(batch_size=np.int64(4), learning_rate=np.float64(0.5)).options()
    assert (type(options['batch_size']), type(options['learning_rate'])) == (int, float)
