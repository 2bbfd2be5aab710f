"""The arguments of a generator, checked: maps as arrays or lists, styles, whole numbers."""

import operator
import os
from typing import Any, NamedTuple

import numpy as np

from spade_jax.config.config import Config
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.pipeline.paired_transforms import resize_ids, resize_image
from spade_jax.data.sources.source import size_of
from spade_jax.errors import UserError
from spade_jax.sampling.sizes import check_size, read_size, warn_of_shape

_READERS = {'images': 'spade_jax.read_photo', 'label maps': 'generator.read_labels'}
IMAGES = '[N, H, W, 3] or [H, W, 3] uint8'
IDS = '[N, H, W] or [H, W] integers'
NO_STYLE = 'this model has no style latent'
NO_STYLE_REMEDY = 'train one that has, such as SPADE with --style_encoder'


class Maps(NamedTuple):
    """Label maps [N, H, W] or RGB conditions [N, H, W, 3], instance maps [N, H, W] if used."""

    labels: np.ndarray
    instances: np.ndarray | None
    is_single: bool  # Given without N.


def check_maps(
    config: Config, labels: Any, instances: Any = None, number: int | None = None
) -> Maps:
    """The maps to sample from, or `number` empty ones; UserError if the model takes no such."""
    data = config.data
    if data.unconditional and labels is None:
        count = whole_number('num', 1 if number is None else number, 0)
        empty = np.zeros((count, data.image_height, data.image_width, 0), np.uint8)
        return Maps(empty, None, number is None)
    if number is not None:
        problem = f'num={number}, but this model samples an image for each label map'
        problem = f'num={number} and label maps' if data.unconditional else problem
        raise UserError(problem, 'leave num out')
    labels = as_array(labels, 'label maps')
    instances = None if instances is None else _ids(as_array(instances, 'instance maps'))
    labels = _ids(labels) if data.uses_labels else labels
    if is_single := labels.ndim == (2 if data.uses_labels else 3):
        labels, instances = labels[None], None if instances is None else instances[None]
    _check_type(config, labels, is_single)
    try:
        check_size(config, *labels.shape[1:3])
    except UserError as error:
        scaled = 'use size="training", or generator.resize(maps)'
        remedy = scaled if config.model.size_is_fixed else f'{error.remedy}; or {scaled}'
        raise UserError(error.problem, remedy) from None
    known = f'0..{data.num_classes - 1}' + ' and 255 ("unknown")' * data.dontcare
    for i, label in enumerate(labels):
        check_label_ids(label, data, f'label map {i}', f'renumber the ids to {known}')
    _check_instances(config, labels, instances)
    return Maps(labels, instances, is_single)


def maps_of_images(config: Config, labels: Any, instances: Any, count: int) -> Maps:
    """The maps, at the training size, of images whose features are those of their regions."""
    if labels is None:
        problem = 'the style of this model is one of each class, but there are no label maps'
        raise UserError(problem, 'give the label maps of the images as well')
    size = config.data.image_width, config.data.image_height
    labels = resize_maps(labels, size, config)
    instances = None if instances is None else resize_maps(instances, size, config)
    maps = check_maps(config, labels, instances)
    if len(maps.labels) != count:
        problem = f'{len(maps.labels)} label maps for {count} images'
        raise UserError(problem, 'give one for each image')
    return maps


def check_styles(style: Any, count: int, dim: int | None) -> np.ndarray:
    """Latents [count, dim] float32 of [count, dim], [1, dim] or [dim]; UserError for others."""
    if dim is None:
        raise UserError(f'{NO_STYLE}, so it takes no style', NO_STYLE_REMEDY)
    latents = check_latents(style)
    if latents.shape not in ((count, dim), (1, dim), (dim,)):
        remedy = f'give ({count}, {dim}), or ({dim},) for one style'
        raise UserError(f'a style of shape {latents.shape}', remedy)
    return np.broadcast_to(latents, (count, dim))


def check_has_no_random(**choices: Any) -> None:
    """UserError if a style is given together with choices of a random one: values by name."""
    defaults = {'seed': 0, 'sample': 0, 'truncation': 1.0}
    for name, value in choices.items():
        if not (np.isscalar(value) and value == defaults[name]):
            problem = f'{name}={value!r} with a style: it is for random styles'
            raise UserError(problem, f'leave {name} out, or the style')


def check_latents(style: Any) -> np.ndarray:
    """Latents of any shape as float32; UserError if they are not finite numbers."""
    style = as_array(style, 'styles')
    if style.dtype.kind not in 'iuf':
        raise UserError(f'a style of type {style.dtype}', 'give floats, see generator.encode')
    with np.errstate(over='ignore'):
        latents = style.astype(np.float32)
    if not np.isfinite(latents).all():
        place = tuple(map(int, np.argwhere(~np.isfinite(latents))[0]))
        problem = f'style[{", ".join(map(str, place))}]={style[place]} is not a finite float32'
        raise UserError(problem, 'give finite numbers, standard normal ones for a random style')
    return latents


def check_images(images: Any) -> tuple[list[np.ndarray], bool]:
    """Images [H, W, 3] uint8 of any sizes, and whether one was given, without N."""
    if (array := _array_unless_ragged(images, 'images')) is None:
        return [photo for image in images for photo in check_images(image)[0]], False
    is_image = array.ndim in (3, 4) and array.shape[-1] == 3 and array.dtype == np.uint8
    if not is_image or not array.size:
        raise UserError(f'images of shape {array.shape} and type {array.dtype}', f'give {IMAGES}')
    return ([array], True) if array.ndim == 3 else ([*array], False)


