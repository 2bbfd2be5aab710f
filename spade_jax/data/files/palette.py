"""Names and colors of the classes: render ids as colors, and turn color masks into ids."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from spade_jax.config.catalog import builtin_classes, builtin_palettes, known_classes
from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import TRANSPARENT, LabelClass, parse_palette
from spade_jax.data.files.image_files import TRANSPARENT_CODE, color_codes
from spade_jax.errors import UserError

UNKNOWN_COLOR = (0, 0, 0)
MOST_COLORS = 255  # Of all color masks: more are no palette.
_NO_CLASS, _SEVERAL_CLASSES = -1, -2
_MANY_COLORS, _SMALL_SHARE = 10, 0.2  # What smoothing adds along the borders.
_SHARE_OF_BLENDS = 0.02  # Of the pixels: few colors with less are blends rather than a class.
_COLORS_OF_JPEG = 500
_LARGEST_TOLERANCE, _FARTHEST = 8, 256


class Classes(NamedTuple):
    """The names of the label channels, don't-care included, and their colors [N, 3] uint8."""

    names: tuple[str, ...]
    colors: np.ndarray


NO_CLASSES = Classes((), np.zeros((0, 3), np.uint8))


def classes_of(config: DataConfig) -> Classes:
    """Return the classes of the palette, else of the data set, else with generated names."""
    names = [f'class {number}' for number in range(config.num_classes)]
    names += ['unknown'] * config.dontcare
    colors = np.full((len(names), 3), UNKNOWN_COLOR, np.uint8)
    colors[: config.num_classes] = default_palette(config.num_classes)
    for entry in reversed(known_classes(config)):  # The first of the colors of a class counts.
        if entry.id < len(names):
            names[entry.id] = entry.name
            if entry.color and entry.color != TRANSPARENT:
                colors[entry.id] = rgb(entry.color)
    return Classes(tuple(names), colors)


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

    def __init__(self, palette: str, tolerance: int = 0):
        self._classes = [entry for entry in parse_palette(palette) if entry.color]
        self._tolerance = tolerance
        if not self._classes:
            raise UserError('the palette has no colors', 'add "color": "#rrggbb" to its classes')
        # [2^24 + 1] int32, 64 MB: the id of every color. A lookup is 20 times as fast as a search.
        self._ids = np.full(TRANSPARENT_CODE + 1, _NO_CLASS, np.int32)
        for entry, code in zip(self._classes, _codes(self._classes), strict=True):
            is_first = self._ids[code] in (_NO_CLASS, entry.id)
            self._ids[code] = entry.id if is_first else _SEVERAL_CLASSES
        largest = max(entry.id for entry in self._classes)
        self._dtype = np.dtype(np.uint8 if largest <= 255 else np.uint16)

    def ids(self, colors: np.ndarray, *, exact: bool = False) -> np.ndarray:
        """Return the ids [H, W] of `read_ids_or_colors`'s colors; each must have one class."""
        codes = color_codes(colors)
        ids = self._ids[codes]
        if self._tolerance and not exact and (unknown := ids == _NO_CLASS).any():
            distinct, inverse = np.unique(codes[unknown], return_inverse=True)
            nearest, distances = nearest_colors(self._classes, distinct)
            numbers = np.array([entry.id for entry in self._classes])[nearest]
            ids[unknown] = np.where(distances <= self._tolerance, numbers, _NO_CLASS)[inverse]
        if ids.min() < 0:
            raise self._error(codes, ids)
        return ids.astype(self._dtype)

    def _error(self, codes: np.ndarray, ids: np.ndarray) -> UserError:
        """Return the error of colors that have no class or, first, several."""
        reason = ids.min()
        y, x = np.argwhere(ids == reason)[0]
        color = color_text(int(codes[y, x]))
        where = f'color {color} at pixel (x={x}, y={y})'
        if reason == _SEVERAL_CLASSES:
            names = ', '.join(entry.name for entry in self._classes if entry.color == color)
            problem = f'{where} stands for several classes ({names})'
            return UserError(problem, 'give each class its own color')
        unknown = np.unique(codes[ids == reason])
        nearest, distances = nearest_colors(self._classes, unknown)
        place = np.searchsorted(unknown, codes[y, x])
        entry, distance = self._classes[nearest[place]], distances[place]
        count, share = len(unknown), np.mean(ids == reason)
        such = f'{count} such color{"s" * (count > 1)}, {share:.2%} of the pixels'
        problem = f'{where} is not in the palette ({such})'
        if distance < _FARTHEST:
            problem += f'; the nearest is {entry.color} ({entry.name}), at a distance of {distance}'
        unsmoothed = 'save the mask without smoothing (antialiasing), as PNG'
        if found := builtin_palette_of(np.unique(codes)):
            return UserError(problem, f'all colors are those of --palette={found[0]}')
        if count >= _MANY_COLORS and share < _SMALL_SHARE:  # Blends along borders.
            return UserError(problem, unsmoothed)
        if count >= _COLORS_OF_JPEG:
            again = 'export the mask again from where it was painted'
            return UserError(f'{problem}; masks that were JPEG have so many', f'{again}, as PNG')
        remedies = f'add "{color}" to a palette file (--mode=validate_data drafts one)', unsmoothed
        remedy = ', or '.join(remedies if share > _SHARE_OF_BLENDS else remedies[::-1])
        if (largest := distances.max()) <= safe_tolerance(self._classes):
            remedy = f'set --palette_tolerance={largest} or more, or {remedy}'
        return UserError(problem, remedy)


