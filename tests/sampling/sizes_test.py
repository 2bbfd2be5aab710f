import pytest

from spade_jax.errors import UserError
from spade_jax.sampling.sizes import parse_size
from tests.sampling import tiny


@pytest.mark.parametrize(
    'text, expected', [('training', (32, 32)), ('96x64', (96, 64)), ('native', None)]
)
def test_parse_size_returns_width_and_height(text, expected):
    assert parse_size(text, tiny.PLAIN) == expected


@pytest.mark.parametrize(
    'text, message',
    [
        (
            '100x64',
            'sample_size=100x64: a label map of 100x64: its width is not divisible by 8 '
            '(3 upsamplings); use 96 or 104, or the training size 32x32',
        ),
        ('64x0', 'its height is not divisible by 8 (3 upsamplings); use 8'),
        ('64', 'sample_size=64 is not a size; use training, native, or WIDTHxHEIGHT, e.g. 64x64'),
        ('big', 'sample_size=big is not a size'),
    ],
)
def test_parse_size_rejects_illegal_sizes(text, message):
    with pytest.raises(UserError) as error:
        parse_size(text, tiny.PLAIN)
    assert message in str(error.value)


def test_model_with_encoder_has_one_size():
    assert parse_size('32x32', tiny.STYLED) == (32, 32)
    message = 'samples at its training size 32x32 only; leave --sample_size out'
    with pytest.raises(UserError, match=message):
        parse_size('64x64', tiny.STYLED)
