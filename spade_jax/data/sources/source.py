"""The protocol of all sources of examples, and the base class of those that read a data set."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import Size, is_copy, photo_size, read_photo
from spade_jax.data.pipeline.paired_transforms import Example, resize_ids, resize_image
from spade_jax.data.sources.pairing import ExampleFiles
from spade_jax.errors import UserError

SPLITS = ('train', 'validation')


class Source(Protocol):
    """Examples by index, read one at a time, from several threads; no order, crops or batches."""

    names: Sequence[str]  # What output files call each example.
    locations: Sequence[str]  # What errors call it: the path of its label map.
    already_scaled: bool  # Whether examples were checked, and scaled for the crop, when written.

    def __len__(self) -> int: ...

    def read(self, index: int) -> Example:
        """Read an example, or raise a UserError with the file's name."""
        ...

    def read_maps(self, index: int) -> Example:
        """Read an example without its photo, of which only the size is compared."""
        ...


class DatasetSource(Source):
    """Base class of the sources that read a data set itself, not prepared records of it."""

    already_scaled = False
    takes_lists = False  # Whether `train_list` and `validation_list` select its examples.
    pairs_files = False  # Whether its examples are pairs of files in directories.
    files: Sequence[ExampleFiles] = ()  # Of each example; empty if they are not a few of its own.
    resizes = False  # Whether maps that are scaled copies are brought to the size of their photo.

    def __init__(self, config: DataConfig, split: str):
        raise NotImplementedError

    @classmethod
    def has_split(cls, config: DataConfig, split: str) -> bool:
        """Return False if the data set has no such split and no flag asks for it."""
        return True

    @classmethod
    def check_options(cls, config: DataConfig) -> None:
        """Raise a UserError for options that the data set can never have; reads no files."""

    def __len__(self) -> int:
        return len(self.names)

    def shared_files(self) -> Iterable[str]:
        """Return the other files that the examples are made from."""
        return ()

    def read(self, index: int) -> Example:
        files = self._files(index)
        maps = self._maps(files, thorough=False)  # `read_maps` has checked the files before.
        image = read_photo(files.photo, expected_size=size_of(maps.label))
        return self._fitted(files, size_of(image), maps)._replace(image=image)

    def read_maps(self, index: int) -> Example:
        files = self._files(index)
        maps = self._maps(files, thorough=True)
        size = photo_size(files.photo, expected_size=size_of(maps.label))
        return self._fitted(files, size, maps)

    def _files(self, index: int) -> Any:
        """Return an object with `photo` (a file) and `label`, whose `str()` errors use."""
        return self.files[index]

    def _maps(self, files: Any, thorough: bool) -> Example:
        """Read label map and instance map; `thorough` is that of `image_files.read_ids`."""
        raise NotImplementedError

    def _fitted(self, files: Any, size: Size, maps: Example) -> Example:
        """Return maps of the `size` of the photo, or raise a UserError."""
        maps = resized_copies(maps, size) if self.resizes else maps
        label = str(files.label), size_of(maps.label)
        require_same_size(str(files.photo), size, *label)
        if maps.instance is not None:
            require_same_size(str(files.instance), size_of(maps.instance), *label)
        return maps


def size_of(pixels: np.ndarray) -> Size:
    """Return (width, height)."""
    height, width = pixels.shape[:2]
    return width, height


def require_same_size(path: str, size: Size, label_path: str, label_size: Size) -> None:
    """Raise a UserError if the size (width, height) of a file is not that of its label map."""
    if size != label_size:
        label = f'its label map {label_path} has {label_size[0]}x{label_size[1]}'
        problem = f'{path} has {size[0]}x{size[1]} pixels, but {label}'
        remedy = 'make the two from the same photo'
        if is_copy(label_size, size):
            remedy += ', or set --resize_labels to scale label maps to their photos (nearest)'
        raise UserError(problem, remedy)


def resized_copies(maps: Example, size: Size) -> Example:
    """Resize label map and instance map to the `size` of the photo if they can be copies of it."""

    def resized(pixels):
        if pixels is None or not is_copy(size_of(pixels), size):
            return pixels
        return (resize_image if pixels.ndim == 3 else resize_ids)(pixels, size)

    return maps._replace(label=resized(maps.label), instance=resized(maps.instance))
