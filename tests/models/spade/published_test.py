import re

import numpy as np
import pytest

from spade_jax.config import catalog
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.spade.published import infer, infer_config, resolve, unsupported_by_reference
from tests import parity
from tests.convert.released_files import options_to_give, zero_states

SMALL = dict(
    num_classes=3,
    crop_size=64,
    load_size=64,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    encoder_width=2,
)
STYLED = SMALL | dict(style_encoder=True, style_dim=6)
LARGE = dict(crop_size=256, load_size=256)
ARCHITECTURES = [
    SMALL,
    SMALL | dict(upsampling='most', crop_size=128, load_size=128),
    SMALL | dict(generator_multipliers='3,2'),
    SMALL | dict(generator_norm='instance'),
    SMALL | dict(generator_spectral_norm=False, spade_kernel_size=5),
    SMALL | dict(num_discriminators=3, discriminator_depth=2),
    SMALL | dict(discriminator_norm='none'),
    SMALL | dict(discriminator_norm='sync_batch', discriminator_spectral_norm=False),
    STYLED,
    STYLED | LARGE | dict(aspect_ratio=2.0),
    STYLED | dict(encoder_input_size=64),
    STYLED | dict(generator_multipliers='3,2'),
    STYLED | dict(encoder_norm='sync_batch'),
]
# Enough for SMALL, whose files tell the rest.
GIVEN = dict(num_classes=3, crop_size=64, upsampling='normal')
GIVEN_STYLED = dict(num_classes=3, crop_size=64)


def found_in(options, **others):
    """The architecture of the files of a configuration."""
    return infer(**zero_states(Config.create(**options, **others)))


def resolved(found, **given):
    return resolve(found, given, given)


def refusal(found, **given):
    """The message with which `resolve` refuses these flags."""
    with pytest.raises(UserError) as error:
        resolve(found, given, given)
    return str(error.value)


@pytest.mark.parametrize('options', ARCHITECTURES)
def test_infer_finds_only_true_options(options):
    config = Config.create(**options)
    found = infer(**zero_states(config)).options
    assert found == {name: config.options()[name] for name in found}


@pytest.mark.parametrize('options', ARCHITECTURES)
def test_infer_finds_layout_channels(options):
    assert found_in(options).layout_channels == 3


@pytest.mark.parametrize('options', ARCHITECTURES)
def test_infer_config_recovers_config(options):
    config = Config.create(**options)
    values = config.options()
    names = ['num_classes', 'crop_size', 'aspect_ratio', 'load_size']
    has_choice = not config.model.generator_multipliers and config.model.upsampling != 'most'
    if has_choice and not config.model.style_encoder:
        names.append('upsampling')
    given = {name: values[name] for name in names}
    expected = config.replace(dataset='folders')
    if not config.model.style_encoder:
        expected = expected.replace(encoder_width=Config.create().model.encoder_width)
    assert infer_config(zero_states(config), given, given) == expected


def same_in_files(norm):
    """Files do not tell batch from sync_batch."""
    return 'sync_batch' if norm == 'batch' else norm


def golden_generator(case):
    """The golden case and the architecture of its files, with an encoder that fits."""
    golden = parity.Golden(case)
    options = parity.with_defaults(golden.options)
    states = {'generator': golden.state('sd')}
    if options['use_vae']:
        size = options['crop_size']
        encoder = Config.create(**STYLED | dict(crop_size=size, load_size=size))
        states['encoder'] = zero_states(encoder)['encoder']
    return golden, infer(**states)


@pytest.mark.parametrize('case', parity.cases('generator'))
def test_infer_recognizes_golden_generator(case):
    golden, found = golden_generator(case)
    expected = dict(
        generator_width=golden.options['ngf'],
        generator_norm=same_in_files(golden.norm),
        generator_spectral_norm=golden.spade.spectral,
        spade_hidden=128,
        spade_kernel_size=golden.spade.kernel_size,
        style_encoder=golden.options['use_vae'],
    )
    if golden.options['use_vae']:
        expected['style_dim'] = golden.options['z_dim']
    assert found.options | expected == found.options
    assert found.layout_channels == golden['in/semantics'].shape[-1]


@pytest.mark.parametrize(
    'case', [case for case in parity.cases('generator') if parity.Golden(case).options['use_vae']]
)
def test_resolve_finds_upsampling_of_golden_generator(case):
    golden, found = golden_generator(case)
    config = resolved(found, **options_to_give(golden))
    assert found.grid_cells == np.prod(golden.meta['latent_hw'])
    assert config.model.grid_size(config.data) == tuple(golden.meta['latent_hw'])
    assert config.model.upsampling == golden.options.get('num_upsampling_layers', 'normal')


