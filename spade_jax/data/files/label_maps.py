"""The label maps to sample from: files of a directory, or the examples of a data set."""

import os
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import PHOTO_EXTENSIONS, read_ids, read_photo
from spade_jax.data.files.label_reader import LabelReader, check_label_ids
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.pairing import files_below
from spade_jax.data.sources.source import Source, require_same_size, size_of
from spade_jax.errors import UserError

_MOST_NAMED = 3
_REMEDY = (
    'a trained model has fixed classes: renumber the ids with --label_remap, or read color masks '
    'with --palette'
)


class LabelMaps(Protocol):
    """Label maps by index; reading raises a UserError with the file's name.

    Attributes:
      names: Relative path of each map, without extension; its output files get this name.
      locations: What errors call each map.
      paths: The file of each map, which no output may overwrite; empty if there are none.
    """

    names: Sequence[str]
    locations: Sequence[str]
    paths: Sequence[str]

    def read(self, index: int) -> Example:
        """Read and check a label map and, for models with edges, its instance map (int32)."""
        ...

    def read_photo(self, index: int) -> np.ndarray | None:
        """Read the photo [H, W, 3] uint8 of the map, of any size; None if there is none."""
        ...


class LabelFolder:
    """The label maps (or condition images) below a directory, in the order of their names.

    Args:
      config: Of the model.
      label_dir: Searched recursively for files whose stems end in `config.label_suffix`; if there
        are none, all files count.
      instance_dir: Instance maps of the same names, for models with instance edges.
      photo_dir: Photos of the same names (see `files_for`).
      reader: Default: reads label maps as training did.
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
        if config.instance_edges and not instance_dir:
            raise UserError('this model was trained with instance edges', 'give --instance_dir')
        if instance_dir and not config.instance_edges:
            problem = (
                f'instance_dir={instance_dir}, but this model was trained without instance edges'
            )
            raise UserError(problem, 'leave the flag out')
        files = self._label_files(label_dir)
        self.paths: Sequence[str] = [os.path.join(label_dir, file) for file in files]
        self.locations: Sequence[str] = self.paths
        self.names: Sequence[str] = [os.path.splitext(file)[0] for file in files]
        self._instances, self._photos = [], []
        if instance_dir:
            self._instances = [
                os.path.join(instance_dir, self._instance_name(file)) for file in files
            ]
        if photo_dir:
            words = dict(flag='photo_dir', what='photo')
            self._photos = files_for(self.names, photo_dir, config, PHOTO_EXTENSIONS, **words)

    def _label_files(self, directory: str) -> list[str]:
        if not os.path.isdir(directory):
            raise UserError(f'label_dir={directory}: no such directory', 'set --label_dir')
        extensions, suffix = self._reader.extensions, self._config.label_suffix
        names = sorted(os.path.relpath(path, directory) for path in files_below(directory))
        names = [name for name in names if os.path.splitext(name)[1].lower() in extensions]
        if not names:
            problem = f'label_dir={directory} has no label map ({", ".join(sorted(extensions))})'
            raise UserError(problem, 'set --label_dir')
        return [name for name in names if os.path.splitext(name)[0].endswith(suffix)] or names

    def _instance_name(self, label_name: str) -> str:
        stem, extension = os.path.splitext(label_name)
        if not stem.endswith(self._config.label_suffix):
            return label_name
        return (
            stem.removesuffix(self._config.label_suffix) + self._config.instance_suffix + extension
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
        require_same_size(self._instances[index], size_of(instance), path, size_of(label))
        return Example(None, label, instance)


class LabelsOfSource:
    """The label maps of a split of a data set."""

    paths: Sequence[str] = ()

    def __init__(self, source: Source, config: DataConfig):
        self._source, self._config = source, config
        self.names, self.locations = source.names, source.locations

    def read_photo(self, index: int) -> np.ndarray | None:
        return self._source.read(index).image

    def read(self, index: int) -> Example:
        example = self._source.read_maps(index)
        check_label_ids(example.label, self._config, self.locations[index], _REMEDY)
        if example.instance is None:
            return example
        return example._replace(instance=example.instance.astype(np.int32, copy=False))


def files_for(
    names: Sequence[str],
    directory: str,
    config: DataConfig,
    extensions: Collection[str],
    *,
    flag: str,
    what: str,
) -> list[str]:
    """Return one file below a directory for each label map: of the same name, but for suffixes.

    Args:
      names: Relative paths of the label maps, without extensions.
      directory: Searched recursively.
      config: Defines the suffixes.
      extensions: Files with other extensions are ignored.
      flag: The flag that named the directory, for errors.
      what: What errors call one of its files.
    """
    if not os.path.isdir(directory):
        raise UserError(f'{flag}={directory}: no such directory', f'set --{flag}')
    found: dict[str, list[str]] = {}
    for path in files_below(directory):
        base, extension = os.path.splitext(os.path.relpath(path, directory))
        if extension.lower() in extensions:
            found.setdefault(base, []).append(path)
    stems = [name.removesuffix(config.label_suffix) for name in names]
    matches = [
        found.get(name) or found.get(stem + config.image_suffix) or found.get(stem, [])
        for name, stem in zip(names, stems, strict=True)
    ]
    if missing := [name for name, files in zip(names, matches, strict=True) if not files]:
        listed = ', '.join(missing[:_MOST_NAMED])
        if len(missing) > _MOST_NAMED:
            listed += f' and {len(missing) - _MOST_NAMED} more'
        count = f'{len(missing)} of {len(names)} label maps'
        problem = f'{flag}={directory} has no {what} for {count}: {listed}'
        raise UserError(problem, f'name each as its label map ({missing[0]}.png or .jpg)')
    for name, files in zip(names, matches, strict=True):
        if len(files) > 1:
            several = f'{len(files)} files for the label map {name}: {", ".join(files)}'
            raise UserError(f'{flag}={directory} has {several}', 'remove all but one')
    return [files[0] for files in matches]
