"""CelebAMask-HQ: faces whose label maps come in parts, one file for each."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import photo_size, read_ids_or_colors, read_photo
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.folders import size_of
from spade_jax.data.sources.pairing import Defect, files_below, numbered_lines, raise_defects
from spade_jax.errors import UserError

# Class ids count from 1 in this order, 0 is background; a later part is painted over an earlier one. As in the g_mask.py of the data set's repository.
PARTS = (
    'skin',
    'nose',
    'eye_g',
    'l_eye',
    'r_eye',
    'l_brow',
    'r_brow',
    'l_ear',
    'r_ear',
    'mouth',
    'u_lip',
    'l_lip',
    'hair',
    'hat',
    'ear_r',
    'neck_l',
    'neck',
    'cloth',
)
MAPPING = 'CelebA-HQ-to-CelebA-mapping.txt'
# The partition of CelebA by the number of the original picture, as in g_partition.py: 24,183 faces to train with, 2,993 to validate, 2,824 to test.
FIRST_VALIDATION_ORIGINAL = 162771
FIRST_TEST_ORIGINAL = 182638
_FACES_IN_A_DIRECTORY = 2000
_MASK_NAME = re.compile(rf'(?P<face>\d{{5}})_(?P<part>{"|".join(PARTS)})\.png')
_HOME = 'https://github.com/switchablenorms/CelebAMask-HQ'


class CelebAMaskSource:
    """The faces of a split in the tree of the download, in the order of their numbers (or of the listing). Reading is safe from several threads.

    A photograph and its label map differ in size here, 1024 against 512 pixels; the transform brings both to the same.

    Raises:
      UserError: on construction, when a directory, a photograph, the masks of a face, or what tells the splits apart is missing.
    """

    already_scaled = False

    def __init__(self, config: DataConfig, split: str):
        if config.condition != 'labels':
            raise UserError(
                f'condition={config.condition}, but dataset=celebamask_hq has label maps and no instance maps',
                'use --condition=labels',
            )
        self._photo_directory, self._mask_directory = (
            _directory(config, field) for field in ('train_image_dir', 'train_label_dir')
        )
        self._labels = LabelReader(config)
        self._faces = _faces_of(config, split)
        self._parts = _parts_of_faces(self._mask_directory)
        raise_defects(self._defects())
        self.names = [str(face) for face in self._faces]
        self.locations = [self._mask_path(face, '*') for face in self._faces]

    def __len__(self) -> int:
        return len(self._faces)

    def read(self, index: int) -> Example:
        maps = self._read_maps(index)
        path = self._photo_path(self._faces[index])
        image = read_photo(path)
        self._require_same_shape(path, size_of(image), index, maps.label)
        return maps._replace(image=image)

    def read_maps(self, index: int) -> Example:
        maps = self._read_maps(index)
        path = self._photo_path(self._faces[index])
        self._require_same_shape(path, photo_size(path), index, maps.label)
        return maps

    def _read_maps(self, index: int) -> Example:
        face = self._faces[index]
        label = None
        for number, part in enumerate(PARTS):
            if not self._parts[face] >> number & 1:
                continue
            path = self._mask_path(face, part)
            mask = read_ids_or_colors(path, f'mask of the part {part}')
            inside = (
                mask if mask.ndim == 2 else mask[..., 0]
            ) != 0  # black and white, stored as RGB
            if label is None:
                label, first_path = np.zeros(inside.shape, np.uint8), path
            if inside.shape != label.shape:
                raise UserError(
                    f'{path} has {"{}x{}".format(*size_of(inside))} pixels, but {first_path} has {"{}x{}".format(*size_of(label))}',
                    'make all masks of a face of the same size',
                )
            label[inside] = number + 1
        return Example(None, self._labels.renumber(label))

    def _defects(self) -> list[Defect]:
        photos = set(os.listdir(self._photo_directory))
        defects = []
        for face in self._faces:
            if f'{face}.jpg' not in photos:
                path = self._photo_path(face)
                defects.append(
                    Defect(
                        'faces have no photograph',
                        path,
                        f'there is no {path}',
                        f'download the data set anew: {_HOME}',
                    )
                )
        for face in self._faces:
            if face not in self._parts:
                path = self._mask_path(face, '*')
                defects.append(
                    Defect(
                        'faces have no masks',
                        path,
                        f'there is no {path}',
                        f'download the data set anew: {_HOME}',
                    )
                )
        return defects

    def _photo_path(self, face: int) -> str:
        return os.path.join(self._photo_directory, f'{face}.jpg')

    def _mask_path(self, face: int, part: str) -> str:
        return os.path.join(
            self._mask_directory, str(face // _FACES_IN_A_DIRECTORY), f'{face:05d}_{part}.png'
        )

    def _require_same_shape(
        self, photo_path: str, size: tuple[int, int], index: int, label: np.ndarray
    ) -> None:
        """Raises UserError when a photograph of this size (width, height) cannot show what the label map shows, larger or smaller."""
        label_width, label_height = size_of(label)
        if size[0] * label_height != size[1] * label_width:
            raise UserError(
                f'{photo_path} has {size[0]}x{size[1]} pixels, which is another shape than that of its masks {self.locations[index]}, '
                f'{label_width}x{label_height}',
                'make the two from the same picture',
            )


def _directory(config: DataConfig, field: str) -> str:
    path = os.path.normpath(
        os.path.join(os.path.expanduser(config.data_dir), getattr(config, field))
    )
    if not os.path.isdir(path):
        raise UserError(
            f'{field}: there is no directory {path}',
            f'set --data_dir to the unpacked CelebAMask-HQ, or --{field}',
        )
    return path


def _parts_of_faces(directory: str) -> dict[int, int]:
    """For each face the parts that it has, as bits. One walk over the names: asking for 18 files of 30,000 faces takes minutes on a network disk."""
    parts: dict[int, int] = {}
    for path in files_below(directory):
        parent, name = os.path.split(path)
        match = _MASK_NAME.fullmatch(name)
        face = int(match['face']) if match else -1
        if match and parent == os.path.join(directory, str(face // _FACES_IN_A_DIRECTORY)):
            parts[face] = parts.get(face, 0) | 1 << PARTS.index(match['part'])
    return parts


def _faces_of(config: DataConfig, split: str) -> Sequence[int]:
    """The numbers of the faces of a split: as listed, else by the partition of CelebA."""
    root = os.path.expanduser(config.data_dir)
    flag = f'{split}_list'
    listing = getattr(config, flag)
    return (
        _listed_faces(os.path.join(root, listing), flag)
        if listing
        else _partition(os.path.join(root, MAPPING), split, flag)
    )


def _listed_faces(path: str, flag: str) -> list[int]:
    faces: dict[int, None] = {}  # as a set that keeps its order
    for number, line in numbered_lines(path, flag, f'set --data_dir or --{flag}'):
        face = _number(
            line,
            f'{flag}: {path}, line {number}',
            'write the number of one face a line, for example 27000',
        )
        if face in faces:
            raise UserError(
                f'{flag}: {path}, line {number}: {face} is listed twice', 'remove one of the lines'
            )
        faces[face] = None
    if not faces:
        raise UserError(f'{flag}: {path} lists no faces', 'write the number of one face a line')
    return list(faces)


def _partition(path: str, split: str, flag: str) -> list[int]:
    remedy = f'it comes with the data set and tells the splits apart; without it, list the numbers of the faces with --{flag}, one a line'
    faces = []
    for number, line in numbered_lines(path, 'data_dir', remedy):
        columns = line.split()
        if number == 1 and columns[0] == 'idx':
            continue
        if len(columns) < 2:
            raise UserError(
                f'{path}, line {number}: "{line[:60]}" is not of the form "idx orig_idx orig_file"',
                f'download it anew: {_HOME}',
            )
        face, original = (
            _number(column, f'{path}, line {number}', f'download the file anew: {_HOME}')
            for column in columns[:2]
        )
        if _split_of(original) == split:
            faces.append(face)
    if not faces:
        raise UserError(
            f'{path} has no faces of the {split} split',
            f'list the numbers of the faces with --{flag}, one a line',
        )
    return sorted(faces)


def _split_of(original: int) -> str:
    if original < FIRST_VALIDATION_ORIGINAL:
        return 'train'
    return 'validation' if original < FIRST_TEST_ORIGINAL else 'test'


def _number(text: str, where: str, remedy: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f'{where}: "{text[:60]}" is not a number', remedy)
    return int(text)
