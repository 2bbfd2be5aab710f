import dataclasses

import jax
import numpy as np
import pytest

from spade_jax.config import catalog
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.spade.model import build_networks
from spade_jax.models.spade.published import infer, resolve
from spade_jax.models.spade.reference_names import to_state
from spade_jax.models.train_state import abstract_networks
from tests import parity

SMALL = dict(
    num_classes=3,
    crop_size=64,
    load_size=64,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    encoder_width=2,
)
ENCODER = dict(style_encoder=True, style_dim=6)


def shapes(config):
    """The state dictionaries that the networks of a configuration would have, without their numbers."""

    def zeros(tree):
        return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), tree)

    generator, discriminator, encoder = map(
        zeros, abstract_networks(config, build_networks(config))
    )
    latent_size = config.model.grid_size(config.data) if config.model.style_encoder else None
    return (
        to_state(generator, 'generator', latent_size=latent_size),
        to_state(discriminator, 'discriminator'),
        None if encoder is None else to_state(encoder, 'encoder'),
    )


def check_fields(config, fields):
    assert fields == {name: getattr(config, name) for name in fields}


@pytest.mark.parametrize(
    'fields',
    [
        dict(),
        dict(upsampling='most', crop_size=128, load_size=128),
        dict(generator_norm='instance'),
        dict(generator_spectral_norm=False, spade_kernel_size=5),
        ENCODER,
        ENCODER | dict(crop_size=256, load_size=256, aspect_ratio=2.0),
        ENCODER | dict(encoder_input_size=64),
        dict(num_discriminators=3, discriminator_depth=2),
        dict(discriminator_norm='none'),
        dict(discriminator_norm='sync_batch', discriminator_spectral_norm=False),
    ],
)
def test_every_kind_of_network_is_recognised(fields):
    config = Config.create(**SMALL | fields)
    found = infer(*shapes(config))
    check_fields(config, found.fields)
    assert {
        'generator_width',
        'spade_hidden',
        'discriminator_depth',
        'discriminator_norm',
        'style_encoder',
        'num_discriminators',
    } <= set(found.fields)
    assert found.layout_channels == config.data.layout_channels
    flags = {
        name: getattr(config, name)
        for name in ('num_classes', 'crop_size', 'aspect_ratio', 'load_size')
    }
    if config.model.upsampling != 'most' and not config.model.style_encoder:
        flags['upsampling'] = config.model.upsampling
    expected = dataclasses.replace(
        config,
        dataset='folders',
        encoder_width=config.model.encoder_width
        if config.model.style_encoder
        else Config.encoder_width,
    )
    assert resolve(found, flags, flags) == expected


@pytest.mark.parametrize('case', parity.cases('generator'))
def test_golden_generators_are_recognised(case):
    golden = parity.Golden(case)
    options, state = golden.options, golden.state('sd')
    encoder = None
    if options['use_vae']:
        config = Config.create(**SMALL | ENCODER)
        encoder = shapes(config)[2]
    found = infer(state, None, encoder)
    expected = dict(
        generator_width=options['ngf'],
        generator_norm=golden.norm,
        generator_spectral_norm=True,
        spade_hidden=128,
        spade_kernel_size=3,
        style_encoder=options['use_vae'],
    )
    assert {name: found.fields[name] for name in expected} == expected
    assert found.fields.get('style_dim') == (options['z_dim'] if options['use_vae'] else None)
    assert found.layout_channels == golden['in/semantics'].shape[-1]
    if options['use_vae']:
        assert found.grid_cells == np.prod(golden.meta['latent_hw'])
        flags = dict(
            num_classes=options['label_nc'],
            dontcare=options['contain_dontcare_label'],
            condition='labels' if options['no_instance'] else 'labels+edges',
            crop_size=options['crop_size'],
            aspect_ratio=options.get('aspect_ratio', 1.0),
        )
        config = resolve(found, flags, flags)
        assert config.model.grid_size(config.data) == tuple(
            golden.meta['latent_hw']
        ) and config.model.upsampling == options.get('num_upsampling_layers', 'normal')


@pytest.mark.parametrize('case', parity.cases('discriminator'))
def test_golden_discriminators_are_recognised(case):
    golden = parity.Golden(case)
    options = golden.options
    found = infer(shapes(Config.create(**SMALL))[0], golden.state('sd'))
    expected = dict(
        num_discriminators=options['num_D'],
        discriminator_depth=options['n_layers_D'],
        discriminator_width=options['ndf'],
        discriminator_norm='instance',
        discriminator_spectral_norm=True,
    )
    assert {name: found.fields[name] for name in expected} == expected


def test_golden_encoder_is_recognised():
    golden = parity.Golden('encoder_crop256')
    found = infer(shapes(Config.create(**SMALL | ENCODER))[0], None, golden.state('sd'))
    assert found.encoder_depth == 6
    assert (found.fields['encoder_width'], found.fields['encoder_input_size']) == (
        golden.options['ngf'],
        256,
    )


