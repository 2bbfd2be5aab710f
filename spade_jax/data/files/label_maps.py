"""The label maps that a trained generator is to draw: files of a directory, or the examples of a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import ID_EXTENSIONS, PHOTO_EXTENSIONS, read_ids, read_photo
from spade_jax.data.files.label_reader import LabelReader, check_label_ids
from spade_jax.data.files.matching_files import files_for
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.pairing import files_below
from spade_jax.data.sources.source import Source
from spade_jax.errors import UserError

_REMEDY = 'the classes of a trained model are settled: renumber the ids with --label_remap, or read colour masks with --palette'


class LabelMaps(Protocol):
    """Label maps by number.

    names: relative path of each, without extension; pictures are called so.
    locations: what messages call each.
    paths: the file of each, which no picture may replace; empty where there are none.
    """

    names: Sequence[str]
    locations: Sequence[str]
    paths: Sequence[str]

    def read(self, index: int) -> Example:
        """Label map and, where the model was trained with edges, instance map (int32), checked, at their own size. Raises UserError, with the file's name."""

    def read_photo(self, index: int) -> np.ndarray | None:
        """The photograph [H, W, 3] uint8 that shows what the map does, of any size; None where there is none. Raises UserError, with the file's name."""


class LabelFolder:
    """The label maps (or condition pictures) below a directory, in order of their names.

    Args:
      config: of the model.
      label_dir: searched recursively. Of its files those count whose stems end in the label suffix of the configuration, or if none does, all.
      instance_dir: instance maps of the same names (but for the suffixes), for models with instance edges.
      photo_dir: photographs of the same names, see `named_files`.
      reader: default: reads label maps as training did.

    Raises:
      UserError: when there are none, or instance maps are missing or not wanted.
    """

    def __init__(
        self,
        config: DataConfig,
        label_dir: str,
        instance_dir: str = '',
        photo_dir: str = '',
        reader: LabelReader | None = None,
    ):
        self._config, self._reader = config, reader or LabelReader(config)
        files = label_files(label_dir, config.label_suffix, self._reader.extensions)
        if config.instance_edges and not instance_dir:
            raise UserError('this model was trained with instance edges', 'give --instance_dir')
        if instance_dir and not config.instance_edges:
            raise UserError(
                f'instance_dir={instance_dir}, but this model was trained without instance edges',
                'leave the flag out',
            )
        self.paths = self.locations = [os.path.join(label_dir, file) for file in files]
        self.names = [os.path.splitext(file)[0] for file in files]
        self._instances = (
            [os.path.join(instance_dir, instance_name(file, config)) for file in files]
            if instance_dir
            else []
        )
        self._photos = (
            files_for(
                self.names, photo_dir, config, PHOTO_EXTENSIONS, flag='photo_dir', what='photograph'
            )
            if photo_dir
            else []
        )

    def read_photo(self, index: int) -> np.ndarray | None:
        return read_photo(self._photos[index]) if self._photos else None

    def read(self, index: int) -> Example:
        path = self.paths[index]
        label = self._reader.read(path)
        check_label_ids(label, self._config, path, _REMEDY)
        if not self._instances:
            return Example(None, label)
        instance = read_ids(self._instances[index], 'instance map').astype(np.int32, copy=False)
        if instance.shape != label.shape:
            raise UserError(
                f'{self._instances[index]} is of another size than {path}: {instance.shape} against {label.shape} (height, width)',
                'make the two from the same picture',
            )
        return Example(None, label, instance)


class LabelsOfSource:
    """The label maps of a data set's split."""

    paths: Sequence[str] = ()

    def __init__(self, source: Source, config: DataConfig):
        self._source, self._config = source, config
        self.names, self.locations = source.names, source.locations

    def read_photo(self, index: int) -> np.ndarray:
        return self._source.read(index).image

    def read(self, index: int) -> Example:
        example = self._source.read_maps(index)
        check_label_ids(example.label, self._config, self.locations[index], _REMEDY)
        return (
            example
            if example.instance is None
            else example._replace(instance=example.instance.astype(np.int32, copy=False))
        )


def label_files(
    directory: str, suffix: str = '', extensions: frozenset[str] = ID_EXTENSIONS
) -> list[str]:
    """The label maps below a directory, by their relative paths, in order: those whose stems end in `suffix`, or if none does, all."""
    if not os.path.isdir(directory):
        raise UserError(f'label_dir={directory}: no such directory', 'set --label_dir')
    names = sorted(
        os.path.relpath(path, directory)
        for path in files_below(directory)
        if os.path.splitext(path)[1].lower() in extensions
    )
    names = [name for name in names if os.path.splitext(name)[0].endswith(suffix)] or names
    if not names:
        raise UserError(
            f'label_dir={directory} holds no label map ({", ".join(sorted(extensions))})',
            'set --label_dir',
        )
    return names


def instance_name(name: str, config: DataConfig) -> str:
    """Relative path of the instance map that belongs to a label map: the same, but for the suffixes of the configuration."""
    stem, extension = os.path.splitext(name)
    return (
        stem.removesuffix(config.label_suffix) + config.instance_suffix + extension
        if stem.endswith(config.label_suffix)
        else name
    )
