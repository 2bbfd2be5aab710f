"""Names and colours of the classes: how ids are shown to people, and how colour masks become ids."""

from __future__ import annotations

import functools
import json
from typing import NamedTuple

import numpy as np

from spade_jax.config.catalog import CATALOG, builtin_palette
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LabelClass, parse_palette
from spade_jax.errors import UserError

UNKNOWN_COLOR = (0, 0, 0)
_NO_CLASS, _SEVERAL_CLASSES = -1, -2


class Classes(NamedTuple):
    """names: one for each label channel of the configuration, don't-care included. colors: [label_channels, 3] uint8."""

    names: tuple[str, ...]
    colors: np.ndarray


def classes_of(config: DataConfig) -> Classes:
    """Names and colours of the classes of a run: its palette's, else those of its data set, else made up."""
    names = [f'class {number}' for number in range(config.num_classes)] + [
        'unknown'
    ] * config.dontcare
    colors = np.concatenate(
        [default_palette(config.num_classes)] + [[UNKNOWN_COLOR]] * config.dontcare
    )
    for entry in _table_of(config):
        if entry.id < len(names):
            names[entry.id] = entry.name
            if entry.color:
                colors[entry.id] = rgb(entry.color)
    return Classes(tuple(names), colors)


def builtin_classes(name: str) -> list[LabelClass]:
    """A table of the package, in `data/classes`. Where maps hold ids, two classes may share a colour."""
    with open(builtin_palette(name), encoding='utf-8') as file:
        return [
            LabelClass(entry['id'], entry['name'], entry.get('color'))
            for entry in json.load(file)['classes']
        ]


def default_palette(num_classes: int) -> np.ndarray:
    """`num_classes` colours [num_classes, 3] uint8 that differ from one another and from black.

    The scheme of PASCAL VOC: the bits of the number are dealt out to red, green and blue from the highest bit down, so that neighbouring ids
    lie far apart. Number 0 (black) is left out, for it shows "unknown".
    """
    numbers = np.arange(1, num_classes + 1)
    colors = np.zeros((num_classes, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            colors[:, channel] |= (numbers >> (3 * place + channel) & 1) << (7 - place)
    return colors.astype(np.uint8)


def colorize(label: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Label maps [..., H, W] as pictures [..., H, W, 3] uint8; an id without a colour (255, "unknown") becomes black."""
    table = np.concatenate([colors, [UNKNOWN_COLOR]]).astype(np.uint8)
    ids = np.asarray(label, np.int64)
    return table[np.where((ids >= 0) & (ids < len(colors)), ids, len(colors))]


def shown(label: np.ndarray, config: DataConfig) -> np.ndarray:
    """What the generator draws from, as pictures [..., H, W, 3] uint8: label maps in the colours of their classes, pictures as they are."""
    return label if config.condition == 'rgb' else colorize(label, classes_of(config).colors)


class ColorMask:
    """Turns the colours of a palette into ids.

    Args:
      palette: text of `label_table.read_palette`.
    """

    def __init__(self, palette: str):
        self.classes = [entry for entry in parse_palette(palette) if entry.color]
        if not self.classes:
            raise UserError('the palette has no colours', 'add "color": "#rrggbb" to its classes')
        # [2^24] int32: the id of every colour there is, 64 MB. Looking up is then one indexing, twenty times as fast as a search.
        self._ids = np.full(1 << 24, _NO_CLASS, np.int32)
        for entry in self.classes:
            code = _code(np.array(rgb(entry.color)))
            self._ids[code] = entry.id if self._ids[code] == _NO_CLASS else _SEVERAL_CLASSES
        self._dtype = np.dtype(
            np.uint8 if max(entry.id for entry in self.classes) <= 255 else np.uint16
        )

    def ids(self, colors: np.ndarray) -> np.ndarray:
        """The ids [H, W] of a colour mask [H, W, 3] uint8. Raises UserError, with colour and pixel, at a colour of no class, or of several."""
        ids = self._ids[_code(colors)]
        if ids.min() >= 0:
            return ids.astype(self._dtype)
        shared = ids == _SEVERAL_CLASSES
        if shared.any():
            y, x = np.argwhere(shared)[0]
            names = [entry.name for entry in self.classes if entry.color == _hex(colors[y, x])]
            raise UserError(
                f'colour {_hex(colors[y, x])} at pixel (x={x}, y={y}) stands for several classes ({", ".join(names)})',
                'give each class its own',
            )
        unknown = ids == _NO_CLASS
        y, x = np.argwhere(unknown)[0]
        found = len(np.unique(_code(colors[unknown])))
        raise UserError(
            f'colour {_hex(colors[y, x])} at pixel (x={x}, y={y}) is not in the palette ({found} such colour{"s" if found > 1 else ""}, '
            f'{unknown.mean():.2%} of the pixels); the nearest is {self._nearest(colors[y, x])}',
            'add it to the palette, or save the mask without smoothing, as PNG',
        )

    def _nearest(self, color: np.ndarray) -> str:
        distances = [np.abs(np.array(rgb(entry.color)) - color).sum() for entry in self.classes]
        nearest = self.classes[int(np.argmin(distances))]
        return f'{nearest.color} ({nearest.name})'


def rgb(color: str) -> tuple[int, int, int]:
    """'#rrggbb' -> (r, g, b)."""
    return tuple(bytes.fromhex(color[1:]))


def _hex(color: np.ndarray) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*map(int, color))


def _code(colors: np.ndarray) -> np.ndarray:
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


@functools.lru_cache(maxsize=8)
def _table_of(config: DataConfig) -> tuple[LabelClass, ...]:
    if config.palette:
        return tuple(
            entry
            for entry in parse_palette(config.palette)
            if entry.id != DONTCARE_ID or not config.dontcare
        )
    if config.dataset == 'scenes':
        from spade_jax import landscapes

        return tuple(
            LabelClass(number, entry.name, _hex(np.array(entry.color)))
            for number, entry in enumerate(landscapes.CLASSES)
        )
    entry = CATALOG.get(config.dataset)
    table = tuple(builtin_classes(entry.classes)) if entry else ()
    return (
        table if len(table) in (config.num_classes, config.label_channels) else ()
    )  # of another numbering where flags renumber the ids
