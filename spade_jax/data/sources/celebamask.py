"""CelebAMask-HQ: faces whose label maps are merged from one mask file for each part."""

import collections
import os
import re

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids_or_colors
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources import pairing
from spade_jax.data.sources.pairing import Defect, ExampleFiles, files_below, numbered_lines
from spade_jax.data.sources.source import DatasetSource, require_same_size, size_of
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
_MASK_PATH = re.compile(rf'(?P<face>.*\d{{5}}_)(?P<part>{"|".join(PARTS)})\.png', re.DOTALL)
_AGAIN = 'download it again: https://github.com/switchablenorms/CelebAMask-HQ'
_ONE_A_LINE = 'write the number of one face a line, for example 27000'


class CelebAMaskSource(DatasetSource):
    """The faces of a split of the download, by number (or as listed).

    Photos have 1024x1024 pixels and masks 512x512; the transform scales both to the same size.
    """

    takes_lists = True

    def __init__(self, config: DataConfig, split: str):
        if config.condition not in ('labels', 'none'):
            problem = f'condition={config.condition}, but dataset=celebamask_hq has only label maps'
            raise UserError(problem, 'use --condition=labels or none')
        photos, masks = (_directory(config, f'train_{role}_dir') for role in ('image', 'label'))
        self._directories = photos, masks
        self._labels, self._unconditional = LabelReader(config), config.unconditional
        faces = _listed_faces if getattr(config, f'{split}_list') else _partition
        self._faces = [_files_of(face, photos, masks) for face in faces(config, split)]
        self._parts = _parts_of_faces(masks)
        found = self._parts.keys() | set(files_below(photos))
        for kind, role in (('faces have no photo', 'photo'), ('faces have no masks', 'label')):
            paths = [path for face in self._faces if (path := getattr(face, role)) not in found]
            defects = [Defect(kind, path, f'there is no {path}', _AGAIN) for path in paths]
            pairing.raise_defects(defects)
        self.names = [face.name for face in self._faces]
        self.locations = [face.label for face in self._faces]

    def shared_files(self) -> list[str]:  # Every face has up to 18 masks.
        return [path for directory in self._directories for path in files_below(directory)]

    def _files(self, index: int) -> ExampleFiles:
        return self._faces[index]

    def _maps(self, files: ExampleFiles, thorough: bool) -> Example:
        if self._unconditional:
            return Example(None, self._labels.read(files.photo))
        label, first_path = np.zeros((0, 0), np.uint8), ''
        for part in sorted(self._parts[files.label], key=PARTS.index):
            path = files.label.removesuffix('*.png') + f'{part}.png'
            mask = read_ids_or_colors(path, f'mask of the part {part}', thorough=thorough)
            inside = (mask if mask.ndim == 2 else mask[..., 0]) != 0  # Black and white, as RGB.
            if not first_path:
                label, first_path = np.zeros(inside.shape, np.uint8), path
            require_same_size(path, size_of(inside), first_path, size_of(label))
            label[inside] = PARTS.index(part) + 1
        return Example(None, self._labels.renumber(label, files.label))

    def _fitted(self, files: ExampleFiles, size: tuple[int, int], maps: Example) -> Example:
        """Raise a UserError if photo and masks have different aspect ratios."""
        width, height = size_of(maps.label)
        if size[0] * height != size[1] * width:
            masks = f'its masks {files.label} have {width}x{height}'
            problem = f'{files.photo} has {size[0]}x{size[1]} pixels, another shape than {masks}'
            raise UserError(problem, 'make the two from the same photo')
        return maps


def _directory(config: DataConfig, field: str) -> str:
    path = os.path.normpath(os.path.join(config.data_dir, getattr(config, field)))
    if not os.path.isdir(path):
        remedy = f'set --data_dir to the unpacked CelebAMask-HQ, or --{field}'
        raise UserError(f'{field}: there is no directory {path}', remedy)
    return path


def _files_of(face: int, photos: str, masks: str) -> ExampleFiles:
    """Return the files of a face; the label map is a pattern for its masks."""
    label = os.path.join(masks, str(face // _FACES_IN_A_DIRECTORY), f'{face:05d}_*.png')
    return ExampleFiles(str(face), os.path.join(photos, f'{face}.jpg'), label)


def _parts_of_faces(directory: str) -> dict[str, list[str]]:
    """Return the parts of each face that have a mask, by the pattern for its masks."""
    # One walk over the names: 18 questions for each of 30,000 faces take minutes on a network disk.
    parts = collections.defaultdict(list)
    for match in filter(None, map(_MASK_PATH.fullmatch, files_below(directory))):
        parts[f'{match["face"]}*.png'].append(match['part'])
    return parts


def _listed_faces(config: DataConfig, split: str) -> list[int]:
    flag = f'{split}_list'
    path = os.path.join(config.data_dir, getattr(config, flag))
    faces: dict[int, None] = {}  # An ordered set.
    for number, line in numbered_lines(path, flag, f'set --data_dir or --{flag}'):
        where = f'{flag}: {path}, line {number}'
        if line.startswith('#'):  # A comment.
            continue
        if not (line.isascii() and line.isdigit()):
            raise UserError(f'{where}: "{line[:60]}" is not a number', _ONE_A_LINE)
        if int(line) in faces:
            raise UserError(f'{where}: {line} is listed twice', 'remove one of the lines')
        faces[int(line)] = None
    if not faces:
        raise UserError(f'{flag}: {path} lists no faces', _ONE_A_LINE)
    return list(faces)


def _partition(config: DataConfig, split: str) -> list[int]:
    path = os.path.join(config.data_dir, MAPPING)
    by_list = f'list the numbers of the faces with --{split}_list, one a line'
    remedy = f'it comes with the data set and defines the splits; without it, {by_list}'
    faces = []
    for number, line in numbered_lines(path, 'data_dir', remedy):
        if match := re.match(r'([0-9]+)\s+([0-9]+)(\s|$)', line):
            if int(match[2]) in _ORIGINALS[split]:
                faces.append(int(match[1]))
        elif number > 1 or not line.startswith('idx'):
            problem = f'"{line[:60]}" has not the form "idx orig_idx orig_file"'
            raise UserError(f'{path}, line {number}: {problem}', _AGAIN)
    if not faces:
        raise UserError(f'{path} has no faces of the {split} split', by_list)
    return sorted(faces)