def builtin_palette_of(
    codes: Collection[int], *, may_be_off: bool = False
) -> tuple[str, int] | None:
    """Return the smallest palette of the package with one class for each color; the tolerance.

    Without `may_be_off` the colors are exact, and the tolerance is 0. One color tells no palette.
    """
    found = []
    for name in builtin_palettes() if 1 < len(codes) <= MOST_COLORS else ():
        classes = [entry for entry in builtin_classes(name) if entry.color]
        uses = Counter(entry.color for entry in classes)
        near = near_colors(classes, codes) if may_be_off else {}
        if all(uses[color_text(int(code))] == 1 for code in codes):
            found.append((0, len(uses), name))
        elif len(near) == len(codes) and (largest := max(near.values())[0]):
            found.append((largest, len(uses), name))
    distance, _, name = min(found, default=(0, 0, ''))
    return (name, distance) if name else None


def near_colors(
    classes: Sequence[LabelClass], codes: Iterable[int]
) -> dict[int, tuple[int, LabelClass]]:
    """Return the colors that a tolerance can accept, with distance and nearest class.

    All classes have colors.
    """
    codes, safe = list(codes), safe_tolerance(classes)
    found = zip(codes, *nearest_colors(classes, np.array(codes, int)), strict=True)
    return {code: (int(away), classes[index]) for code, index, away in found if away <= safe}


def nearest_colors(
    classes: Sequence[LabelClass], codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the index [N] of the class nearest to each of N `color_codes`, and the distance [N].

    All classes have colors.
    A distance is the largest difference in red, green or blue; 256 from and to transparent.
    """
    channels = np.array([16, 8, 0])
    colors = codes[:, None] >> channels & 255  # [N, 3]
    nearest, least = np.zeros(len(codes), int), np.full(len(codes), _FARTHEST)
    for index, code in enumerate(_codes(classes)):
        distances = np.abs(colors - (code >> channels & 255)).max(-1)
        distances[(code == TRANSPARENT_CODE) != (codes == TRANSPARENT_CODE)] = _FARTHEST
        closer = distances < least
        nearest[closer], least[closer] = index, distances[closer]
    return nearest, least


def safe_tolerance(classes: Sequence[LabelClass]) -> int:
    """Return the largest tolerance, up to 8, with which no color is near two classes."""
    least = 2 * _LARGEST_TOLERANCE + 1
    for entry in classes:
        others = [other for other in classes if other.id != entry.id]
        _, distances = nearest_colors(others, np.array(_codes([entry])))
        least = min([least, *distances])
    return max(0, (least - 1) // 2)


def _codes(classes: Iterable[LabelClass]) -> list[int]:
    return [color_code(entry.color) for entry in classes if entry.color]


def rgb(color: str) -> tuple[int, int, int]:
    """Convert '#rrggbb' to (r, g, b)."""
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def color_code(color: str) -> int:
    """Convert a color of a palette to its number in `image_files.color_codes`."""
    return TRANSPARENT_CODE if color == TRANSPARENT else int(color[1:], 16)


def color_text(code: int) -> str:
    """Convert back what `color_code` returns."""
    return TRANSPARENT if code == TRANSPARENT_CODE else f'#{code:06x}'
