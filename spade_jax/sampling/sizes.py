"""The sizes at which label maps are sampled."""

import re

from spade_jax.config.config import Config
from spade_jax.config.option import LARGEST_SIDE, nearest_multiples
from spade_jax.data.pipeline.paired_transforms import Example, resize_ids, resize_image
from spade_jax.errors import UserError
from spade_jax.models.model import build_model

TRAINING, NATIVE = 'training', 'native'


def check_size(config: Config, height: int, width: int) -> None:
    """Raises UserError, with the nearest legal sizes, when the model cannot sample this size."""
    training_size = f'{config.data.image_width}x{config.data.image_height}'
    multiple, found = config.model.size_multiple, f'a label map of {width}x{height}'
    if build_model(config).size_is_fixed and f'{width}x{height}' != training_size:
        of_model, remedy = 'a model with style encoder', 'resize it to that size'
        if config.data.unconditional:
            found, of_model = f'{width}x{height}', 'a model without condition'
            remedy = 'leave the size out'
        problem = f'{of_model} samples at its training size {training_size} only'
        raise UserError(f'{found}, but {problem}', remedy)
    for name, size in (('width', width), ('height', height)):
        if size % multiple or not size:
            reason = f'not divisible by {multiple} ({config.model.size_reason})'
            legal = f'{nearest_multiples(size, multiple)}, or the training size {training_size}'
            raise UserError(f'{found}: its {name} is {reason}', f'use {legal}')


def parse_size(text: str, config: Config) -> tuple[int, int] | None:
    """Width and height from 'training' or 'WIDTHxHEIGHT'; None for 'native': maps keep theirs."""
    if (size := read_size(text, config, 'sample_size')) is None:
        return None
    try:
        check_size(config, size[1], size[0])
    except UserError as error:
        leave_out = 'leave --sample_size out: maps are then resized to the training size'
        remedy = leave_out if build_model(config).size_is_fixed else error.remedy
        raise UserError(f'sample_size={text}: {error.problem}', remedy) from None
    return size


def read_size(text: str, config: Config, name: str) -> tuple[int, int] | None:
    """As `parse_size`, without a check of the multiples; errors use `name`."""
    training_size = config.data.image_width, config.data.image_height
    if text in (TRAINING, NATIVE):
        return training_size if text == TRAINING else None
    if not (match := re.fullmatch(r'(\d{1,9})x(\d{1,9})', text)):
        example = '{}x{}'.format(*(2 * side for side in training_size))
        remedy = f'use {TRAINING}, {NATIVE}, or WIDTHxHEIGHT, e.g. {example}'
        raise UserError(f'{name}={text} is not a size', remedy)
    width, height = map(int, match.groups())
    if max(width, height) > LARGEST_SIDE:
        raise UserError(f'{name}={text} is too large', f'use at most {LARGEST_SIDE} a side')
    return width, height


def resized(maps: Example, size: tuple[int, int]) -> Example:
    """Label map and instance map at (width, height) `size`: ids nearest, RGB conditions bicubic."""
    label, instance = maps.label, maps.instance
    label = resize_image(label, size) if label.ndim == 3 else resize_ids(label, size)
    return Example(None, label, None if instance is None else resize_ids(instance, size))
