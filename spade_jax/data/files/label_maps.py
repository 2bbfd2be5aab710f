"""The label maps to sample from: files of a directory, or the examples of a data set."""

import collections
import itertools
import operator
import os
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import (
    ID_EXTENSIONS,
    PHOTO_EXTENSIONS,
    read_instances,
    read_photo,
)
from spade_jax.data.files.label_reader import LabelReader, check_label_ids, empty_condition
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.records.fingerprint import digest, digest_of_source, file_states, settings_of
from spade_jax.data.sources.pairing import contents, extension_of, files_below, stem_of
from spade_jax.data.sources.source import Source, require_same_size, size_of
from spade_jax.errors import UserError
from spade_jax.files.image_grid import evenly_spaced

_MOST_NAMED = 3
_FIXED = 'a trained model has fixed classes'
_REMEDY = f'{_FIXED}: renumber the ids with --label_remap, or read color masks with --palette'


class LabelMaps(Protocol):
    """Label maps by index; reading raises a UserError with the file's name."""

    names: Sequence[str]  # The relative paths without extension: names for output files.
    locations: Sequence[str]  # What errors call the maps.
    paths: Sequence[str]  # Files that no output may overwrite; empty if there are none.

    def read(self, index: int) -> Example:
        """Read and check a label map and, for models with edges, its instance map (int32)."""
        ...

    def read_photo(self, index: int) -> np.ndarray | None:
        """Read the photo [H, W, 3] uint8 of the map, of any size; None if there is none."""
        ...

    def fingerprint(self) -> str:
        """Return a digest that changes with the maps, the photos, and how they are read."""
        ...

    def read_colors(self, index: int) -> np.ndarray | None:
        """Read the colors [H, W, 3 or 4] uint8 of a color mask; None if it has ids."""
        ...


class LabelFolder:
    """The label maps (or condition images) below a directory, in the order of their names; or one.

    These are the files whose stems end in `config.label_suffix`; if there are none, all files.
    `instance_dir` (for models with edges) and `photo_dir` (see `files_for`) have the same names.
    """

    def __init__(
        self, config: DataConfig, label_dir: str, instance_dir: str = '', photo_dir: str = ''
    ):
        self._config, self._reader = config, LabelReader(config)
        if config.instance_edges and not instance_dir:
            raise UserError('this model was trained with instance edges', 'give --instance_dir')
        if instance_dir and not config.instance_edges:
            problem = f'instance_dir={instance_dir}, but this model has no instance edges'
            raise UserError(problem, 'leave the flag out')
        files = self._label_files(label_dir)
        self.paths: Sequence[str] = [path for _, path in files]
        self.locations: Sequence[str] = self.paths
        self.names: Sequence[str] = [stem for stem, _ in files]
        self._instances, self._photos = [], []
        if instance_dir:
            names = list(map(self._instance_name, self.names))
            words = dict(flag='instance_dir', what='instance map')
            self._instances = files_for(names, instance_dir, config, ID_EXTENSIONS, **words)
        if photo_dir:
            words = dict(flag='photo_dir', what='photo')
            self._photos = files_for(self.names, photo_dir, config, **words)

    def _label_files(self, path: str) -> list[tuple[str, str]]:
        """Return the stem and the path of each label map."""
        if os.path.isfile(path):
            return [(stem_of(path, os.path.dirname(path) or '.'), path)]
        extensions = self._reader.extensions
        found = _files_by_stem(path, extensions, 'label_dir')
        if not found:
            listed = ', '.join(sorted(extensions))
            problem = f'label_dir={path}{contents(path)} has no label map ({listed})'
            raise UserError(problem, 'set --label_dir')
        stems = [stem for stem in found if stem.endswith(self._config.label_suffix)] or found
        files = [(stem, path) for stem in stems for path in found[stem]]
        return sorted(files, key=operator.itemgetter(1))

    def _instance_name(self, stem: str) -> str:
        suffix = self._config.label_suffix
        if not stem.endswith(suffix):
            return stem
        return stem.removesuffix(suffix) + self._config.instance_suffix

    def read_photo(self, index: int) -> np.ndarray | None:
        return read_photo(self._photos[index]) if self._photos else None

    def read_colors(self, index: int) -> np.ndarray | None:
        return self._reader.read_colors(self.paths[index])

    def fingerprint(self) -> str:
        states = file_states([self.paths, self._instances, self._photos])
        return digest([str(settings_of(self._config)), *self.names, *itertools.chain(*states)])

    def read(self, index: int) -> Example:
        path, instance = self.paths[index], None
        label = self._reader.read(path)
        if self._instances:
            instance = read_instances(self._instances[index])
            require_same_size(self._instances[index], size_of(instance), path, size_of(label))
        return _checked(Example(None, label, instance), self._config, path)


