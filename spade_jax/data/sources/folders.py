"""Paired files in directories."""

from __future__ import annotations

import os

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import photo_size, read_ids, read_photo
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.coco_annotations import InstanceAnnotations
from spade_jax.data.sources.pairing import Folders, Pairing, pair_files, raise_defects
from spade_jax.errors import UserError


class FolderSource:
    """Paired files in directories, see `pairing`. Ordered by name, or as the listing has them.

    Label maps without photograph are passed over: data sets have them, for photographs that were withdrawn.

    Raises:
      UserError: on construction, when a directory, a listed example or a partner is missing.
    """

    already_scaled = False

    def __init__(self, config: DataConfig, split: str):
        self.pairing: Pairing = pair_files(folders_of(config, split))
        raise_defects(self.pairing.defects)
        self._annotations = open_annotations(config, split)
        self._labels = LabelReader(config)
        self.files = self.pairing.files
        self.names = [files.name for files in self.files]
        self.locations = [files.label for files in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Example:
        maps = self._read_maps(index, thorough=False)  # `read_maps` was, before the first step
        files = self.files[index]
        image = read_photo(files.photo, expected_size=size_of(maps.label))
        require_same_size(files.photo, size_of(image), files.label, size_of(maps.label))
        return maps._replace(image=image)

    def read_maps(self, index: int) -> Example:
        maps = self._read_maps(index, thorough=True)
        files = self.files[index]
        require_same_size(
            files.photo,
            photo_size(files.photo, expected_size=size_of(maps.label)),
            files.label,
            size_of(maps.label),
        )
        return maps

    def _read_maps(self, index: int, *, thorough: bool) -> Example:
        files = self.files[index]
        label = self._labels.read(files.label, thorough=thorough)
        if self._annotations:
            return Example(
                None, label, self._annotations.instance_map(os.path.basename(files.photo), label)
            )
        if files.instance is None:
            return Example(None, label)
        instance = read_ids(files.instance, 'instance map', thorough=thorough)
        require_same_size(files.instance, size_of(instance), files.label, size_of(label))
        return Example(None, label, instance)


def folders_of(config: DataConfig, split: str) -> Folders:
    """Where the files of a split lie; with the instance maps, where the run wants them and does not draw them from annotations."""
    return Folders.from_config(
        config, split, instance_files=config.instance_edges and not _annotations_path(config, split)
    )


def open_annotations(config: DataConfig, split: str) -> InstanceAnnotations | None:
    """The annotations that the instance maps of a split are drawn from; None where there are files of them, or the run wants none.

    Raises:
      UserError: when there are none of the form of COCO in the file.
    """
    path = _annotations_path(config, split)
    return InstanceAnnotations(path, flag=f'{split}_instance_dir') if path else None


def size_of(pixels: np.ndarray) -> tuple[int, int]:
    """Width and height."""
    height, width = pixels.shape[:2]
    return width, height


def require_same_size(
    path: str, size: tuple[int, int], label_path: str, label_size: tuple[int, int]
) -> None:
    """Raises UserError when the sizes (width, height) of a file and of its label map differ."""
    if size != label_size:
        raise UserError(
            f'{path} has {size[0]}x{size[1]} pixels, but its label map {label_path} has {label_size[0]}x{label_size[1]}',
            'make the two from the same picture',
        )


def _annotations_path(config: DataConfig, split: str) -> str:
    """The JSON file that stands in the place of a directory of instance maps; '' where none does."""
    instances = getattr(config, f'{split}_instance_dir')
    return (
        os.path.join(os.path.expanduser(config.data_dir), instances)
        if config.instance_edges and instances.endswith('.json')
        else ''
    )
