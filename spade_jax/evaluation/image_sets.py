"""Images and label maps that scores compare: of directories, or of the data of a run."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from spade_jax.data.files.image_files import (
    LOSSY_EXTENSIONS,
    PHOTO_EXTENSIONS,
    photo_size,
    read_ids,
    read_photo,
)
from spade_jax.data.files.palette import colorize, default_palette
from spade_jax.data.records.fingerprint import digest, file_states
from spade_jax.data.sources.pairing import extension_of, files_below, stem_of
from spade_jax.errors import UserError
from spade_jax.files.html_page import GALLERY_DIRECTORY, GALLERY_SHEET

_MAX_NAMED = 3
_CITYSCAPES_IDS = '_gtFine_labelIds'


class ImageSet(Protocol):
    """Images by index.

    Attributes:
      flag: What progress bars and errors call them.
      is_temporary: No features of them are kept.
    """

    flag: str
    is_temporary: bool

    def __len__(self) -> int: ...

    def read(self, index: int) -> np.ndarray:
        """An image [H, W, 3] uint8. Raises UserError if it cannot be read."""
        ...

    def location(self, index: int) -> str:
        """What errors call an image."""
        ...

    def stems(self) -> Sequence[str]:
        """The names by which images, photos and label maps are paired."""
        ...

    def fingerprint(self) -> str:
        """A digest that changes with the images."""
        ...


class LabelSet(Protocol):
    """Label maps by index.

    Attributes:
      num_classes: Ids in [0, num_classes) are classes, others unlabeled.
    """

    num_classes: int

    def __len__(self) -> int: ...

    def read(self, index: int) -> np.ndarray:
        """Ids [H, W]. Raises UserError if they cannot be read."""
        ...

    def read_file(self, index: int) -> np.ndarray:
        """Ids [H, W] as in the file: of its size and numbering."""
        ...

    def colorized(self, index: int) -> np.ndarray:
        """The colors of the classes [H, W, 3] uint8."""
        ...

    def location(self, index: int) -> str:
        """What errors call a label map."""
        ...

    def stems(self) -> Sequence[str]:
        """See `ImageSet`."""
        ...


class ImageFolder:
    """The images of a directory, in the order of their names, but for the gallery of samples.

    Attributes:
      flag: The flag that names the directory.
      directory: Its path.
      names: The paths of the images below it.
      is_temporary: See `ImageSet`.
      lossy: The extensions of files with lossy compression among them.

    Raises:
      UserError: On construction, when there is no image.
    """

    def __init__(self, flag: str, directory: str, *, is_temporary: bool = False):
        self.flag, self.directory = flag, os.path.expanduser(directory)
        self.is_temporary = is_temporary
        if not os.path.isdir(self.directory):
            raise UserError(f'{flag}={directory} is not a directory', 'give one with images')
        files = [os.path.relpath(path, self.directory) for path in files_below(self.directory)]
        files = [name for name in files if not _is_of_gallery(name)]
        endings = collections.Counter(map(extension_of, files))
        self.names = [name for name in files if extension_of(name) in PHOTO_EXTENSIONS]
        if not self.names:
            found = ', '.join(f'{count} {ending}' for ending, count in endings.most_common(5))
            problem = f'{flag}={directory} has no images, but {found or "nothing"}'
            raise UserError(problem, f'give a directory of {", ".join(sorted(PHOTO_EXTENSIONS))}')
        self.lossy = [name for name in endings if name in LOSSY_EXTENSIONS]

    def __len__(self) -> int:
        return len(self.names)

    def location(self, index: int) -> str:
        return os.path.join(self.directory, self.names[index])

    def read(self, index: int) -> np.ndarray:
        """An image [H, W, 3] uint8. Raises UserError if it cannot be read or has 16 bits."""
        return read_photo(self.location(index), role='image')

    def read_ids(self, index: int) -> np.ndarray:
        """A label map: ids [H, W]. Raises UserError if it cannot be read."""
        return read_ids(self.location(index))

    def sizes(self) -> collections.Counter[str]:
        """How many images have a size, 'WIDTHxHEIGHT'."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            sizes = pool.map(photo_size, map(self.location, range(len(self))))
            return collections.Counter(f'{width}x{height}' for width, height in sizes)

    def fingerprint(self) -> str:
        """A digest of the names, sizes and times of the files."""
        states = file_states([[self.location(index)] for index in range(len(self))])
        return digest([*self.names, *map('\0'.join, states)])

    def stems(self) -> list[str]:
        """The names without their endings, as label maps are paired."""
        return [stem_of(self.location(index), self.directory) for index in range(len(self))]


