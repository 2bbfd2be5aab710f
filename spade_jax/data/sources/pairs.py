"""Pairs in one file: two images side by side, as in the data sets of pix2pix (Isola et al.)."""

import os

from spade_jax.config.catalog import CATALOG
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import PHOTO_EXTENSIONS, read_photo
from spade_jax.data.files.label_reader import empty_condition
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.pairing import (
    Defect,
    ExampleFiles,
    contents,
    extension_of,
    files_below,
    raise_defects,
    stem_of,
)
from spade_jax.data.sources.source import DatasetSource
from spade_jax.errors import UserError

(_LAYOUT,) = CATALOG['pairs'].layouts


class PairsSource(DatasetSource):
    """The files of a directory by name; `config.direction` says which half is the condition."""

    def __init__(self, config: DataConfig, split: str):
        flag = f'{split}_image_dir'
        directory = os.path.normpath(os.path.join(config.data_dir, getattr(config, flag)))
        if not os.path.isdir(directory):
            remedy = f'set --data_dir to the directory above, or --{flag}'
            if os.path.isdir(config.data_dir) and any(
                extension_of(name) in PHOTO_EXTENSIONS for name in os.listdir(config.data_dir)
            ):
                remedy = f'set --{flag}=. to read the images of {config.data_dir} itself'
            raise UserError(f'{flag}: there is no directory {directory}', remedy)
        found: dict[str, str] = {}
        defects = []
        for path in files_below(directory):
            if extension_of(path) not in PHOTO_EXTENSIONS:
                continue
            if (other := found.setdefault(stem_of(path, directory), path)) != path:
                problem = f'{other} and {path} have the same name'
                defects.append(Defect('pairs are there twice', path, problem, 'rename one'))
        raise_defects(defects)
        if not found:
            extensions = ' '.join(sorted(PHOTO_EXTENSIONS))
            problem = f'{flag}: no images ({extensions}) in {directory}{contents(directory)}'
            raise UserError(problem, f'set --data_dir or --{flag}')
        self._left_is_condition = config.direction == 'a_to_b'
        self._unconditional = config.unconditional
        self.files = [ExampleFiles(name, path, '') for name, path in sorted(found.items())]
        self.names = [files.name for files in self.files]
        self.locations = [files.photo for files in self.files]

    @classmethod
    def has_split(cls, config: DataConfig, split: str) -> bool:
        if split == 'train':
            return True
        directory = config.validation_image_dir
        if directory != _LAYOUT.defaults['validation_image_dir']:
            return bool(directory)
        return os.path.isdir(os.path.join(config.data_dir, directory))

    def read(self, index: int) -> Example:
        path = self.files[index].photo
        pixels = read_photo(path, role='pair')
        height, width = pixels.shape[:2]
        if width % 2:
            problem = f'{path} has {width}x{height} pixels: an odd width has no two halves'
            raise UserError(problem, 'put two images of one size side by side')
        left, right = pixels[:, : width // 2], pixels[:, width // 2 :]
        condition, image = (left, right) if self._left_is_condition else (right, left)
        if self._unconditional:
            condition = empty_condition(width // 2, height)
        return Example(image, condition)

    def read_maps(self, index: int) -> Example:
        return self.read(index)._replace(image=None)