@pytest.mark.parametrize('case', parity.cases('discriminator'))
def test_infer_recognizes_golden_discriminator(case):
    golden = parity.Golden(case)
    options = parity.with_defaults(golden.options)
    norm = parity.norm_of(options['norm_D'])
    generator = zero_states(Config.create(**SMALL))['generator']
    found = infer(generator, golden.state('sd')).options
    expected = dict(
        num_discriminators=options['num_D'],
        discriminator_depth=options['n_layers_D'],
        discriminator_width=options['ndf'],
        discriminator_norm=same_in_files(norm.kind),
        discriminator_spectral_norm=norm.spectral,
    )
    assert found | expected == found


@pytest.mark.parametrize('case', parity.usable_encoders())
def test_infer_recognizes_golden_encoder(case):
    golden = parity.Golden(case)
    options = parity.with_defaults(golden.options | {'use_vae': True})
    generator = zero_states(Config.create(**STYLED))['generator']
    found = infer(generator, None, golden.state('sd'))
    expected = dict(
        encoder_width=options['ngf'],
        encoder_norm=same_in_files(parity.norm_of(options['norm_E']).kind),
        encoder_input_size=256,
    )
    assert found.options | expected == found.options
    assert found.encoder_depth == 6


PUBLISHED = [
    ('coco_stuff', 184, {}),
    ('ade20k', 151, {}),
    ('cityscapes', 36, dict(upsampling='more')),
]


def published_config(dataset, options):
    return Config.create(**catalog.defaults_of(dataset, '') | dict(dataset=dataset) | options)


@pytest.mark.parametrize('dataset, channels, options', PUBLISHED)
def test_dataset_is_enough_for_published_model(dataset, channels, options):
    config = published_config(dataset, options)
    found = infer(**zero_states(config))
    given = dict(dataset=dataset) | options
    assert found.layout_channels == channels
    assert resolve(found, catalog.defaults_of(dataset, '') | given, given) == config


@pytest.mark.parametrize('dataset, channels, options', PUBLISHED)
def test_refusal_suggests_dataset_of_published_model(dataset, channels, options):
    found = infer(**zero_states(published_config(dataset, options)))
    hint = f'; {channels} channels are those of the published model of '
    assert re.search(f'{hint}.*: --dataset={dataset}$', refusal(found))


@pytest.mark.parametrize(
    'flag',
    [
        '--num_classes=N',
        '--dontcare',
        '--condition=labels+edges',
        '--crop_size=WIDTH',
        '--aspect_ratio=WIDTH/HEIGHT',
        '--upsampling=normal',
    ],
)
def test_refusal_names_missing_flag(flag):
    assert flag in refusal(found_in(SMALL))


@pytest.mark.parametrize('flag', ['--num_classes', '--crop_size', '--dataset'])
def test_refusal_names_no_other_flag(flag):
    message = refusal(found_in(SMALL), num_classes=3, crop_size=64)
    assert '--upsampling=more' in message
    assert flag not in message


def test_grid_of_style_latent_tells_upsampling():
    assert '--upsampling' not in refusal(found_in(STYLED))


ADE20K = dict(dataset='ade20k', num_classes=150, dontcare=True)


def published_ade20k():
    return infer(**zero_states(Config.create(num_classes=150, dontcare=True)))


def test_published_size_is_the_default():
    assert resolved(published_ade20k(), **ADE20K).data.crop_size == 256


def test_published_upsampling_is_no_default_at_another_size():
    assert '--upsampling=more' in refusal(published_ade20k(), **ADE20K, crop_size=512)


def test_load_size_is_at_least_crop_size():
    config = resolved(published_ade20k(), **ADE20K, crop_size=512, upsampling='more')
    assert config.data.load_size == 512


@pytest.mark.parametrize(
    'flags, message',
    [
        (dict(num_classes=4), 'a layout of 3 channels, but num_classes=4 make 4'),
        (
            dict(num_classes=2, dontcare=True, condition='labels+edges'),
            'num_classes=2, dontcare, instance edges make 4; set --num_classes',
        ),
        (dict(generator_width=64, spade_hidden=4), 'generator_width is 2, not 64; leave'),
        (dict(discriminator_norm='batch'), 'discriminator_norm is instance, not batch'),
        (dict(upsampling='most'), 'upsampling is normal or more, not most'),
    ],
)
def test_contradicting_flags_are_refused(flags, message):
    assert message in refusal(found_in(SMALL), **GIVEN | flags)