class LabelsOfSource:
    """The label maps of a split of a data set."""

    paths: Sequence[str] = ()

    def __init__(self, source: Source, config: DataConfig):
        self._source, self._config = source, config
        self.names, self.locations = source.names, source.locations

    def read_photo(self, index: int) -> np.ndarray | None:
        return self._source.read(index).image

    def read_colors(self, index: int) -> None:
        return None

    def fingerprint(self) -> str:
        return digest_of_source(self._source, self._config)

    def read(self, index: int) -> Example:
        return _checked(self._source.read_maps(index), self._config, self.locations[index])


class EmptyMaps:
    """The label maps of `number` images of a model without condition, numbered from 0."""

    paths: Sequence[str] = ()

    def __init__(self, config: DataConfig, number: int):
        self.names: Sequence[str] = [f'{index:05d}' for index in range(number)]
        self.locations: Sequence[str] = self.names
        self._empty = empty_condition(config.image_width, config.image_height)

    def read_photo(self, index: int) -> None:
        return None

    def read_colors(self, index: int) -> None:
        return None

    def fingerprint(self) -> str:
        return digest([str(self._empty.shape), *self.names])

    def read(self, index: int) -> Example:
        return Example(None, self._empty)


class EvenlySpaced:
    """At most `most` of some label maps, spread evenly; `skip` are locations to leave out."""

    def __init__(self, maps: LabelMaps, most: int, skip: Collection[str] = ()):
        usable = [i for i, location in enumerate(maps.locations) if location not in skip]
        self._maps, self._indices = maps, evenly_spaced(usable, most)
        self.names: Sequence[str] = [maps.names[i] for i in self._indices]
        self.locations: Sequence[str] = [maps.locations[i] for i in self._indices]
        self.paths: Sequence[str] = maps.paths

    def read_photo(self, index: int) -> np.ndarray | None:
        return self._maps.read_photo(self._indices[index])

    def read_colors(self, index: int) -> np.ndarray | None:
        return self._maps.read_colors(self._indices[index])

    def read(self, index: int) -> Example:
        return self._maps.read(self._indices[index])

    def fingerprint(self) -> str:
        return digest([self._maps.fingerprint(), *self.names])


def files_for(
    names: Sequence[str],
    directory: str,
    config: DataConfig,
    extensions: Collection[str] = PHOTO_EXTENSIONS,
    *,
    flag: str,
    what: str,
) -> list[str]:
    """Return one file below a directory for each label map: of the same name, but for suffixes.

    `names` are relative paths without extension; errors use `flag` (of the directory) and `what`.
    By default, the files are photos. A file instead of the directory is that of the only map.
    """
    if len(names) == 1 and os.path.isfile(directory):
        return [directory]
    found = _files_by_stem(directory, extensions, flag)
    matches: dict[str, list[str]] = {}
    for name in names:
        stem = name.removesuffix(config.label_suffix)
        candidates = (found.get(base) for base in (name, stem + config.image_suffix, stem))
        matches[name] = next(filter(None, candidates), [])
    if missing := [name for name, files in matches.items() if not files]:
        more = len(missing) - _MOST_NAMED
        listed = ', '.join(missing[:_MOST_NAMED]) + (f' and {more} more' if more > 0 else '')
        count = f'{len(missing)} of {len(names)} label maps'
        where = f'{flag}={directory}{contents(directory) if not found else ""}'
        problem = f'{where} has no {what} for {count}: {listed}'
        raise UserError(problem, f'name each as its label map ({missing[0]}.png)')
    for name, files in matches.items():
        if len(files) > 1:
            several = f'{len(files)} files for the label map {name}: {", ".join(files)}'
            raise UserError(f'{flag}={directory} has {several}', 'remove all but one')
    return [matches[name][0] for name in names]


def _files_by_stem(directory: str, extensions: Collection[str], flag: str) -> dict[str, list[str]]:
    """Return the files below a directory by their relative path without extension."""
    if not os.path.isdir(directory):
        raise UserError(f'{flag}={directory}: no such directory', f'set --{flag}')
    found = collections.defaultdict(list)
    for path in files_below(directory):
        if extension_of(path) in extensions:
            found[stem_of(path, directory)].append(path)
    return found


def _checked(example: Example, config: DataConfig, location: str) -> Example:
    """Return an example with known label ids, and instance ids as int32."""
    check_label_ids(example.label, config, location, _REMEDY)
    if example.instance is None:
        return example
    return example._replace(instance=example.instance.astype(np.int32, copy=False))