class LabelFiles:
    """The label maps of a directory; see `LabelSet` and `ImageFolder`.

    Of Cityscapes as downloaded, these are the files of label ids alone.
    """

    def __init__(self, flag: str, directory: str, num_classes: int):
        self._folder, self.num_classes = ImageFolder(flag, directory), num_classes
        names = self._folder.names
        ids = [name for name in names if os.path.splitext(name)[0].endswith(_CITYSCAPES_IDS)]
        self._folder.names = ids or names
        self.read, self.location = self._folder.read_ids, self._folder.location
        self.read_file, self.stems = self.read, self._folder.stems

    def colorized(self, index: int) -> np.ndarray:
        return colorize(self.read(index), default_palette(self.num_classes))

    def __len__(self) -> int:
        return len(self._folder)


def _is_of_gallery(name: str) -> bool:
    return name == GALLERY_SHEET or name.split(os.sep)[0] == GALLERY_DIRECTORY


def pairs_of(
    images: ImageSet, photos: ImageSet | LabelSet, what: str = 'photo'
) -> list[tuple[int, int]]:
    """The indices of the images and of the photos of the same names, without their endings.

    Args:
      images: All of them need a partner.
      photos: Photos or label maps.
      what: What errors call one of them.

    Raises:
      UserError: An image has no partner, or two files have one name.
    """
    indices, partners = by_name(images), by_name(photos)
    if alone := [name for name in indices if name not in partners]:
        named = ', '.join(alone[:_MAX_NAMED]) + ', ...' * (len(alone) > _MAX_NAMED)
        problem = f'{len(alone)} of {len(images)} images have no {what} of their name ({named})'
        raise UserError(problem, 'rename the files, or leave out the scores that compare pairs')
    return [(index, partners[name]) for name, index in indices.items()]


def by_name(side: ImageSet | LabelSet) -> dict[str, int]:
    """The indices by the names that pairs share; raises UserError if two files have one name."""
    indices: dict[str, int] = {}
    for index, name in enumerate(map(_without_ending, side.stems())):
        if (first := indices.setdefault(name, index)) != index:
            problem = f'{side.location(first)} and {side.location(index)} have one name'
            raise UserError(problem, 'remove one of them')
    return indices


def _without_ending(stem: str) -> str:
    """The name that the files of an example of Cityscapes share."""
    return stem.removesuffix('_leftImg8bit').removesuffix(_CITYSCAPES_IDS)


def warn_of_differences(images: ImageFolder, photos: ImageFolder) -> None:
    """Warn of what distances between the two sides measure besides the images."""
    if bool(images.lossy) != bool(photos.lossy):
        side = images if images.lossy else photos
        _warn(
            f'{side.flag} has {side.lossy[0]} files, the other side has none: scores measure the '
            'compression too'
        )
    sizes = [side.sizes() for side in (images, photos)]
    for side, found in zip((images, photos), sizes, strict=True):
        if len(found) > 1:
            named = ', '.join(f'{count} of {size}' for size, count in found.most_common(3))
            _warn(
                f'{side.flag} has images of {len(found)} sizes ({named}): distances resize each to '
                'the input of their network'
            )
    if len(sizes[0]) == len(sizes[1]) == 1 and sizes[0].keys() != sizes[1].keys():
        (one,), (other,) = sizes
        _warn(
            f'{images.flag} has images of {one} pixels, {photos.flag} of {other}: distances '
            'measure the resolution too; resize the photos to the size of the images'
        )


def _warn(text: str) -> None:
    print(f'warning: {text}', file=sys.stderr)