def test_rgb_condition_has_three_channels():
    given = dict(condition='rgb', crop_size=64, upsampling='normal')
    assert resolved(found_in(SMALL), **given).data.condition == 'rgb'


@pytest.mark.parametrize('norm', ['generator_norm', 'discriminator_norm', 'encoder_norm'])
def test_flag_chooses_between_norms_that_files_do_not_tell_apart(norm):
    found = found_in(STYLED, **{norm: 'sync_batch'})
    assert resolved(found, **GIVEN_STYLED).options()[norm] == 'sync_batch'
    assert resolved(found, **GIVEN_STYLED, **{norm: 'batch'}).options()[norm] == 'batch'


def test_flag_refines_input_size_of_encoder():
    """Inputs of 225 to 256 pixels leave the same grid after 5 convolutions of stride 2."""
    config = resolved(found_in(STYLED), **GIVEN_STYLED, encoder_input_size=255)
    assert config.model.encoder_input_size == 255


def test_contradicting_input_size_of_encoder_is_refused():
    message = refusal(found_in(STYLED), **GIVEN_STYLED, encoder_input_size=224)
    assert 'encoder_input_size is 256, not 224' in message


@pytest.fixture
def found_on_wide_grid():
    """Of a generator with a grid of 4x8 cells."""
    return found_in(STYLED | LARGE, aspect_ratio=2.0)


def test_size_that_does_not_fit_grid_is_refused(found_on_wide_grid):
    message = refusal(found_on_wide_grid, num_classes=3, crop_size=256)
    assert 'a grid of 32 cells' in message
    assert '8x8 with 5 upsamplings or 4x4 with 6 upsamplings' in message
    assert '--crop_size=256 --aspect_ratio=2 (256x128)' in message


def test_size_that_does_not_fit_multipliers_is_refused():
    message = refusal(found_in(STYLED, generator_multipliers='3,2'), num_classes=3, crop_size=32)
    assert 'a grid of 1024 cells, but crop_size=32 and aspect_ratio=1 have 16x16' in message


def test_generator_without_its_last_blocks_is_a_damaged_published_one():
    states = zero_states(Config.create(**SMALL))
    names = [name for name in states['generator'] if not name.startswith(('up_2', 'up_3'))]
    found = infer({name: states['generator'][name] for name in names})
    assert found.options['generator_width'] == 2
    assert 'generator_multipliers' not in found.options


def test_size_and_grid_tell_upsampling(found_on_wide_grid):
    config = resolved(found_on_wide_grid, num_classes=3, crop_size=512, aspect_ratio=2.0)
    assert config.model.upsampling == 'more'


def test_depth_of_encoder_must_fit_crop_size():
    found = found_in(STYLED)._replace(encoder_depth=6)
    message = refusal(found, **GIVEN_STYLED)
    assert 'has 6 convolutions, but with crop_size=64 it would have 5' in message


@pytest.mark.parametrize(
    'options, flag',
    [
        (dict(noise_injection=True), '--noise_injection'),
        (dict(upsampling_method='bilinear'), '--upsampling_method=bilinear'),
        (dict(style_encoder=True, encoder_depth=4), '--encoder_depth=4'),
    ],
)
def test_options_that_the_reference_lacks_are_named(options, flag):
    assert flag in unsupported_by_reference(Config.create(**options))


@pytest.fixture(scope='module')
def styled_states():
    return zero_states(Config.create(**STYLED))


def test_style_latent_needs_encoder(styled_states):
    with pytest.raises(UserError, match='no file of the style encoder'):
        infer(styled_states['generator'], styled_states['discriminator'])


def test_encoder_needs_style_latent(styled_states):
    generator = zero_states(Config.create(**SMALL))['generator']
    with pytest.raises(UserError, match='takes no style'):
        infer(generator, None, styled_states['encoder'])


@pytest.mark.parametrize(
    'network, other, entry',
    [
        ('generator', 'discriminator', 'fc.weight'),
        ('discriminator', 'generator', 'discriminator_0.model0.0.weight'),
        ('encoder', 'discriminator', 'layer1.0.weight_orig'),
    ],
)
def test_file_of_another_network_is_refused(styled_states, network, other, entry):
    states = styled_states | {network: styled_states[other]}
    with pytest.raises(UserError, match=f'{network}: there is no entry {entry} .*begins with'):
        infer(**states)


def test_impossible_shape_is_refused(styled_states):
    generator = styled_states['generator'] | {'fc.weight': np.zeros(3)}
    with pytest.raises(UserError, match=r'fc.weight has the shape \(3,\), which no SPADE'):
        infer(generator, None, styled_states['encoder'])