@pytest.mark.parametrize(
    'dataset, channels, flags',
    [('coco_stuff', 184, {}), ('ade20k', 151, {}), ('cityscapes', 36, dict(upsampling='more'))],
)
def test_published_models_at_full_size(dataset, channels, flags):
    config = Config.create(**catalog.defaults_of(dataset, '') | dict(dataset=dataset) | flags)
    found = infer(*shapes(config))
    assert found.layout_channels == channels
    given = dict(dataset=dataset) | flags
    resolved = resolve(found, catalog.defaults_of(dataset, '') | given, given)
    assert resolved == config
    with pytest.raises(UserError) as error:
        resolve(found, {}, {})
    assert f'--dataset={dataset}' in str(error.value)


def refusal(found, **flags):
    with pytest.raises(UserError) as error:
        resolve(found, flags, flags)
    return str(error.value)


def test_all_that_is_missing_is_asked_for_by_name():
    found = infer(*shapes(Config.create(**SMALL)))
    message = refusal(found)
    for flag in (
        '--num_classes=N',
        '--dontcare',
        '--condition=labels+edges',
        '--crop_size=WIDTH',
        '--aspect_ratio=',
        '--upsampling=normal',
    ):
        assert flag in message
    assert '--dataset' not in message
    message = refusal(found, num_classes=3, crop_size=64)
    assert (
        '--upsampling=more' in message
        and '--num_classes' not in message
        and '--crop_size' not in message
    )
    assert '--upsampling' not in refusal(infer(*shapes(Config.create(**SMALL | ENCODER))))


def test_the_published_size_is_not_assumed_for_a_model_of_another_size():
    found = infer(*shapes(Config.create(num_classes=150, dontcare=True)))
    flags = dict(dataset='ade20k', num_classes=150, dontcare=True)
    assert resolve(found, flags, flags).crop_size == 256
    assert '--upsampling=more' in refusal(found, **flags, crop_size=512)
    assert (
        resolve(
            found,
            flags | dict(crop_size=512, upsampling='more'),
            flags | dict(crop_size=512, upsampling='more'),
        ).load_size
        == 512
    )


@pytest.mark.parametrize(
    'flags, message',
    [
        (dict(num_classes=4), 'a layout of 3 channels, but num_classes=4 make 4'),
        (
            dict(num_classes=2, dontcare=True, condition='labels+edges'),
            'num_classes=2, dontcare, instance edges make 4; give --num_classes',
        ),
        (
            dict(num_classes=3, generator_width=64, spade_hidden=4, discriminator_norm='batch'),
            'contradict the files: generator_width is 2, not 64; discriminator_norm is instance, not batch',
        ),
        (dict(num_classes=3, upsampling='most'), 'upsampling is normal or more, not most'),
    ],
)
def test_flags_that_contradict_the_shapes(flags, message):
    assert message in refusal(
        infer(*shapes(Config.create(**SMALL))), **dict(crop_size=64, upsampling='normal') | flags
    )


def test_norms_that_files_do_not_tell_apart_are_the_flags_to_choose():
    found = infer(*shapes(Config.create(**SMALL)))
    flags = dict(num_classes=3, crop_size=64, upsampling='normal')
    assert resolve(found, flags, flags).generator_norm == 'sync_batch'
    assert (
        resolve(
            found, flags | dict(generator_norm='batch'), flags | dict(generator_norm='batch')
        ).generator_norm
        == 'batch'
    )
    found = infer(*shapes(Config.create(**SMALL | ENCODER)))
    del flags['upsampling']
    assert (
        resolve(
            found, flags | dict(encoder_input_size=255), flags | dict(encoder_input_size=255)
        ).encoder_input_size
        == 255
    )


def test_a_size_that_the_dense_layer_does_not_have():
    found = infer(
        *shapes(
            Config.create(**SMALL | ENCODER | dict(crop_size=256, load_size=256, aspect_ratio=2.0))
        )
    )  # 4 x 8 cells
    message = refusal(found, num_classes=3, crop_size=256)
    assert (
        'a grid of 32 cells' in message
        and '8x8 with upsampling=normal or 4x4 with upsampling=more' in message
    )
    assert '--crop_size=256 --aspect_ratio=2 (256x128)' in message
    flags = dict(num_classes=3, crop_size=512, aspect_ratio=2.0)
    assert resolve(found, flags, flags).upsampling == 'more'


def test_encoder_of_another_crop():
    found = infer(*shapes(Config.create(**SMALL | ENCODER)))._replace(encoder_depth=6)
    assert 'has 6 convolutions, but with crop_size=64 it would have 5' in refusal(
        found, num_classes=3, crop_size=64
    )


def test_networks_that_do_not_belong_together():
    generator, discriminator, encoder = shapes(Config.create(**SMALL | ENCODER))
    with pytest.raises(UserError, match='no file of the style encoder'):
        infer(generator, discriminator)
    with pytest.raises(UserError, match='takes no style'):
        infer(shapes(Config.create(**SMALL))[0], discriminator, encoder)
    with pytest.raises(UserError, match='generator: there is no entry fc.weight'):
        infer(discriminator, discriminator)
    with pytest.raises(
        UserError, match='discriminator: there is no entry discriminator_0.model0.0.weight'
    ):
        infer(generator, generator, encoder)
    with pytest.raises(UserError, match='encoder: there is no entry layer1.0.weight_orig'):
        infer(generator, None, discriminator)
    with pytest.raises(UserError, match='which no SPADE generator has'):
        infer(generator | {'fc.weight': np.zeros(3)}, None, encoder)
