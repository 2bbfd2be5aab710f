"""Names and colors of the classes: render ids as colors, and turn color masks into ids."""

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
    """The names of the label channels, don't-care included, and their colors [N, 3] uint8."""

    names: tuple[str, ...]
    colors: np.ndarray


def classes_of(config: DataConfig) -> Classes:
    """Return the classes of the palette, else of the data set, else with generated names."""
    names = [f'class {number}' for number in range(config.num_classes)]
    names += ['unknown'] * config.dontcare
    unknown = np.array([UNKNOWN_COLOR] * config.dontcare, np.uint8).reshape(-1, 3)
    colors = np.concatenate([default_palette(config.num_classes), unknown])
    for entry in _known_classes(config):
        if entry.id < len(names):
            names[entry.id] = entry.name
            if entry.color:
                colors[entry.id] = rgb(entry.color)
    return Classes(tuple(names), colors)


def builtin_classes(name: str) -> list[LabelClass]:
    """Read a table of `data/classes`, e.g. 'ade20k'. Classes may share a color there."""
    with open(builtin_palette(name) or name, encoding='utf-8') as file:
        classes = json.load(file)['classes']
    return [LabelClass(entry['id'], entry['name'], entry.get('color')) for entry in classes]


def default_palette(num_classes: int) -> np.ndarray:
    """Return distinct colors [num_classes, 3] uint8: the scheme of PASCAL VOC, without its black.

    The bits of the class number go to red, green and blue in turn, to the highest bits first.
    """
    numbers = np.arange(1, num_classes + 1)
    colors = np.zeros((num_classes, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            colors[:, channel] |= (numbers >> (3 * place + channel) & 1) << (7 - place)
    return colors.astype(np.uint8)


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
        self.classes = [entry for entry in parse_palette(palette) if entry.color]
        if not self.classes:
            raise UserError('the palette has no colors', 'add "color": "#rrggbb" to its classes')
        # [2^24] int32, 64 MB: the id of every color. One lookup is 20 times as fast as a search.
        self._ids = np.full(1 << 24, _NO_CLASS, np.int32)
        for entry in self.classes:
            code = int((entry.color or '')[1:], 16)
            self._ids[code] = entry.id if self._ids[code] == _NO_CLASS else _SEVERAL_CLASSES
        largest = max(entry.id for entry in self.classes)
        self._dtype = np.dtype(np.uint8 if largest <= 255 else np.uint16)

    def ids(self, colors: np.ndarray) -> np.ndarray:
        """Return the ids [H, W] of a color mask [H, W, 3] uint8.

        Raises a UserError, with color and pixel, if a color has no class or several.
        """
        ids = self._ids[_code(colors)]
        if ids.min() >= 0:
            return ids.astype(self._dtype)
        shared = ids == _SEVERAL_CLASSES
        if shared.any():
            color, where = _first_pixel(colors, shared)
            names = ', '.join(entry.name for entry in self.classes if entry.color == color)
            problem = f'{where} stands for several classes ({names})'
            raise UserError(problem, 'give each class its own color')
        unknown = ids == _NO_CLASS
        color, where = _first_pixel(colors, unknown)
        count = len(np.unique(_code(colors[unknown])))
        channels = np.array([rgb(entry.color or '') for entry in self.classes])
        nearest = self.classes[int(np.abs(channels - rgb(color)).sum(axis=1).argmin())]
        raise UserError(
            f'{where} is not in the palette ({count} such color{"s" if count > 1 else ""}, '
            f'{unknown.mean():.2%} of the pixels); the nearest is {nearest.color} ({nearest.name})',
            'add it to the palette, or save the mask without smoothing, as PNG',
        )


def rgb(color: str) -> tuple[int, int, int]:
    """Convert '#rrggbb' to (r, g, b)."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def _first_pixel(colors: np.ndarray, mask: np.ndarray) -> tuple[str, str]:
    """Return the color of the first pixel of a mask [H, W], and a description of the two."""
    y, x = np.argwhere(mask)[0]
    color = _hex(colors[y, x])
    return color, f'color {color} at pixel (x={x}, y={y})'


def _hex(color) -> str:
    return '#{:02x}{:02x}{:02x}'.format(*map(int, color))


def _code(colors: np.ndarray) -> np.ndarray:
    red, green, blue = (colors[..., channel].astype(np.int32) for channel in range(3))
    return red << 16 | green << 8 | blue


@functools.lru_cache(maxsize=8)
def _known_classes(config: DataConfig) -> list[LabelClass]:
    if config.palette:
        classes = parse_palette(config.palette)
        return [entry for entry in classes if entry.id != DONTCARE_ID or not config.dontcare]
    entry = CATALOG.get(config.dataset)
    if entry is None:
        return []
    classes = builtin_classes(entry.classes) if entry.classes else _landscape_classes()
    # With another number of classes, flags have renumbered the ids.
    return classes if len(classes) in (config.num_classes, config.label_channels) else []


def _landscape_classes() -> list[LabelClass]:
    from spade_jax import landscapes

    classes = enumerate(landscapes.CLASSES)
    return [LabelClass(number, entry.name, _hex(entry.color)) for number, entry in classes]
