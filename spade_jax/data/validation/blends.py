"""Find the blends in a color mask that was smoothed: colors between two others, along borders.

A class fills an area somewhere. A blend does not, and each of its pixels has areas of two colors
beside it, on whose line through red, green and blue it lies; where more areas meet, it is between
their extremes. In a mask with blends, colors of single pixels are blends, too.
"""

import itertools

import numpy as np

_MOST_COLORS, _MOST_AREAS, _MOST_THIN = 2048, 256, 1 << 20  # More are a photo.
_BESIDE = 2  # Pixels to the areas.
_OFF_LINE = 4  # Of 255, for rounding.
_SHARE = 0.8  # Of the pixels of a blend: others may lie beside what is too thin for an area.
_FEW, _FEW_SHARE = 4, 1e-4  # Pixels of a color, and their share of all.


def blended_colors(codes: np.ndarray) -> set[int]:
    """Return the blends among the color codes 0xrrggbb [H, W] of a mask."""
    values, ids, counts = np.unique(codes, return_inverse=True, return_counts=True)
    if not 2 < len(values) <= _MOST_COLORS or min(codes.shape) < 3:
        return set()
    ids = ids.reshape(codes.shape)
    areas = _areas(ids)
    place = np.full(len(values), -1)
    place[areas] = np.arange(len(areas))
    thin = np.flatnonzero(place[ids] < 0)
    if len(areas) < 2 or not 0 < len(thin) <= _MOST_THIN or len(areas) > _MOST_AREAS:
        return set()
    colors = values[:, None] >> np.array([16, 8, 0]) & 255  # [N, 3]
    own, beside = ids.flat[thin], _areas_beside(place[ids], thin, len(areas))
    fits = _on_lines(colors, areas, own, beside) | _between_many(colors, areas, own, beside)
    is_blend = np.bincount(own, fits, len(values)) >= _SHARE * counts
    # A thin class between two others has many pixels of one color.
    is_blend &= (counts < np.median(counts[areas])) & (place < 0)
    if is_blend.any():  # Smoothed: so are its tips and lines that are too thin for an area.
        low, high = colors[areas].min(0), colors[areas].max(0)
        is_between = ((low <= colors) & (colors <= high)).all(1)
        is_blend |= is_between & (place < 0) & (counts <= max(_FEW, _FEW_SHARE * codes.size))
    return set(values[is_blend].tolist())


def _areas(ids: np.ndarray) -> np.ndarray:
    """Return the ids that fill a square of three pixels somewhere."""
    rows = (ids[1:-1] == ids[:-2]) & (ids[1:-1] == ids[2:])
    equal = (ids[:, 1:-1] == ids[:, :-2]) & (ids[:, 1:-1] == ids[:, 2:])
    fills = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:] & equal[1:-1]
    return np.unique(ids[1:-1, 1:-1][fills])


def _areas_beside(places: np.ndarray, pixels: np.ndarray, count: int) -> np.ndarray:
    """Return which of the areas are near each of the pixels, [P, count] bool."""
    padded = np.pad(places, _BESIDE, mode='edge')
    y, x = np.unravel_index(pixels, places.shape)
    beside = np.zeros((len(pixels), count + 1), bool)
    for dy, dx in itertools.product(range(2 * _BESIDE + 1), repeat=2):
        beside[np.arange(len(pixels)), padded[y + dy, x + dx]] = True
    return beside[:, :-1]  # The last one is of no area, -1.


def _on_lines(
    colors: np.ndarray, areas: np.ndarray, own: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Return whether two areas beside each pixel have its color on their line, [P] bool."""
    fits = np.zeros(len(own), bool)
    for one, other in itertools.combinations(range(len(areas)), 2):
        start, way = colors[areas[one]], colors[areas[other]] - colors[areas[one]]
        shares = np.clip((colors - start) @ way / (way @ way), 0, 1)  # [N]
        is_on = np.abs(start + shares[:, None] * way - colors).max(1) <= _OFF_LINE
        fits |= is_on[own] & beside[:, one] & beside[:, other]
    return fits


def _between_many(
    colors: np.ndarray, areas: np.ndarray, own: np.ndarray, beside: np.ndarray
) -> np.ndarray:
    """Return whether three or more areas are beside a pixel, and its color between them, [P]."""
    low, high = np.full((len(own), 3), 255), np.zeros((len(own), 3), int)
    for number, color in enumerate(colors[areas]):
        is_beside = beside[:, number]
        low[is_beside] = np.minimum(low[is_beside], color)
        high[is_beside] = np.maximum(high[is_beside], color)
    is_between = ((low <= colors[own]) & (colors[own] <= high)).all(1)
    return is_between & (beside.sum(1) > 2)
