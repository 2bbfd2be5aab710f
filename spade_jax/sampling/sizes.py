"""At which size label maps are drawn."""

from __future__ import annotations

import re

from spade_jax.config.config import Config
from spade_jax.data.pipeline.paired_transforms import Example, resize_ids, resize_image
from spade_jax.errors import UserError
from spade_jax.sampling.trained_generator import check_size

TRAINING, NATIVE = 'training', 'native'


def parse_size(text: str, config: Config) -> tuple[int, int] | None:
    """Width and height of 'training' or 'WIDTHxHEIGHT'; None of 'native', at which every map is drawn at its own size.

    Raises:
      UserError: when the text is none of these, or a size that the generator cannot draw.
    """
    if text == NATIVE:
        return None
    if text == TRAINING:
        return config.data.image_width, config.data.image_height
    if not (match := re.fullmatch(r'(\d+)x(\d+)', text)):
        raise UserError(
            f'sample_size={text} is no size',
            f'use {TRAINING}, {NATIVE}, or WIDTHxHEIGHT, for example {2 * config.data.image_width}x{2 * config.data.image_height}',
        )
    width, height = map(int, match.groups())
    try:
        check_size(config, height, width)
    except UserError as error:
        remedy = (
            'leave --sample_size out, which scales every map to it'
            if config.model.style_encoder
            else error.remedy
        )
        raise UserError(f'sample_size={text}: {error.problem}', remedy) from None
    return width, height


def scaled(maps: Example, size: tuple[int, int]) -> Example:
    """Label map and instance map at `size` (width, height): ids nearest, pictures in the place of label maps bicubic."""
    label, instance = maps.label, maps.instance
    return Example(
        None,
        resize_image(label, size) if label.ndim == 3 else resize_ids(label, size),
        None if instance is None else resize_ids(instance, size),
    )
