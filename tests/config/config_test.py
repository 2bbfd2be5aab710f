import dataclasses

import pytest

from spade_jax.config.config import Config, conflicts
from spade_jax.config.option import nearest_multiples
from spade_jax.errors import UserError


@pytest.mark.parametrize(
    'fields, message',
    [
        (
            dict(crop_size=250),
            'crop_size=250 is not divisible by 32 (5 upsamplings); use 224 or 256',
        ),
        (dict(crop_size=20), 'crop_size=20 is not divisible by 32 (5 upsamplings); use 32'),
        (
            dict(crop_size=256, upsampling='most', aspect_ratio=4.0),
            'aspect_ratio=4.0 gives pictures of 256x64, whose height is not divisible by 128',
        ),
        (dict(aspect_ratio=1.5), 'use 1.6 (256x160) or 1.333 (256x192)'),
        (
            dict(load_size=200),
            'load_size=200 is smaller than the width of the crop; use --load_size=256 or more',
        ),
        (
            dict(
                crop_size=512,
                aspect_ratio=2.0,
                load_size=240,
                preprocess_mode='scale_shortside_and_crop',
            ),
            'shorter side of the crop; use --load_size=256 or more',
        ),
        (
            dict(generator_width=1, crop_size=128, load_size=128, upsampling='most'),
            'leaves no channel for the last block',
        ),
        (
            dict(gan_loss='hinges'),
            'gan_loss=hinges is not one of hinge, least_squares, cross_entropy, wasserstein',
        ),
        (dict(spade_kernel_size=4), 'spade_kernel_size=4 is even'),
        (
            dict(reuse_fakes='reused', accumulation_steps=2),
            'reuse_fakes=reused with accumulation_steps=2: the parts of a batch do not keep theirs; use',
        ),
        (
            dict(reuse_fakes='reused', discriminator_steps=2),
            'steps without generator update have none',
        ),
        (
            dict(label_conv='neighbourhoods', condition='rgb'),
            'label_conv=dedup with condition=rgb: it is for label maps',
        ),
        (dict(label_conv='neighbourhoods', spade_kernel_size=5), 'with spade_kernel_size=5'),
        (dict(batch_size=0), 'batch_size=0 is too small; use 1 or more'),
        (dict(learning_rate=0.0), 'learning_rate=0.0 is too small; use more than 0'),
        (dict(learning_rate=float('nan')), 'learning_rate=nan is not a finite number'),
        (dict(adam_beta2=1.0), 'adam_beta2=1.0 does not decay'),
        (dict(num_classes=256, dontcare=True), '255 would be both a class and "unknown"'),
        (dict(constant_epochs=0), 'leave nothing to train'),
        (
            dict(style_encoder=True, encoder_input_size=64),
            'encoder_input_size=64 leaves one pixel after 6 halvings; use 128 or more',
        ),
    ],
)
def test_a_bad_value_is_named_with_its_remedy(fields, message):
    with pytest.raises(UserError) as error:
        Config.create(**fields)
    assert message in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'fields, height_and_width',
    [
        (dict(), (256, 256)),
        (dict(crop_size=512, load_size=512, aspect_ratio=2.0), (256, 512)),
        (dict(aspect_ratio=4 / 3), (192, 256)),
        (dict(crop_size=128, aspect_ratio=0.5), (256, 128)),
        (
            dict(
                crop_size=512,
                aspect_ratio=2.0,
                load_size=286,
                preprocess_mode='scale_shortside_and_crop',
            ),
            (256, 512),
        ),
    ],
)
def test_size_of_the_picture(fields, height_and_width):
    config = Config.create(**fields)
    assert (config.data.image_height, config.data.image_width) == height_and_width


def test_betas_follow_the_time_scales_unless_given():
    assert Config.create().adam_betas == (0.0, 0.9)
    assert Config.create(ttur=False).adam_betas == (0.5, 0.999)
    assert Config.create(ttur=False, adam_beta1=0.25).adam_betas == (0.25, 0.999)


def test_json_round_trip():
    config = Config.create(num_classes=5, dontcare=True, adam_beta1=0.3)
    assert Config.from_json(config.to_json()) == config
    with pytest.raises(UserError, match='does not know: colour'):
        Config.from_json(config.to_json() | {'colour': 'blue'})


def test_conflicts_list_what_may_not_change():
    saved = Config.create()
    assert conflicts(saved, dataclasses.replace(saved, data_dir='elsewhere', log_every=1)) == []
    assert conflicts(saved, dataclasses.replace(saved, num_classes=3, seed=7)) == [
        'num_classes: 13 -> 3',
        'seed: 0 -> 7',
    ]


def test_nearest_multiples():
    assert nearest_multiples(250, 32) == '224 or 256'
    assert nearest_multiples(5, 32) == '32'
