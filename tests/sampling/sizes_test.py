import pytest

from spade_jax.errors import UserError
from spade_jax.sampling.sizes import parse_size
from tests.sampling import tiny


@pytest.mark.parametrize(
    'text, message',
    [
        (
            '100x64',
            'sample_size=100x64: a label map of 100x64: its width is not divisible by 32 (5 upsamplings); use 96 or 128, or the training size, 32x32',
        ),
        ('64x0', 'its height is not divisible by 32 (5 upsamplings); use 32'),
        (
            '64',
            'sample_size=64 is no size; use training, native, or WIDTHxHEIGHT, for example 64x64',
        ),
        ('big', 'sample_size=big is no size'),
    ],
)
def test_illegal_sizes(text, message):
    with pytest.raises(UserError) as error:
        parse_size(text, tiny.PLAIN)
    assert message in str(error.value)


def test_a_model_with_encoder_has_one_size():
    assert parse_size('32x32', tiny.STYLED) == parse_size('training', tiny.STYLED) == (32, 32)
    with pytest.raises(
        UserError,
        match='sample_size=64x64: .* with style encoder draws 32x32 alone, the size it was trained at; leave --sample_size out',
    ):
        parse_size('64x64', tiny.STYLED)
