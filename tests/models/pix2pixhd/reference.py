"""Networks and configurations for the options of golden files of pix2pixHD."""

import pytest

from spade_jax.config.config import Config
from spade_jax.models.patch_discriminator import MultiscaleDiscriminator, PatchDiscriminator
from spade_jax.models.pix2pixhd.encoder import FeatureEncoder
from spade_jax.models.pix2pixhd.generator import CoarseToFineGenerator
from spade_jax.models.pix2pixhd.reference_names import (
    discriminator_names,
    encoder_names,
    generator_names,
)
from tests import parity

NORMS = {'instance': 'instance', 'batch': 'sync_batch'}


def cases(*kinds):
    """Names of the golden files of these kinds; there may be none."""
    files = [file for kind in kinds for file in parity.cases(kind)]
    return [file for file in files if not file.endswith('_after')]


def generator_of(options):
    """The generator, global or with enhancers, and its names."""
    options = {'n_local_enhancers': 0, 'n_blocks_local': 3, **options}
    if 'global' in (options.get('which'), options.get('net')):
        options['n_local_enhancers'] = 0
    downsamplings = options.get('n_downsampling', options.get('n_downsample_global'))
    blocks = options.get('n_blocks', options.get('n_blocks_global'))
    enhancers = options['n_local_enhancers'], options['n_blocks_local']
    generator = CoarseToFineGenerator(
        width=options['ngf'],
        num_enhancers=enhancers[0],
        num_downsamplings=downsamplings,
        num_blocks=blocks,
        enhancer_blocks=enhancers[1],
        features=options.get('output_nc', 3),
        norm=NORMS[options['norm']],
    )
    return generator, generator_names(downsamplings, blocks, *enhancers)


def discriminator_of(options):
    """The discriminator and its names."""
    depth = options.get('n_layers', options.get('n_layers_D', 3)) + 1
    scales, features = options['num_D'], options.get('getIntermFeat', True)

    def patch_discriminator(name):
        return PatchDiscriminator(
            width=options['ndf'],
            depth=depth,
            norm=NORMS[options['norm']],
            spectral_norm=False,
            use_bias=True,
            name=name,
        )

    discriminator = MultiscaleDiscriminator(patch_discriminator, scales, coarse_first=True)
    return discriminator, discriminator_names(scales, depth, features=features)


def encoder_of(options):
    """The feature encoder and its names."""
    downsamplings = options.get('n_downsampling', options.get('n_downsample_E'))
    encoder = FeatureEncoder(
        width=options.get('nef', options.get('ngf')),
        num_downsamplings=downsamplings,
        features=options.get('feat_num', options.get('output_nc', 3)),
        norm=NORMS[options['norm']],
    )
    return encoder, encoder_names(downsamplings)


def config_of(options, batch_size, size, **fields):
    """The Config of a train step on images of (height, width) `size`."""
    if not options['label_nc'] and not options['no_instance']:
        pytest.skip('not offered: edges with an RGB condition')
    if options['netG'] not in ('global', 'local') or options['load_features']:
        pytest.skip('not offered: netG={netG}, load_features={load_features}'.format(**options))
    enhancers = options['n_local_enhancers'] if options['netG'] == 'local' else 0
    has_features = options['instance_feat'] or options['label_feat']
    if has_features and not options['label_nc']:
        pytest.skip('not offered: features with an RGB condition')
    if has_features and options['no_instance'] and not options['label_feat']:
        pytest.skip('not offered: features of instances without a condition of them')
    if options['niter_fix_global'] and not enhancers:
        pytest.skip('not offered: niter_fix_global without an enhancer')
    condition = 'labels' if options['no_instance'] else 'labels+edges'
    norm = NORMS[options['norm']]
    described = dict(
        num_classes=max(1, options['label_nc']),
        condition=condition if options['label_nc'] else 'rgb',
        crop_size=size[1],
        load_size=size[1],
        aspect_ratio=size[1] / size[0],
        generator_width=options['ngf'],
        num_enhancers=enhancers,
        generator_downsamplings=options['n_downsample_global'],
        generator_blocks=options['n_blocks_global'],
        enhancer_blocks=options['n_blocks_local'],
        frozen_epochs=options['niter_fix_global'] if enhancers else 0,
        instance_features=has_features,
        feature_regions='labels' if options['label_feat'] else 'instances',
        feature_dim=options['feat_num'],
        encoder_width=options['nef'],
        encoder_downsamplings=options['n_downsample_E'],
        discriminator_width=options['ndf'],
        discriminator_depth=options['n_layers_D'] + 1,
        num_discriminators=options['num_D'],
        image_pool_size=options['pool_size'],
        generator_norm=norm,
        encoder_norm=norm,
        discriminator_norm=norm,
        gan_loss='cross_entropy' if options['no_lsgan'] else 'least_squares',
        feature_matching_weight=0.0 if options['no_ganFeat_loss'] else options['lambda_feat'],
        perceptual_weight=0.0 if options['no_vgg_loss'] else options['lambda_feat'],
        learning_rate=options['lr'],
        adam_beta1=options['beta1'],
        constant_epochs=max(100, options['niter_fix_global']),  # The steps have the full rate.
        batch_size=batch_size,
    )
    return Config.create(model='pix2pixhd', **{**described, **fields})
