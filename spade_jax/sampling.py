"""From a work directory and label maps to pictures. No flags of the model are needed: its Config is in the checkpoint.

    generator = spade_jax.load('runs/quickstart')
    pictures = generator(labels, seed=1)       # [N, H, W] class ids -> [N, H, W, 3] uint8
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Any, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.batch import Batch
from spade_jax.config import UPSAMPLINGS, Config, nearest_multiples
from spade_jax.data.label_maps import LabelMaps
from spade_jax.data.label_reader import check_label_ids
from spade_jax.data.paired_transforms import resize_ids, resize_image
from spade_jax.errors import UserError
from spade_jax.image_grid import write_png
from spade_jax.models import build_networks, layout_of, to_signed, to_uint8
from spade_jax.random_streams import Stream, style_noise
from spade_jax.training.checkpoints import Checkpoints
from spade_jax.training.integrity import Damaged
from spade_jax.training.train_state import abstract_networks, averaged_part, weights_to_draw_with


class TrainedGenerator:
    """A generator that draws NumPy label maps.

    Attributes:
      config: of the run that trained it.
    """

    def __init__(self, config: Config, generator: dict[str, Any], encoder: dict[str, Any] | None = None):
        """generator, encoder: variables of the networks of `config`."""
        self.config = config
        self._generator, self._encoder = generator, encoder

    def __call__(self, labels: np.ndarray, instances: np.ndarray | None = None, *, styles: np.ndarray | None = None, seed: int = 0,
                 sample: int = 0) -> np.ndarray:
        """Draws label maps.

        Args:
          labels: [N, H, W] class ids, or for condition "rgb" [N, H, W, 3] uint8. H and W: any multiples of 2^upsamplings; with a style encoder the
            training size.
          instances: [N, H, W] instance ids; needed exactly if the model was trained with instance edges.
          styles: [N, style_dim] latents, or [1, style_dim] for one style; None: drawn from (seed, sample, index of the map).
          seed, sample: two numbers that name a random style; the same ones give the same pictures.

        Returns:
          [N, H, W, 3] uint8.

        Raises:
          UserError: on ids out of range, an illegal size, or instances or styles that the model does not take.
        """
        labels = np.asarray(labels)
        self._check(labels, instances, styles)
        if styles is None and self.config.style_encoder:
            styles = style_noise(seed, Stream.STYLE_OF_SAMPLES, jnp.asarray(sample), jnp.arange(len(labels)), self.config.style_dim)
        if styles is not None:
            styles = jnp.broadcast_to(jnp.asarray(styles), (len(labels), self.config.style_dim))
        return np.asarray(_draw(self.config, self._generator, labels, instances, styles))

    def encode(self, images: np.ndarray) -> np.ndarray:
        """The mean style [N, style_dim] of pictures [N, H, W, 3] uint8 of any size."""
        if self._encoder is None:
            raise UserError('this model has no style encoder, so a picture\'s style means nothing to it; train one with style_encoder=True')
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise UserError(f'pictures of shape {images.shape} and type {images.dtype}; give [N, H, W, 3] uint8')
        return np.asarray(_encode(self.config, self._encoder, images))

    def _check(self, labels, instances, styles):
        config = self.config
        if config.condition == 'rgb':
            if labels.ndim != 4 or labels.shape[-1] != 3 or labels.dtype != np.uint8:
                raise UserError(f'condition pictures of shape {labels.shape} and type {labels.dtype}', 'give [N, H, W, 3] uint8')
        elif labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f'label maps of shape {labels.shape} and type {labels.dtype}', 'give [N, H, W] integers')
        for i, label in enumerate(labels):
            check_label_ids(label, config, f'label map {i}', f'renumber the ids: the model knows 0..{config.num_classes - 1}'
                            + (' and 255, "unknown"' if config.dontcare else ''))
        check_size(config, *labels.shape[1:3])
        if (instances is not None) != config.instance_edges:
            raise UserError('this model was trained with instance edges: give instances, one map for each label map' if config.instance_edges else
                            'this model was trained without instance edges: it takes no instance maps')
        if instances is not None and np.shape(instances) != labels.shape:
            raise UserError(f'instance maps of shape {np.shape(instances)} for label maps of shape {labels.shape}; give one of the same size for each')
        if styles is None:
            return
        if not config.style_encoder:
            raise UserError('this model has no style encoder, so it takes no style; train one with style_encoder=True')
        if np.shape(styles) not in ((len(labels), config.style_dim), (1, config.style_dim)):
            raise UserError(f'styles of shape {np.shape(styles)}; give ({len(labels)}, {config.style_dim}), or (1, {config.style_dim}) for one style')


@functools.partial(jax.jit, static_argnums=0)
def _draw(config, variables, labels, instances, styles):
    layout = layout_of(Batch(None, labels, instances), config)
    return to_uint8(build_networks(config).generator.apply(variables, layout, styles, train=False))


@functools.partial(jax.jit, static_argnums=0)
def _encode(config, variables, images):
    mean, _ = build_networks(config).encoder.apply(variables, to_signed(images), train=False)
    return mean


def check_size(config: Config, height: int, width: int) -> None:
    """Raises UserError, with the nearest legal sizes, when the generator cannot draw this size."""
    scale = 2 ** UPSAMPLINGS[config.upsampling]
    if config.style_encoder and (height, width) != (config.image_height, config.image_width):
        raise UserError(f'a label map of {width}x{height}, but a model with style encoder draws {config.image_width}x{config.image_height} alone, '
                        'the size it was trained at', 'scale it to that size')
    for name, size in (('width', width), ('height', height)):
        if size % scale:
            raise UserError(f'a label map of {width}x{height}: its {name} is not divisible by {scale} ({UPSAMPLINGS[config.upsampling]} upsamplings)',
                            f'use {nearest_multiples(size, scale)}, or the training size, {config.image_width}x{config.image_height}')


def load(workdir: str, step: int | None = None, *, averaged: bool | None = None) -> TrainedGenerator:
    """The generator of a checkpoint.

    Args:
      workdir: of the run.
      step: of the checkpoint; None: the newest.
      averaged: draw with the averaged weights, or with those of the last step; None: averaged where the run has kept an average.

    Raises:
      UserError: there is no such checkpoint, it has no averaged weights, or it is damaged; then with the newest one that is whole.
    """
    workdir = os.path.expanduser(workdir)
    if not os.path.isdir(workdir):
        raise UserError(f'workdir={workdir}: no such directory; give the directory that a training run wrote')
    with Checkpoints(workdir, read_only=True) as checkpoints:
        if checkpoints.latest_step() is None:
            raise UserError(f'workdir={workdir} has no checkpoint (yet); train there first')
        step = checkpoints.latest_step() if step is None else step
        try:
            config, variables = _drawing(checkpoints, step)
        except Damaged as error:
            raise UserError(f'damaged checkpoint {error.problem}', _remedy(checkpoints, step)) from error
    if averaged and variables['average'] is None:
        raise UserError(f'workdir={workdir}: the run kept no average of its weights (average_decay=0)', 'draw with those of the last step')
    if averaged is False:
        variables['average'] = None
    return TrainedGenerator(config, *weights_to_draw_with(**variables))


def _drawing(checkpoints: Checkpoints, step: int) -> tuple[Config, dict[str, Any]]:
    """The Config of a checkpoint, and the variables of generator and encoder, with their averages."""
    config, _ = checkpoints.restore_run(step)
    generator, _, encoder = abstract_networks(config, build_networks(config))
    average = averaged_part(generator, encoder) if config.average_decay else None
    return config, checkpoints.restore_drawing(step, like={'generator': generator, 'encoder': encoder, 'average': average})


def _remedy(checkpoints: Checkpoints, damaged_step: int) -> str:
    """What to draw with instead of a damaged checkpoint."""
    for step in reversed(checkpoints.steps()):
        with contextlib.suppress(Damaged):
            if step != damaged_step:
                _drawing(checkpoints, step)
                return f'--checkpoint_step={step} is the newest that is whole; training moves damaged ones aside when it goes on'
    return 'there is no other that is whole; bring back its files'


def draw(generator: TrainedGenerator, maps: LabelMaps, output_dir: str, *, seed: int = 0, num_samples: int = 1, batch_size: int = 8,
         size: str = 'training') -> list[str]:
    """Draws label maps to files, and keeps their names.

    Args:
      output_dir: gets `<name>.png`, or `<name>_<i>.png` for each of several samples.
      seed: of the random styles.
      num_samples: pictures of each map; more than one needs a model with style encoder.
      batch_size: maps that are drawn at a time.
      size: 'training': maps are scaled to the training size, nearest; 'native': drawn at their own.

    Returns:
      The paths of the pictures.
    """
    config = generator.config
    if num_samples > 1 and not config.style_encoder:
        raise UserError(f'num_samples={num_samples}, but this model has no style encoder and draws a map in one way only', 'use num_samples=1')
    outputs = output_files(maps, output_dir, num_samples)

    def read(index):
        label, instance = maps.read(index)[1:]
        if size == 'training':
            training_size = config.image_width, config.image_height
            label = resize_image(label, training_size) if label.ndim == 3 else resize_ids(label, training_size)
            instance = None if instance is None else resize_ids(instance, training_size)
        try:
            check_size(config, *label.shape[:2])
        except UserError as error:
            remedy = error.remedy if size == 'training' else f'{error.remedy} (size "training", --sample_size=training, scales every map to it)'
            raise UserError(f'{maps.locations[index]}: {error.problem}', remedy) from None
        return [label] if instance is None else [label, instance]

    written = []
    for first, group in _batches_of_one_size(map(read, range(len(maps.names))), batch_size):
        labels, *instances = (np.stack(parts) for parts in zip(*group))
        for sample in range(num_samples):
            styles = None
            if config.style_encoder:
                indices = first + jnp.arange(len(labels))
                styles = style_noise(seed, Stream.STYLE_OF_SAMPLES, jnp.asarray(sample), indices, config.style_dim)
            pictures = generator(_padded(labels, batch_size), *(_padded(ids, batch_size) for ids in instances),
                                 styles=None if styles is None else _padded(styles, batch_size))
            for paths, picture in zip(outputs[first:], pictures[:len(labels)]):
                write_png(paths[sample], picture)
                written.append(paths[sample])
    return written


def output_files(maps: LabelMaps, output_dir: str, num_samples: int) -> list[list[str]]:
    """Paths of the pictures of each label map. Raises UserError where one would replace a label map or another picture."""
    suffixes = [f'_{sample}' for sample in range(num_samples)] if num_samples > 1 else ['']
    outputs = [[os.path.join(output_dir, name + suffix + '.png') for suffix in suffixes] for name in maps.names]
    taken = {os.path.realpath(path): path for path in maps.paths}
    for location, paths in zip(maps.locations, outputs):
        for path in map(os.path.realpath, paths):
            if path in taken:
                raise UserError(f'the picture of {location} would be written over {"the label map" if taken[path] == location else taken[path]} ({path})',
                                'choose another output_dir, or give the label maps different names')
            taken[path] = f'that of {location}'
    return outputs


def _batches_of_one_size(items: Iterator[list[np.ndarray]], batch_size: int) -> Iterator[tuple[int, list[list[np.ndarray]]]]:
    """Runs of at most `batch_size` neighbours whose maps have one size, each with the index of its first."""
    group, first = [], 0
    for item in items:
        if group and (len(group) == batch_size or item[0].shape != group[0][0].shape):
            yield first, group
            first, group = first + len(group), []
        group.append(item)
    if group:
        yield first, group


def _padded(array: np.ndarray, batch_size: int) -> np.ndarray:
    """Repeats the last entry up to the batch size, so that a short last batch does not compile again."""
    return np.concatenate([array, np.repeat(array[-1:], batch_size - len(array), axis=0)])
