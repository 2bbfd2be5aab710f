import dataclasses
from typing import ClassVar

import pytest

from spade_jax.config.config import Config
from spade_jax.config.model_options import MODELS, ModelOptions, RegisteredModel
from spade_jax.config.option import nearest_multiples
from spade_jax.errors import UserError

SHORTSIDE = dict(crop_size=512, aspect_ratio=2.0, preprocess_mode='scale_shortside_and_crop')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(crop_size=250), 'is not divisible by 32 (5 upsamplings); use 224 or 256'),
        (dict(crop_size=20), 'crop_size=20 is not divisible by 32 (5 upsamplings); use 32'),
        (
            dict(upsampling='most', aspect_ratio=4.0),
            'aspect_ratio=4.0 gives images of 256x64, whose height is not divisible by 128',
        ),
        (dict(aspect_ratio=1.5), 'use 1.6 (256x160) or 1.333 (256x192)'),
        (dict(aspect_ratio=1.4), 'use 1.333 (256x192) or 1.6 (256x160)'),
        (dict(load_size=200), 'smaller than the width of the crop; use --load_size=256 or more'),
        (dict(**SHORTSIDE, load_size=240), 'shorter side of the crop; use --load_size=256 or more'),
        (
            dict(generator_width=1, crop_size=128, load_size=128, upsampling='most'),
            'leaves no channel for the narrowest block',
        ),
        (
            dict(gan_loss='hinges'),
            'gan_loss=hinges is not one of hinge, least_squares, cross_entropy, minimax, ',
        ),
        (dict(spade_kernel_size=4), 'spade_kernel_size=4 is even'),
        (
            dict(reuse_fakes=True, accumulation_steps=2),
            'reuse_fakes with accumulation_steps=2: the fake images of a microbatch are not kept',
        ),
        (dict(reuse_fakes=True, discriminator_steps=2), 'without a generator update have no fake'),
        (
            dict(label_conv='dedup', condition='rgb'),
            'label_conv=dedup with condition=rgb: it needs',
        ),
        (dict(label_conv='dedup', spade_kernel_size=5), 'with spade_kernel_size=5'),
        (dict(batch_size=0), 'batch_size=0 is too small; use 1 or more'),
        (dict(batch_size=6, accumulation_steps=4), 'use --batch_size=4 or 8'),
        (dict(learning_rate=0.0), 'learning_rate=0.0 is too small; use 1e-12 or more'),
        (dict(learning_rate=float('nan')), 'learning_rate=nan is not a finite number'),
        (dict(adam_beta2=1.0), 'adam_beta2=1.0 is too large; use 0.999999 or less'),
        (dict(ema_decay=1.0), 'ema_decay=1.0 is too large; use 0.999999 or less'),
        (dict(num_classes=256, dontcare=True), '255 would be both a class and "unknown"'),
        (dict(constant_epochs=0), 'leave nothing to train'),
        (
            dict(style_encoder=True, encoder_input_size=64),
            'leaves a single pixel after 6 convolutions of stride 2; use 128 or more',
        ),
        (
            dict(generator_multipliers='2,x'),
            "generator_multipliers=2,x: 'x' is not an integer from 1",
        ),
        (dict(generator_multipliers='2,1', upsampling='more'), 'leave --upsampling out'),
        (dict(generator_multipliers='2,1', crop_size=33), 'not divisible by 2 (1 upsamplings)'),
        (dict(model='stylegan'), 'model=stylegan is not one of spade'),
        (dict(generator_depth=3), 'generator_depth is not an option of any model'),
    ],
)
def test_bad_value_is_named_with_its_remedy(options, message):
    with pytest.raises(UserError) as error:
        Config.create(**options)
    assert message in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'options, height_and_width',
    [
        (dict(), (256, 256)),
        (dict(crop_size=512, load_size=512, aspect_ratio=2.0), (256, 512)),
        (dict(aspect_ratio=4 / 3), (192, 256)),
        (dict(crop_size=128, aspect_ratio=0.5), (256, 128)),
        (dict(**SHORTSIDE, load_size=286), (256, 512)),
    ],
)
def test_image_size_follows_crop_size_and_aspect_ratio(options, height_and_width):
    data = Config.create(**options).data
    assert (data.image_height, data.image_width) == height_and_width


def test_json_round_trip():
    config = Config.create(num_classes=5, dontcare=True, adam_beta1=0.3, spade_hidden=7)
    assert Config.from_json(config.to_json()) == config
    assert config.to_json()['model']['name'] == 'spade'


def test_json_with_unknown_option_is_refused():
    values = Config.create().to_json()
    with pytest.raises(UserError, match='does not know: color'):
        Config.from_json(values | {'data': values['data'] | {'color': 'blue'}})


@pytest.mark.parametrize('values', [{}, {'seed': 3}, {'data': {'seed': 3}}])
def test_json_without_sections_is_refused(values):
    with pytest.raises(UserError, match='no sections; use the version that wrote it'):
        Config.from_json(values)


def test_replace_keeps_other_options():
    config = Config.create(num_classes=5, seed=3)
    assert config.replace(seed=4) == Config.create(num_classes=5, seed=4)


def test_options_are_flat_and_make_the_same_config():
    config = Config.create(num_classes=5, generator_width=8)
    assert config.options()['generator_width'] == 8
    assert Config.create(**config.options()) == config


@dataclasses.dataclass(frozen=True)
class OptionsWithoutEma(ModelOptions):
    name: ClassVar[str] = 'without_ema'
    unused: ClassVar[tuple[str, ...]] = ('ema_decay',)


def test_unused_option_keeps_its_default(monkeypatch):
    row = RegisteredModel(options=f'{__name__}:OptionsWithoutEma', model='')
    monkeypatch.setitem(MODELS, 'without_ema', row)
    config = Config.create('without_ema', num_classes=3)
    assert config.replace(seed=4).run.seed == 4
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(UserError, match='ema_decay is not of model=without_ema; leave --ema_decay'):
        config.replace(ema_decay=0.9)


def test_nearest_multiples():
    assert nearest_multiples(250, 32) == '224 or 256'
    assert nearest_multiples(5, 32) == '32'
