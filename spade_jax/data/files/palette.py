"""Names and colors of the classes: render ids as colors, and turn color masks into ids."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from spade_jax.config.catalog import CATALOG, builtin_palette
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LabelClass, parse_palette
from spade_jax.errors import UserError

UNKNOWN_COLOR = (0, 0, 0)
_NO_CLASS, _SEVERAL_CLASSES = -1, -2


class Classes(NamedTuple):
    """The names of the label channels, don't-care included, and their colors [N, 3] uint8."""

    names: tuple[str, ...]
    colors: np.ndarray


def classes_of(config: DataConfig) -> Classes:
    """Return the classes of the palette, else of the data set, else with generated names."""
    names = [f'class {number}' for number in range(config.num_classes)]
    names += ['unknown'] * config.dontcare
    colors = np.full((len(names), 3), UNKNOWN_COLOR, np.uint8)
    colors[: config.num_classes] = default_palette(config.num_classes)
    for entry in _known_classes(config):
        if entry.id < len(names):
            names[entry.id] = entry.name
            if entry.color:
                colors[entry.id] = rgb(entry.color)
    return Classes(tuple(names), colors)


def builtin_classes(name: str) -> list[LabelClass]:
    """Read a table of `data/classes`, e.g. 'ade20k'. Classes may share a color there."""
    classes = json.loads(Path(builtin_palette(name) or name).read_text(encoding='utf-8'))['classes']
    return [LabelClass(entry['id'], entry['name'], entry.get('color')) for entry in classes]


def default_palette(num_classes: int) -> np.ndarray:
    """Return distinct colors [num_classes, 3] uint8: as in PASCAL VOC, without its black."""
    numbers = np.arange(1, num_classes + 1)
    colors = np.zeros((num_classes, 3), np.uint8)
    for bit in range(24):  # To red, green and blue in turn, to their highest bits first.
        colors[:, bit % 3] |= ((numbers >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return colors


def colorize(label: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Color label maps [..., H, W] -> [..., H, W, 3] uint8; ids without a color become black."""
    table = np.concatenate([colors, [UNKNOWN_COLOR]]).astype(np.uint8)
    ids = np.asarray(label, np.int64)
    return table[np.where((ids >= 0) & (ids < len(colors)), ids, len(colors))]


def colorize_input(label: np.ndarray, config: DataConfig) -> np.ndarray:
    """Render the generator's input as [..., H, W, 3] uint8: colored label maps, or RGB as it is."""
    return colorize(label, classes_of(config).colors) if config.uses_labels else label


class ColorMask:
    """Turns the colors of a palette (the text of `label_format.read_palette`) into ids."""

    def __init__(self, palette: str):
        self.classes = {entry: entry.color for entry in parse_palette(palette) if entry.color}
        if not self.classes:
            raise UserError('the palette has no colors', 'add "color": "#rrggbb" to its classes')
        # [2^24] int32, 64 MB: the id of every color. One lookup is 20 times as fast as a search.
        self._ids = np.full(1 << 24, _NO_CLASS, np.int32)
        for entry, color in self.classes.items():
            code = int(color[1:], 16)
            self._ids[code] = entry.id if self._ids[code] == _NO_CLASS else _SEVERAL_CLASSES
        largest = max(entry.id for entry in self.classes)
        self._dtype = np.dtype(np.uint8 if largest <= 255 else np.uint16)

    def ids(self, colors: np.ndarray) -> np.ndarray:
        """Return the ids [H, W] of a color mask [H, W, 3] uint8; each color must have one class."""
        red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
        codes = red << 16 | green << 8 | blue
        ids = self._ids[codes]
        if ids.min() >= 0:
            return ids.astype(self._dtype)
        reason = ids.min()  # Colors of several classes first.
        y, x = np.argwhere(ids == reason)[0]
        color = _hex(colors[y, x])
        where = f'color {color} at pixel (x={x}, y={y})'
        if reason == _SEVERAL_CLASSES:
            names = ', '.join(entry.name for entry in self.classes if entry.color == color)
            problem = f'{where} stands for several classes ({names})'
            raise UserError(problem, 'give each class its own color')
        distances = [np.abs(np.subtract(rgb(c), colors[y, x])).sum() for c in self.classes.values()]
        nearest = list(self.classes)[np.argmin(distances)]
        count, share = len(np.unique(codes[ids == reason])), np.mean(ids == reason)
        such = f'{count} such color{"s" * (count > 1)}, {share:.2%} of the pixels'
        found = f'the nearest is {nearest.color} ({nearest.name})'
        problem = f'{where} is not in the palette ({such}); {found}'
        raise UserError(problem, 'add it to the palette, or save the mask unsmoothed, as PNG')


def rgb(color: str) -> tuple[int, int, int]:
    """Convert '#rrggbb' to (r, g, b)."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def _hex(color) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*map(int, color))


@functools.lru_cache(maxsize=8)
def _known_classes(config: DataConfig) -> list[LabelClass]:
    if config.palette:
        classes = parse_palette(config.palette)
        return [entry for entry in classes if entry.id != DONTCARE_ID or not config.dontcare]
    if config.dataset not in CATALOG:
        return []
    if name := CATALOG[config.dataset].classes:
        classes = builtin_classes(name)
    else:
        from spade_jax.landscapes import CLASSES

        classes = [LabelClass(i, entry.name, _hex(entry.color)) for i, entry in enumerate(CLASSES)]
    # With another number of classes, flags have renumbered the ids.
    return classes if len(classes) in (config.num_classes, config.label_channels) else []
