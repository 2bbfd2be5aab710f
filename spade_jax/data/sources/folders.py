"""Paired files in directories."""

import os

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_instances
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.coco_annotations import InstanceAnnotations
from spade_jax.data.sources.pairing import ExampleFiles, Folders, pair_files, raise_defects
from spade_jax.data.sources.source import DatasetSource


class FolderSource(DatasetSource):
    """Paired files (see `pairing`), in the order of their names or of the list.

    Label maps without a photo are ignored: photos of public data sets have been withdrawn.
    """

    takes_lists = True
    pairs_files = True

    def __init__(self, config: DataConfig, split: str):
        self.files, defects, _ = pair_files(folders_of(config, split))
        raise_defects(defects)
        self.resizes = config.resize_labels
        self._annotations = open_annotations(config, split)
        self._labels = LabelReader(config)
        self.names = [files.name for files in self.files]
        self.locations = [files.label for files in self.files]

    @classmethod
    def has_split(cls, config: DataConfig, split: str) -> bool:
        if split == 'train':
            return True
        if config.validation_list or config.validation_image_dir != DataConfig.validation_image_dir:
            return bool(config.validation_image_dir)
        return os.path.isdir(os.path.join(config.data_dir, config.validation_image_dir))

    def shared_files(self) -> list[str]:
        return [self._annotations.path] if self._annotations else []

    def _maps(self, files: ExampleFiles, thorough: bool) -> Example:
        label = self._labels.read(files.label, thorough=thorough)
        instance = None
        if self._annotations:
            instance = self._annotations.instance_map(os.path.basename(files.photo), label)
        elif files.instance is not None:
            instance = read_instances(files.instance, thorough=thorough)
        return Example(None, label, instance)


def folders_of(config: DataConfig, split: str) -> Folders:
    """Return where the files of a split are; with instance maps if the run reads files of them."""
    reads_files = config.instance_edges and not _annotations_path(config, split)
    return Folders.from_config(config, split, reads_files)


def open_annotations(config: DataConfig, split: str) -> InstanceAnnotations | None:
    """Open the COCO annotations of a split; None if the run does not rasterize any."""
    path = _annotations_path(config, split)
    return InstanceAnnotations(path, f'{split}_instance_dir') if path else None


def _annotations_path(config: DataConfig, split: str) -> str:
    """Return the JSON file that replaces the directory of instance maps, or ''."""
    path = getattr(config, f'{split}_instance_dir')
    is_read = config.instance_edges and path.endswith('.json')
    return os.path.join(config.data_dir, path) if is_read else ''
