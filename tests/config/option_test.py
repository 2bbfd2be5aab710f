"""Ranges of steps."""

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
