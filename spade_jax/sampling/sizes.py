"""The size at which label maps are sampled."""

from __future__ import annotations

import re

from spade_jax.config.config import Config
from spade_jax.data.pipeline.paired_transforms import Example, resize_ids, resize_image
from spade_jax.errors import UserError
from spade_jax.models.model import build_model
from spade_jax.sampling.trained_generator import check_size

TRAINING, NATIVE = 'training', 'native'


def parse_size(text: str, config: Config) -> tuple[int, int] | None:
    """Width and height from 'training' or 'WIDTHxHEIGHT'; None for 'native': maps keep their size.

    Raises:
      UserError: The text is none of these, or the generator does not support the size.
    """
    if text == NATIVE:
        return None
    data = config.data
    if text == TRAINING:
        return data.image_width, data.image_height
    if not (match := re.fullmatch(r'(\d+)x(\d+)', text)):
        example = f'{2 * data.image_width}x{2 * data.image_height}'
        remedy = f'use {TRAINING}, {NATIVE}, or WIDTHxHEIGHT, e.g. {example}'
        raise UserError(f'sample_size={text} is not a size', remedy)
    width, height = map(int, match.groups())
    try:
        check_size(config, height, width)
    except UserError as error:
        remedy = error.remedy
        if build_model(config).size_is_fixed:
            remedy = 'leave --sample_size out: maps are then resized to the training size'
        raise UserError(f'sample_size={text}: {error.problem}', remedy) from None
    return width, height


def resized(maps: Example, size: tuple[int, int]) -> Example:
    """Label map and instance map at (width, height) `size`: ids nearest, RGB conditions bicubic."""
    label, instance = maps.label, maps.instance
    label = resize_image(label, size) if label.ndim == 3 else resize_ids(label, size)
    return Example(None, label, None if instance is None else resize_ids(instance, size))
