"""From the file of a label map to the ids of the configuration: indices, grays or colours, renumbered, and checked."""

from __future__ import annotations

import io

import numpy as np

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LARGEST_ID, parse_remap
from spade_jax.data.files.image_files import (
    ID_EXTENSIONS,
    PHOTO_EXTENSIONS,
    read_ids,
    read_ids_or_colors,
    read_photo,
)
from spade_jax.data.files.palette import ColorMask
from spade_jax.errors import UserError


class LabelReader:
    """Reads what a generator draws from, as the configuration says.

    condition "labels": the values of gray pictures and the indices of palette pictures are ids; with a palette, pictures with colours (palette pictures
    among them) are looked up in it. Then ids are renumbered. condition "rgb": any picture, as it is.

    Attributes:
      extensions: of the files that can be read.
      role: what messages call such a file.
    """

    def __init__(self, config: DataConfig):
        self.takes_pictures = config.condition == 'rgb'
        self.extensions = PHOTO_EXTENSIONS if self.takes_pictures else ID_EXTENSIONS
        self.role = 'condition picture' if self.takes_pictures else 'label map'
        self._mask = ColorMask(config.palette) if config.palette else None
        self._renumbered = _remap_table(config.label_remap)

    def read(self, path: str | io.BytesIO, *, thorough: bool = True) -> np.ndarray:
        """The label map [H, W] of ids, or the condition picture [H, W, 3] uint8.

        Args:
          thorough: False for a file that was read before, see `image_files.read_ids`.

        Raises:
          UserError: when it cannot be read, or has colours without palette or beyond the palette.
        """
        if self.takes_pictures:
            return read_photo(path, role=self.role)
        if self._mask is None:
            return self.renumber(read_ids(path, thorough=thorough))
        pixels = read_ids_or_colors(path, thorough=thorough)
        try:
            return self.renumber(
                self._ids_of_grays(pixels) if pixels.ndim == 2 else self._mask.ids(pixels)
            )
        except UserError as error:
            raise error.at(str(path)) from None

    def renumber(self, ids: np.ndarray) -> np.ndarray:
        """Ids [H, W] of a file as those of the configuration, by `DataConfig.label_remap`."""
        if self._renumbered is None:
            return ids
        if ids.min() < 0 or ids.max() > LARGEST_ID:
            raise UserError(
                f'label id {ids.min() if ids.min() < 0 else ids.max()} is outside 0..{LARGEST_ID}, where label_remap works',
                'store other ids',
            )
        return self._renumbered[ids]

    def _ids_of_grays(self, ids: np.ndarray) -> np.ndarray:
        """Grays are ids, also beside a palette; unless they could as well be gray colours of the palette, with another meaning."""
        values = np.unique(ids)
        if values[0] >= 0 and values[-1] <= 255:
            try:
                as_colors = self._mask.ids(
                    np.repeat(values.astype(np.uint8)[None, :, None], 3, axis=-1)
                )[0]
            except UserError:
                return ids
            if (as_colors != values).any():
                raise UserError(
                    f'a gray picture of the values {", ".join(map(str, values[:5]))}, which are ids as well as colours of the palette',
                    'save it as RGB if they are colours; leave --palette out if they are ids',
                )
        return ids


def label_dtype(config: DataConfig) -> np.dtype:
    """The smallest type that holds the ids of the configuration and 255."""
    return np.dtype(np.uint8 if config.label_channels <= 256 else np.uint16)


def check_label_ids(label: np.ndarray, config: DataConfig, name: str, remedy: str = '') -> None:
    """Raises UserError, with value, first pixel and remedy, when `label` [H, W] holds an id that the configuration does not know.

    The ids are 0 to label_channels - 1 and, with don't-care, 255. Condition pictures [H, W, 3] hold no ids and pass.

    Args:
      remedy: what to say where the classes are settled; default: the flags with which training would know these ids.
    """
    if config.condition == 'rgb' or 0 <= label.min() and label.max() < config.label_channels:
        return
    known = (label >= 0) & (label < config.label_channels)
    if config.dontcare:
        known |= label == DONTCARE_ID
    if known.all():
        return
    y, x = np.argwhere(~known)[0]
    raise UserError(
        f'{name}: label id {label[y, x]} at pixel (x={x}, y={y}) is not one of the {config.num_classes} classes 0..{config.num_classes - 1}',
        remedy or _label_remedy(label, config),
    )


def _label_remedy(label: np.ndarray, config: DataConfig) -> str:
    classes = label[label != DONTCARE_ID]
    remedies = []
    if classes.size and classes.max() >= config.label_channels:
        remedies.append(f'use --num_classes={int(classes.max()) + 1} or more')
    if DONTCARE_ID in label and not config.dontcare:
        remedies.append('use --dontcare if 255 stands for "unknown"')
    return ', and '.join(remedies) or 'number the classes from 0'


def _remap_table(text: str) -> np.ndarray | None:
    """The new id of every id of 16 bits, in the smallest type; None where nothing is renumbered."""
    remap = parse_remap(text)
    if not remap.targets and remap.other is None:
        return None
    table = (
        np.arange(LARGEST_ID + 1) if remap.other is None else np.full(LARGEST_ID + 1, remap.other)
    )
    table[list(remap.targets)] = list(remap.targets.values())
    return table.astype(np.uint16)
