"""From a Config to its networks."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.models.semantic_layout import semantic_layout
from spade_jax.models.spade.discriminator import MultiscaleDiscriminator
from spade_jax.models.spade.encoder import StyleEncoder
from spade_jax.models.spade.generator import SpadeGenerator
from spade_jax.models.spade.options import UPSAMPLINGS
from spade_jax.models.vgg19 import Vgg19


class Networks(NamedTuple):
    """The modules of one run; `encoder` is None without a style encoder."""

    generator: SpadeGenerator
    discriminator: MultiscaleDiscriminator
    encoder: StyleEncoder | None
    vgg19: Vgg19


def build_networks(config: Config, axis_name: str | None = None) -> Networks:
    """The networks that a configuration describes.

    Args:
      axis_name: the replicas over which batch statistics are synchronised; None outside a mapped step.
    """
    dtype = jnp.dtype(config.optimizer.compute_dtype)
    generator = SpadeGenerator(
        width=config.model.generator_width,
        num_upsamplings=UPSAMPLINGS[config.model.upsampling],
        style_dim=config.model.style_dim if config.model.style_encoder else None,
        norm=config.model.generator_norm,
        spade_hidden=config.model.spade_hidden,
        spade_kernel_size=config.model.spade_kernel_size,
        spectral_norm=config.model.generator_spectral_norm,
        rematerialize=config.model.rematerialize,
        number_layouts=numbers_layouts(config),
        axis_name=axis_name,
        dtype=dtype,
    )
    discriminator = MultiscaleDiscriminator(
        num_scales=config.model.num_discriminators,
        width=config.model.discriminator_width,
        depth=config.model.discriminator_depth,
        norm=config.model.discriminator_norm,
        spectral_norm=config.model.discriminator_spectral_norm,
        axis_name=axis_name,
        dtype=dtype,
    )
    encoder = None
    if config.model.style_encoder:
        encoder = StyleEncoder(
            width=config.model.encoder_width,
            style_dim=config.model.style_dim,
            depth=config.model.encoder_depth(config.data),
            input_size=config.model.encoder_input_size,
            dtype=dtype,
        )
    return Networks(generator, discriminator, encoder, Vgg19(dtype=dtype))


def numbers_layouts(config: Config) -> bool:
    """Whether the convolutions over the layout are computed once for every neighbourhood: in `auto`, on a CPU. Accelerators convolve faster than they look up."""
    wanted = (
        jax.default_backend() == 'cpu'
        if config.model.label_conv == 'auto'
        else config.model.label_conv == 'neighbourhoods'
    )
    return wanted and can_number_layouts(config)


def layout_of(batch: Batch, config: Config) -> jax.Array:
    """The layout of a batch, [B, H, W, config.data.layout_channels]: one-hot classes and edges, or with condition "rgb" a picture in [-1, 1]."""
    if config.data.condition == 'rgb':
        return to_signed(batch.label)
    instance = batch.instance if config.data.instance_edges else None
    return semantic_layout(
        batch.label, instance, num_classes=config.data.num_classes, dontcare=config.data.dontcare
    )


def image_of(batch: Batch) -> jax.Array:
    """The photographs of a batch in [-1, 1], [B, H, W, 3] float32."""
    return to_signed(batch.image)


def to_signed(image: jax.Array) -> jax.Array:
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return (image.astype(jnp.float32) / 255 - 0.5) / 0.5


def to_uint8(image: jax.Array) -> jax.Array:
    """[-1, 1] -> uint8 in [0, 255], clipped and truncated (not rounded), as the published models write their pictures."""
    return jnp.clip((image + 1) / 2 * 255, 0, 255).astype(jnp.uint8)
