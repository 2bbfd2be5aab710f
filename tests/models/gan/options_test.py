"""The options of the GAN: sizes, the schedule of the growth, and what it refuses."""

import re

import pytest

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.gan.options import Growth
from tests.fixtures.cli import refusal


def gan(**options) -> Config:
    return Config.create(model='gan', **{'load_size': 512, 'crop_size': 32, **options})


@pytest.mark.parametrize(
    'options, growth',
    [
        (dict(), Growth(3)),
        (dict(grow='16:100,32:300'), Growth(1, (100, 300), (100, 100))),
        (dict(grow='8:10,16:11,32:50'), Growth(0, (10, 11, 50), (1, 19, 19))),
        (dict(grow='16:100,32:300', fade_steps=7), Growth(1, (100, 300), (7, 7))),
    ],
)
def test_growth(options, growth):
    config = gan(**options)
    assert config.model.growth(config.data) == growth


def test_level_of_a_step():
    growth = Growth(1, (100, 300), (100, 100))
    assert [growth.level_at(step) for step in (0, 99, 100, 299, 300, 9999)] == [1, 1, 2, 2, 3, 3]


def test_widths_and_grids():
    config = gan(gan_width=4, gan_max_width=16, aspect_ratio=2.0)
    assert config.model.widths(config.data) == (16, 16, 8, 4)
    assert [config.model.grid_size(config.data, level) for level in (0, 3)] == [(2, 4), (16, 32)]


@pytest.mark.parametrize(
    'options, problem, remedy',
    [
        (dict(crop_size=48), 'crop_size=48 is not base_size=4 doubled', 'use 32 or 64'),
        (dict(crop_size=30), 'crop_size=30 is not divisible by 4', 'use 28 or 32'),
        (dict(crop_size=48, base_size=5), 'crop_size=48 is not divisible', 'use 45 or 50'),
        (dict(aspect_ratio=32 / 12), 'height is not divisible by 8', r'2 \(32x16\) or 4 \(32x8\)'),
        (dict(grow='fast'), 'grow=fast is no schedule', 'WIDTH:STEP'),
        (dict(grow='8:10,32:20'), 'do not double up', 'use --grow=16:2000,32:4000'),
        (dict(grow='8:10,16:20'), 'up to crop_size=32', 'use --grow=16:2000,32:4000'),
        (dict(grow='4:10,8:20,16:30,32:40'), 'do not double', '8:2000,16:4000,32:6000'),
        (dict(grow='16:300,32:100'), 'steps do not increase', 'later steps'),
        (dict(grow='32:0'), 'steps do not increase', 'later steps'),
        (dict(grow='16:10,32:30', fade_steps=25), 'fade_steps=25 is longer', 'use 20 or less'),
        (dict(fade_steps=25), 'fade_steps=25 without a schedule', 'add --grow, or leave'),
        (dict(condition='labels'), 'condition=labels is not one of model=gan', 'none'),
        (dict(num_classes=3), 'num_classes is not of model=gan', 'leave --num_classes out'),
        (dict(palette='scenes'), 'palette is not of model=gan', 'leave --palette out'),
        (dict(perceptual_weight=1.0), 'perceptual_weight is not of model=gan', 'leave'),
        (dict(spade_hidden=8), 'spade_hidden is an option of model=spade', 'leave'),
        (dict(gan_discriminator_norm='batch'), 'gradient of each image alone', 'none or instance'),
    ],
)
def test_refused_options(options, problem, remedy):
    with pytest.raises(UserError, match=problem) as error:
        gan(**options)
    assert re.search(remedy, error.value.remedy), error.value.remedy


def test_conditional_models_refuse_images_alone():
    with pytest.raises(UserError, match='condition=none is not one of model=spade') as error:
        Config.create(condition='none')
    assert '--model=gan' in error.value.remedy


def test_gradient_penalty_comes_with_the_wasserstein_loss():
    assert gan().model.penalty_weight(gan().losses.gan_loss) == 10
    assert gan().model.penalty_weight('hinge') == 0
    assert gan(gradient_penalty_weight=0.0).model.penalty_weight('wasserstein') == 0


def test_penalty_is_an_option_of_gan_alone():
    text = refusal('--mode=train', '--workdir=run', '--gradient_penalty_weight=1')
    assert 'gradient_penalty_weight is an option of model=gan' in text
