"""Read label maps: indices, grays or colors become the class ids of the configuration."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import numpy as np

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LARGEST_ID, parse_remap
from spade_jax.data.files import image_files
from spade_jax.data.files.image_files import (
    Colors,
    File,
    color_codes,
    named,
    photo_size,
    read_ids,
    read_ids_or_colors,
    read_photo,
)
from spade_jax.data.files.index_colors import IndexColors
from spade_jax.data.files.palette import ColorMask, builtin_palette_of
from spade_jax.errors import DatasetError, UserError


class LabelReader:
    """Reads the files that the generator is conditioned on; errors call one `role`.

    Grays and palette indices are ids; with a palette in the configuration, (indexed) colors are
    looked up in it. Then ids are renumbered by `config.label_remap`. RGB conditions stay unchanged.
    `on_indexed` receives the name and the used colors of each file whose indices are ids; by
    default, a color that differs from that of an earlier file is a DatasetError.
    """

    def __init__(self, config: DataConfig, on_indexed: Callable[[str, Colors], None] | None = None):
        self._on_indexed = on_indexed or IndexColors(config).add
        self._uses_labels, self._unconditional = config.uses_labels, config.unconditional
        photos, maps = image_files.PHOTO_EXTENSIONS, image_files.ID_EXTENSIONS
        self.extensions = maps if config.uses_labels else photos
        self.role = condition_role(config)
        palette = config.palette
        self._colors = ColorMask(palette, config.palette_tolerance) if palette else None
        self._new_ids = _remap_table(config.label_remap)

    def read(self, path: File, *, thorough: bool = True) -> np.ndarray:
        """Read a label map as ids [H, W], or a condition image as [H, W, 3] uint8.

        Without a condition, the file is the photo, and the result [H, W, 0] has its size.

        `thorough` is that of `image_files.read_ids`; without it, `on_indexed` is not called. Raises
        a UserError, with the file's name, if it cannot be read, or has colors without a palette or
        not in it.
        """
        path = named(path)
        if self._unconditional:
            return empty_condition(*photo_size(path))
        if not self._uses_labels:
            return read_photo(path, role=self.role)
        if self._colors:
            pixels = read_ids_or_colors(path, thorough=thorough)
        else:
            on_indexed = functools.partial(self._on_indexed, str(path)) if thorough else None
            with _naming_palettes(path):
                pixels = read_ids(path, thorough=thorough, on_indexed=on_indexed)
        try:
            ids = self._ids(pixels)
        except UserError as error:
            raise error.at(str(path)) from None
        return self.renumber(ids, str(path))

    def read_colors(self, path: File) -> np.ndarray | None:
        """Return the colors [H, W, 3 or 4] uint8 of a color mask; None for any other file."""
        if self._colors is None or (pixels := read_ids_or_colors(path)).ndim == 2:
            return None
        return pixels

    def renumber(self, ids: np.ndarray, name: str) -> np.ndarray:
        """Map the ids [H, W] of a file, which errors name, to those of the configuration."""
        if self._new_ids is None:
            return ids
        for extreme in (ids.min(), ids.max()):
            if not 0 <= extreme <= LARGEST_ID:
                problem = f'{name}: label id {extreme} is outside 0..{LARGEST_ID}'
                raise UserError(problem, 'store other ids, or leave --label_remap out')
        return self._new_ids[ids]

    def _ids(self, pixels: np.ndarray) -> np.ndarray:
        """Look up colors; grays are ids unless they could be gray colors of the palette too."""
        if self._colors is None:
            return pixels
        if pixels.ndim == 3:
            return self._colors.ids(pixels)
        values = np.unique(pixels)
        if values[0] < 0 or values[-1] > 255:
            return pixels
        grays = np.repeat(values.astype(np.uint8)[None, :, None], 3, axis=-1)  # [1, values, 3]
        try:
            as_colors = self._colors.ids(grays, exact=True)[0]
        except UserError:
            return pixels
        if (as_colors != values).any():
            listed = ', '.join(map(str, values[:5]))
            problem = f'the values {listed} of a gray image are ids as well as palette colors'
            remedy = 'save it as RGB if they are colors; leave --palette out if they are ids'
            raise UserError(problem, remedy)
        return pixels


@contextlib.contextmanager
def _naming_palettes(path: File) -> Iterator[None]:
    """Add to the error of a color mask which palette of the package has all of its colors."""
    try:
        yield
    except DatasetError:
        raise
    except UserError as error:
        with contextlib.suppress(UserError):  # Another defect: the file cannot be read either.
            colors = read_ids_or_colors(path, thorough=False)
            found = colors.ndim == 3 and builtin_palette_of(np.unique(color_codes(colors)))
            if found:
                remedy = f'all colors are those of --palette={found[0]}'
                error = UserError(error.problem, remedy)
        raise error from None


def condition_role(config: DataConfig) -> str:
    """Return what errors call a file that the generator is conditioned on."""
    return 'label map' if config.uses_labels else 'condition image'


def empty_condition(width: int, height: int) -> np.ndarray:
    """Return what has the place of a label map if there is no condition: [height, width, 0]."""
    return np.zeros((height, width, 0), np.uint8)


def label_dtype(config: DataConfig) -> np.dtype:
    """Return the smallest type that holds the ids of the configuration and 255."""
    return np.dtype(np.uint8 if config.label_channels <= 256 else np.uint16)


def check_label_ids(label: np.ndarray, config: DataConfig, name: str, remedy: str = '') -> None:
    """Raise a UserError, with id and pixel, if a label map has an id without a class.

    Legal are 0 to label_channels - 1 and, with don't-care, 255; condition images [H, W, 3] pass.
    `name` is that of the example; the default `remedy` lists the flags with which ids are legal.
    """
    if not config.uses_labels or 0 <= label.min() and label.max() < config.label_channels:
        return
    known = (label >= 0) & (label < config.label_channels)
    known |= config.dontcare & (label == DONTCARE_ID)
    if not known.all():
        y, x = np.argwhere(~known)[0]
        classes = f'the {config.num_classes} classes 0..{config.num_classes - 1}'
        problem = f'{name}: label id {label[y, x]} at pixel (x={x}, y={y}) is not one of {classes}'
        raise UserError(problem, remedy or _id_remedy(label, config))


def _id_remedy(label: np.ndarray, config: DataConfig) -> str:
    remedies = []
    largest = int(label.max(where=label != DONTCARE_ID, initial=0))
    if largest >= config.label_channels:
        remap = f', or add it to --label_remap={config.label_remap}' * bool(config.label_remap)
        remedies.append(f'use --num_classes={largest + 1} or more{remap}')
    if DONTCARE_ID in label and not config.dontcare:
        remedies.append('use --dontcare if 255 stands for "unknown"')
    return ', and '.join(remedies) or 'number the classes from 0'


def _remap_table(text: str) -> np.ndarray | None:
    """Return the new id of every 16-bit id, or None if nothing is renumbered."""
    targets, other = parse_remap(text)
    if not targets and other is None:
        return None
    table = np.arange(LARGEST_ID + 1, dtype=np.uint16)
    if other is not None:
        table[:] = other
    table[list(targets)] = list(targets.values())
    return table
