"""Label maps from files, for use from Python: one file, or the files of a directory."""

import dataclasses
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from spade_jax.config.catalog import palette_options
from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.data.files.label_reader import LabelReader, check_label_ids
from spade_jax.data.sources.source import size_of
from spade_jax.files.image_grid import evenly_spaced
from spade_jax.sampling.sizes import resized, warn_of_shape


class Scene(NamedTuple):
    """A label map of a directory, and what belongs to it.

    Attributes:
      name: Relative path of the label map, without extension.
      labels: [H, W] class ids, or [H, W, 3] uint8, an RGB condition.
      instances: [H, W] instance ids; None if the model does not use them.
      photo: [H', W', 3] uint8 of any size; None if there is none.
    """

    name: str
    labels: np.ndarray
    instances: np.ndarray | None
    photo: np.ndarray | None


def read_labels(data: DataConfig, path: str, palette: str, label_remap: str) -> np.ndarray:
    """See `TrainedGenerator.read_labels`."""
    path, options = (
        os.path.expanduser(path),
        palette_options(palette, None if label_remap else data),
    )
    if label_remap:
        options['label_remap'] = label_remap
    labels = LabelReader(dataclasses.replace(data, **options)).read(path)
    remedy = 'renumber its ids with label_remap, or give the palette of a color mask'
    check_label_ids(labels, data, path, remedy)
    return labels


def read_folder(
    config: Config,
    label_dir: str,
    instance_dir: str,
    photo_dir: str,
    size: tuple[int, int] | None,
    most: int | None,
) -> Iterator[Scene]:
    """See `TrainedGenerator.read_folder`; `size` is (width, height), or None to keep sizes."""
    label_dir, instance_dir, photo_dir = map(
        os.path.expanduser, (label_dir, instance_dir, photo_dir)
    )
    folder = LabelFolder(config.data, label_dir, instance_dir, photo_dir)
    indices = range(len(folder.names))
    for index in indices if most is None else evenly_spaced(indices, most):
        example = folder.read(index)
        if size is not None:
            warn_of_shape(config, size_of(example.label), size)
        _, labels, instances = example if size is None else resized(example, size)
        yield Scene(folder.names[index], labels, instances, folder.read_photo(index))
