"""The sizes at which label maps are sampled."""

import math
import re
import warnings

from spade_jax.config.config import Config
from spade_jax.config.option import LARGEST_SIDE, nearest_multiples
from spade_jax.data.files.image_files import is_copy
from spade_jax.data.pipeline.paired_transforms import Example, resize_ids, resize_image
from spade_jax.errors import UserError

TRAINING, NATIVE = 'training', 'native'


def check_size(config: Config, height: int, width: int) -> None:
    """Raises UserError, with the nearest legal sizes, when the model cannot sample this size."""
    training_size = f'{config.data.image_width}x{config.data.image_height}'
    multiple, found = config.model.size_multiple, f'a label map of {width}x{height}'
    if config.model.size_is_fixed and f'{width}x{height}' != training_size:
        of_model, remedy = 'a generator that starts from a latent', 'bring it to that size'
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
        remedy = leave_out if config.model.size_is_fixed else error.remedy
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


def shape_warning(
    config: Config, size: tuple[int, int], target: tuple[int, int], choice: str
) -> str:
    """What resizing from one (width, height) to another does to a map, and what avoids it.

    '' if the shape stays. `choice` is the option of the size, with {} for its value.
    """
    if is_copy(size, target):
        return ''
    given, wanted = ('x'.join(map(str, sides)) for sides in (size, target))
    multiple, scale = config.model.size_multiple, math.sqrt(math.prod(target) / math.prod(size))
    same_shape = [max(1, round(side * scale / multiple)) * multiple for side in size]
    remedy = f'cut it to the shape of {wanted}'
    if not config.model.size_is_fixed and (*same_shape,) != target:
        remedy += ', or use ' + choice.format('{}x{}'.format(*same_shape))
    return f'a map of {given} is squeezed to {wanted}; {remedy}'


def warn_of_shape(config: Config, size: tuple[int, int], target: tuple[int, int]) -> None:
    """Warn a caller in Python of `shape_warning`; Python shows equal warnings once."""
    if text := shape_warning(config, size, target, 'size="{}"'):
        warnings.warn(text, stacklevel=2)


def resized(maps: Example, size: tuple[int, int]) -> Example:
    """Label map and instance map at (width, height) `size`: ids nearest, RGB conditions bicubic."""
    label, instance = maps.label, maps.instance
    label = resize_image(label, size) if label.ndim == 3 else resize_ids(label, size)
    return Example(None, label, None if instance is None else resize_ids(instance, size))
