"""CelebAMask-HQ: faces whose label maps are merged from one mask file for each part."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids_or_colors
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.pairing import Defect, files_below, numbered_lines, raise_defects
from spade_jax.data.sources.source import DatasetSource, size_of
from spade_jax.errors import UserError

# Class ids count from 1 in this order, 0 is background; later parts cover earlier ones. As in
# g_mask.py of the data set's repository.
PARTS = (
    *('skin', 'nose', 'eye_g', 'l_eye', 'r_eye', 'l_brow', 'r_brow', 'l_ear', 'r_ear'),
    *('mouth', 'u_lip', 'l_lip', 'hair', 'hat', 'ear_r', 'neck_l', 'neck', 'cloth'),
)
MAPPING = 'CelebA-HQ-to-CelebA-mapping.txt'
# The partition of CelebA by the index of the original image, as in g_partition.py: 24,183 faces for
# training, 2,993 for validation, 2,824 for testing.
_ORIGINALS = {'train': range(162771), 'validation': range(162771, 182638)}
_FACES_IN_A_DIRECTORY = 2000
_MASK_NAME = re.compile(rf'(?P<face>\d{{5}})_(?P<part>{"|".join(PARTS)})\.png')
_HOME = 'https://github.com/switchablenorms/CelebAMask-HQ'
_ONE_A_LINE = 'write the number of one face a line, for example 27000'


class _Face(NamedTuple):
    number: int
    photo: str
    label: str


class CelebAMaskSource(DatasetSource):
    """The faces of a split of the download, by number (or as listed).

    Photos have 1024x1024 pixels and masks 512x512; the transform scales both to the same size.
    """

    takes_lists = True

    def __init__(self, config: DataConfig, split: str):
        if config.condition != 'labels':
            condition = f'condition={config.condition}'
            problem = f'{condition}, but dataset=celebamask_hq has label maps and no instance maps'
            raise UserError(problem, 'use --condition=labels')
        self._photo_directory = _directory(config, 'train_image_dir')
        self._mask_directory = _directory(config, 'train_label_dir')
        self._labels = LabelReader(config)
        self._faces = _faces_of(config, split)
        self._parts = _parts_of_faces(self._mask_directory)
        raise_defects(self._defects())
        self.names = [str(face) for face in self._faces]
        self.locations = [self._mask_path(face, '*') for face in self._faces]

    def shared_files(self) -> Iterator[str]:
        yield from files_below(self._photo_directory)
        yield from files_below(self._mask_directory)  # Every face has up to 18.

    def _files(self, index: int) -> _Face:
        face = self._faces[index]
        return _Face(face, self._photo_path(face), self._mask_path(face, '*'))

    def _maps(self, files: _Face, thorough: bool) -> Example:
        label, first_path = np.zeros((0, 0), np.uint8), ''
        for part in self._parts[files.number]:
            path = self._mask_path(files.number, PARTS[part])
            mask = read_ids_or_colors(path, f'mask of the part {PARTS[part]}', thorough=thorough)
            inside = (mask if mask.ndim == 2 else mask[..., 0]) != 0  # Black and white, as RGB.
            if not first_path:
                label, first_path = np.zeros(inside.shape, np.uint8), path
            if inside.shape != label.shape:
                sizes = ['{}x{}'.format(*size_of(pixels)) for pixels in (inside, label)]
                problem = f'{path} has {sizes[0]} pixels, but {first_path} has {sizes[1]}'
                raise UserError(problem, 'make all masks of a face of the same size')
            label[inside] = part + 1
        return Example(None, self._labels.renumber(label))

    def _check_size(self, files: _Face, size: tuple[int, int], label: np.ndarray) -> None:
        """Raise a UserError if photo and masks have different aspect ratios."""
        width, height = size_of(label)
        if size[0] * height != size[1] * width:
            masks = f'its masks {files.label} have {width}x{height}'
            problem = f'{files.photo} has {size[0]}x{size[1]} pixels, another shape than {masks}'
            raise UserError(problem, 'make the two from the same photo')

    def _defects(self) -> list[Defect]:
        photos = set(os.listdir(self._photo_directory))
        no_photo = [f for f in self._faces if f'{f}.jpg' not in photos]
        no_mask = [f for f in self._faces if f not in self._parts]
        missing = [('faces have no photo', self._photo_path(face)) for face in no_photo]
        missing += [('faces have no masks', self._mask_path(face, '*')) for face in no_mask]
        again = f'download the data set again: {_HOME}'
        return [Defect(kind, path, f'there is no {path}', again) for kind, path in missing]

    def _photo_path(self, face: int) -> str:
        return os.path.join(self._photo_directory, f'{face}.jpg')

    def _mask_path(self, face: int, part: str) -> str:
        directory = os.path.join(self._mask_directory, str(face // _FACES_IN_A_DIRECTORY))
        return os.path.join(directory, f'{face:05d}_{part}.png')


def _directory(config: DataConfig, field: str) -> str:
    root = os.path.expanduser(config.data_dir)
    path = os.path.normpath(os.path.join(root, getattr(config, field)))
    if not os.path.isdir(path):
        remedy = f'set --data_dir to the unpacked CelebAMask-HQ, or --{field}'
        raise UserError(f'{field}: there is no directory {path}', remedy)
    return path


def _parts_of_faces(directory: str) -> dict[int, list[int]]:
    """Return the sorted parts of each face."""
    # One walk over the names: 18 questions for each of 30,000 faces take minutes on a network disk.
    parts: dict[int, list[int]] = {}
    for path in files_below(directory):
        parent, name = os.path.split(path)
        if match := _MASK_NAME.fullmatch(name):
            face = int(match['face'])
            if parent == os.path.join(directory, str(face // _FACES_IN_A_DIRECTORY)):
                parts.setdefault(face, []).append(PARTS.index(match['part']))
    return {face: sorted(found) for face, found in parts.items()}


def _faces_of(config: DataConfig, split: str) -> list[int]:
    """Return the numbers of the faces of a split: as listed, else by the partition of CelebA."""
    root, flag = os.path.expanduser(config.data_dir), f'{split}_list'
    if listing := getattr(config, flag):
        return _listed_faces(os.path.join(root, listing), flag)
    return _partition(os.path.join(root, MAPPING), split, flag)


def _listed_faces(path: str, flag: str) -> list[int]:
    faces: dict[int, None] = {}  # An ordered set.
    for number, line in numbered_lines(path, flag, f'set --data_dir or --{flag}'):
        where = f'{flag}: {path}, line {number}'
        face = _number(line, where, _ONE_A_LINE)
        if face in faces:
            raise UserError(f'{where}: {face} is listed twice', 'remove one of the lines')
        faces[face] = None
    if not faces:
        raise UserError(f'{flag}: {path} lists no faces', _ONE_A_LINE)
    return list(faces)


def _partition(path: str, split: str, flag: str) -> list[int]:
    by_list = f'list the numbers of the faces with --{flag}, one a line'
    remedy = f'it comes with the data set and defines the splits; without it, {by_list}'
    again = f'download it again: {_HOME}'
    faces = []
    for number, line in numbered_lines(path, 'data_dir', remedy):
        columns, where = line.split(), f'{path}, line {number}'
        if number == 1 and columns[0] == 'idx':
            continue
        if len(columns) < 2:
            problem = f'{where}: "{line[:60]}" has not the form "idx orig_idx orig_file"'
            raise UserError(problem, again)
        face, original = (_number(column, where, again) for column in columns[:2])
        if original in _ORIGINALS[split]:
            faces.append(face)
    if not faces:
        raise UserError(f'{path} has no faces of the {split} split', by_list)
    return sorted(faces)


def _number(text: str, where: str, remedy: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f'{where}: "{text[:60]}" is not a number', remedy)
    return int(text)
