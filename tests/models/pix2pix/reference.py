"""The reference's options of pix2pix, as they are in golden files, in the words used here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from spade_jax.config.config import Config
from spade_jax.models.model import Model
from spade_jax.models.pix2pix.options import PATCHES
from tests import parity

GAN_LOSSES = {'vanilla': 'cross_entropy', 'lsgan': 'least_squares', 'wgangp': 'wasserstein'}
INITIALIZATIONS = {'normal': 'normal', 'xavier': 'glorot', 'kaiming': 'kaiming'}
# Network -> the start of its names in the files of a train step.
PREFIXES = {'generator': 'netG.', 'discriminator': 'netD.'}


def files(prefix: str) -> list[str]:
    """Names of the golden files of a kind."""
    return parity.cases(f'p2p_{prefix}')


def network_config(options: dict[str, Any], **others: Any) -> tuple[str, Config]:
    """The network that `options` describe, and a Config that has it."""
    net = options.get('net') or options.get('netG') or options.get('netD')
    described, network = _network_fields(net, options)
    # Dropout is inactive where the golden files evaluate, and off where they train.
    dropout = bool(options.get('use_dropout') or 'dropout' in options.get('case', ''))
    fields = dict(pix2pix_norm=parity.NORMS[options.get('norm', 'batch')], pix2pix_dropout=dropout)
    fields |= dict(pix2pix_statistics='running', pix2pix_depth=5)
    channels = options.get('input_nc', 3 if network == 'generator' else 6)
    # A discriminator stacks the condition and an image, of which the order alone matters.
    channels = max(1, channels - 3 * (network == 'discriminator'))
    side = max(256, 2 ** described.get('pix2pix_depth', 0))
    data: dict[str, Any] = dict(crop_size=side, load_size=side)
    data |= dict(condition='rgb') if channels == 3 else dict(num_classes=channels)
    return network, Config.create('pix2pix', **{**data, **fields, **described, **others})


def _network_fields(net: str | None, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    if net and net.startswith('unet'):
        depth = options.get('num_downs') or {'unet_128': 7, 'unet_256': 8}[net]
        width = options.get('ngf', 64)
        return dict(pix2pix_depth=depth, generator_width=width), 'generator'
    if net and net.startswith('resnet'):
        blocks = options.get('n_blocks') or {'resnet_6blocks': 6, 'resnet_9blocks': 9}[net]
        fields = dict(pix2pix_generator='resnet', pix2pix_blocks=blocks)
        return fields | dict(generator_width=options.get('ngf', 64)), 'generator'
    halvings = {'pixel': 0, 'basic': 3}.get(net or '')
    if halvings is None:
        halvings = options.get('n_layers', options.get('n_layers_D', 3))
    patches = {number: patch for patch, number in PATCHES.items()}
    if halvings not in patches or (net == 'n_layers' and not halvings):
        pytest.skip(f'not offered: n_layers={halvings}')
    fields = dict(pix2pix_patch=patches[halvings], discriminator_width=options.get('ndf', 64))
    return fields, 'discriminator'


def generator_of(model: Model, options: dict[str, Any]) -> nn.Module:
    """The generator of a model, with the output channels of `options`: it may not make images."""
    return model.networks['generator'].clone(features=options.get('output_nc', 3))


def inputs_of(network: str, config: Config, x: jax.Array) -> Sequence[jax.Array | None]:
    """The inputs of a network from those of the reference, where they are one array."""
    if network == 'generator':
        return x, None
    return jnp.split(x, [config.data.layout_channels], axis=-1)


def train_config(options: dict[str, Any], size: tuple[int, int], batch_size: int) -> Config:
    """The Config of a train step on images of a size (height, width)."""
    if options['gan_mode'] not in GAN_LOSSES:
        pytest.skip(f'not offered: gan_mode={options["gan_mode"]}')
    if not options.get('no_dropout', True):
        pytest.skip('the masks of the dropout are not those of PyTorch')
    net = options['netG'].split(' ')[0]
    generator, _ = _network_fields(net, options)
    discriminator, _ = _network_fields(options.get('netD', 'basic'), options)
    height, width = size
    return Config.create(
        'pix2pix',
        **generator,
        **discriminator,
        condition='rgb',
        pix2pix_norm=parity.NORMS[options['norm']],
        pix2pix_dropout=False,
        l1_weight=options['lambda_L1'],
        gan_loss=GAN_LOSSES[options['gan_mode']],
        learning_rate=options['lr'],
        adam_beta1=options['beta1'],
        batch_size=batch_size,
        crop_size=width,
        load_size=width,
        aspect_ratio=width / height,
    )