def whole_number(name: str, value: Any, least: int, most: int | None = None) -> int:
    """An integer of Python, NumPy or JAX from `least` to `most`; UserError for anything else."""
    legal = f'use {least} or more' if most is None else f'use {least} to {most}'
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise UserError(f'{name}={value!r} is not a whole number', legal)
    if number < least or (most is not None and number > most):
        raise UserError(f'{name}={number} is out of range', legal)
    return number


def as_array(values: Any, what: str) -> np.ndarray:
    """An array, or a list of arrays of one shape, as an array."""
    if (array := _array_unless_ragged(values, what)) is None:
        problem = f'{what} of different shapes ({_shapes(values)})'
        remedy = 'give arrays of one shape; generator.resize(maps) brings them to one size'
        raise UserError(problem, remedy)
    return array


def target_size(size: Any, config: Config) -> tuple[int, int] | None:
    """(width, height) of `TrainedGenerator.resize`, checked; None: maps keep their sizes."""
    if isinstance(size, (tuple, list)) and len(size) == 2:
        width, height = (whole_number('size', side, 1) for side in size)
    elif parsed := read_size(str(size), config, 'size'):
        width, height = parsed
    else:
        return None
    try:
        check_size(config, height, width)
    except UserError as error:
        remedy = 'use size="training"' if config.model.size_is_fixed else error.remedy
        raise UserError(f'size={width}x{height}: {error.problem}', remedy) from None
    return width, height


def resize_maps(maps: Any, size: tuple[int, int], config: Config) -> np.ndarray:
    """Ids [H, W] (nearest) or images [H, W, 3] uint8 (bicubic) at (width, height) `size`.

    Several of them, as an array or a list, which may have different sizes, give [N, ...].
    """
    if (array := _array_unless_ragged(maps, 'maps')) is None:
        return as_array([resize_maps(each, size, config) for each in maps], 'maps')
    array = _ids(array)
    is_image = array.ndim > 2 and array.shape[-1] == 3 and array.dtype == np.uint8
    if array.ndim == (4 if is_image else 3) and len(array):
        return np.stack([resize_maps(each, size, config) for each in array])
    if array.ndim != (3 if is_image else 2) or array.dtype.kind not in 'iu' or not array.size:
        problem = f'maps of shape {array.shape} and type {array.dtype} cannot be resized'
        raise UserError(problem, f'give ids, {IDS}, or images, {IMAGES}')
    if not (is_image and config.data.uses_labels):  # Photos may change their shape.
        warn_of_shape(config, size_of(array), size)
    return resize_image(array, size) if is_image else resize_ids(array, size)


def _array_unless_ragged(values: Any, what: str) -> np.ndarray | None:
    """An array; None for a list of several shapes."""
    reader = _READERS.get(what, '')
    for value in values if isinstance(values, list | tuple) else [values]:
        if reader and isinstance(value, str | os.PathLike):
            problem = f'{what}: "{os.fspath(value)}" is not an array'
            raise UserError(problem, f'if it is a file, read it with {reader}(path)')
    try:
        return np.asarray(values)
    except ValueError:
        return None
    except TypeError as error:  # Such as a tensor on a GPU.
        problem = f'{what} cannot be read as an array ({error})'
        raise UserError(problem, 'give NumPy arrays') from None


def _ids(array: np.ndarray) -> np.ndarray:
    """Maps [..., H, W, 1] without their channel."""
    return array[..., 0] if array.ndim in (3, 4) and array.shape[-1] == 1 else array


def _check_type(config: Config, labels: np.ndarray, is_single: bool) -> None:
    channels, remedy = labels.shape[-1:], f'give {IDS if config.data.uses_labels else IMAGES}'
    if config.data.unconditional:
        remedy = 'this model has no condition: give num, the number of images, instead'
    if not config.data.uses_labels:
        is_legal = labels.ndim == 4 and channels == (config.data.label_channels,)
        is_legal = is_legal and labels.dtype == np.uint8
    else:
        is_legal = labels.ndim == 3 and np.issubdtype(labels.dtype, np.integer)
        if channels in ((3,), (4,)) and config.model.size_multiple > 4:  # No map is so narrow.
            remedy += '; generator.read_labels turns the file of a color mask into ids'
            is_legal = False
    if not is_legal:
        shape = labels.shape[1:] if is_single else labels.shape
        raise UserError(f'label maps of shape {shape} and type {labels.dtype}', remedy)


def _check_instances(config: Config, labels: np.ndarray, instances: np.ndarray | None) -> None:
    if not config.data.instance_edges:
        if instances is not None:
            problem = 'this model was trained without instance edges'
            raise UserError(problem, 'leave the instance maps out')
        return
    if instances is None or instances.shape != labels.shape:
        shape = None if instances is None else instances.shape
        problem = f'instance maps of shape {shape}, but the model has instance edges'
        raise UserError(problem, f'give instance maps of shape {labels.shape}')
    if instances.dtype.kind not in 'iu':
        raise UserError(f'instance maps of type {instances.dtype}', f'give {IDS}')


def _shapes(values: Any) -> str:
    try:
        shapes = [str(np.shape(value)) for value in values]
    except (TypeError, ValueError):
        return 'rows of different lengths'
    return ', '.join(dict.fromkeys(shapes))
