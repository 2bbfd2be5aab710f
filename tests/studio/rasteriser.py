"""What the tools of the page write, computed a second time: integers by the rules, slowly.

The rules. A point (x, y) is in pixels of the map; pixel (i, j) covers [i, i + 1) x [j, j + 1).

- A dab of size n is n x n pixels; its left pixel is floor(x - n / 2 + 1 / 2), its top one likewise.
  With u, v the distances of a pixel's center from the dab's center in half pixels, a circle has
  u² + v² <= n², a square all, a diamond |u| + |v| <= n, a bar 4 |v| <= max(n, 4).
- A stroke between two points puts dabs at max(|dx|, |dy|) + 1 places from the first dab to the
  last, at equal distances, rounded to whole pixels; halves are rounded away from the first.
- A rectangle has all pixels between those of its two points, these included.
- A polygon has its corners at corners of pixels, floor(x + 1 / 2), and the pixels whose centers
  are inside by the even-odd rule; a center on an edge belongs to what is right of the edge.
- Fill takes the pixels connected to the point's over sides by its id; everywhere: all of that id.
- Mirrored, the images of all these pixels are written too, left-right, up-down and both.
- A pixel is written if its id is not protected, and is in "only over" unless that is empty.
- Clean-up gives each pixel the most frequent id among the 3x3 pixels around it that are on the map;
  of equally frequent ones its own, else the smallest.
"""

import dataclasses
import fractions
import math

import numpy as np


@dataclasses.dataclass
class LabelMap:
    """A label map that tools write to, and the settings that apply to all of them."""

    ids: np.ndarray
    protected: frozenset = frozenset()
    only: frozenset = frozenset()
    mirror_x: bool = False
    mirror_y: bool = False

    def write(self, mask, label):
        """Give the pixels of a mask, and their mirror images, an id."""
        if self.mirror_x:
            mask = mask | mask[:, ::-1]
        if self.mirror_y:
            mask = mask | mask[::-1]
        self.put(mask, label)

    def put(self, mask, label):
        allowed = ~np.isin(self.ids, list(self.protected))
        if self.only:
            allowed &= np.isin(self.ids, list(self.only))
        self.ids = np.where(mask & allowed, label, self.ids).astype(self.ids.dtype)

    def empty(self):
        return np.zeros(self.ids.shape, bool)

    def stroke(self, label, shape, size, points):
        """Write dabs along the straight ways between points; `size` is one number, or each's."""
        sizes = [size] * len(points) if isinstance(size, int) else size
        mask = self.empty()
        previous = points[0]
        for point, size in zip(points, sizes, strict=True):
            start, end = (tuple(dab_start(c, size) for c in p) for p in (previous, point))
            for left, top in places(start, end):
                paste(mask, dab(shape, size), left, top)
            previous = point
        self.write(mask, label)

    def rectangle(self, label, start, end):
        (x0, y0), (x1, y1) = (map(math.floor, point) for point in (start, end))
        rows, columns = np.indices(self.ids.shape)
        mask = (rows >= min(y0, y1)) & (rows <= max(y0, y1))
        self.write(mask & (columns >= min(x0, x1)) & (columns <= max(x0, x1)), label)

    def polygon(self, label, points):
        corners = [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points]
        mask = self.empty()
        columns = np.arange(mask.shape[1])
        for y in range(mask.shape[0]):
            center = fractions.Fraction(2 * y + 1, 2)
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
                if min(y0, y1) < center < max(y0, y1):
                    edge = x0 + (center - y0) * fractions.Fraction(x1 - x0, y1 - y0)
                    first = math.ceil(edge - fractions.Fraction(1, 2))
                    mask[y] ^= columns >= first
        self.write(mask, label)

    def fill(self, label, point, everywhere=False):
        x, y = map(math.floor, point)
        if not (0 <= y < self.ids.shape[0] and 0 <= x < self.ids.shape[1]):
            return
        same = self.ids == self.ids[y, x]
        self.write(same if everywhere else connected(same, x, y), label)

    def clean_up(self):
        present = np.unique(self.ids)  # In order, so that argmax takes the smallest.
        padded = np.pad(self.ids[None] == present[:, None, None], ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        counts = windows.sum((3, 4))
        own = np.take_along_axis(counts, np.searchsorted(present, self.ids)[None], 0)[0]
        after = np.where(own == counts.max(0), self.ids, present[counts.argmax(0)])
        self.put(np.full(self.ids.shape, True), after)


def dab(shape, size):
    distances = np.arange(size) * 2 - size + 1
    u, v = np.abs(distances)[None, :], np.abs(distances)[:, None]
    inside = {
        'circle': u**2 + v**2 <= size**2,
        'square': u + v >= 0,
        'diamond': u + v <= size,
        'bar': (4 * v <= max(size, 4)) & (u >= 0),
    }
    return inside[shape]


def dab_start(x, size):
    return math.floor(x - size / 2 + 0.5)


def places(start, end):
    ways = [b - a for a, b in zip(start, end, strict=True)]
    steps = max(map(abs, ways))
    for step in range(steps + 1):
        yield tuple(
            a
            + int(
                math.copysign(round_half_up(fractions.Fraction(step * abs(way), steps or 1)), way)
            )
            for a, way in zip(start, ways, strict=True)
        )


def round_half_up(number):
    return math.floor(number + fractions.Fraction(1, 2))


def paste(mask, stencil, left, top):
    """Add a stencil to a mask where it is on the map."""
    height, width = mask.shape
    size = len(stencil)
    rows = slice(max(top, 0), min(top + size, height))
    columns = slice(max(left, 0), min(left + size, width))
    if rows.start < rows.stop and columns.start < columns.stop:
        mask[rows, columns] |= stencil[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]


def connected(same, x, y):
    """The pixels of a mask that are connected to one over sides."""
    width = same.shape[1] + 2
    free = bytearray(np.pad(same, 1).tobytes())  # With a border, so that no side is special.
    pixels = [(y + 1) * width + x + 1]
    free[pixels[0]] = 0
    for pixel in pixels:
        for side in (pixel - 1, pixel + 1, pixel - width, pixel + width):
            if free[side]:
                free[side] = 0
                pixels.append(side)
    mask = np.zeros((same.shape[0] + 2) * width, bool)
    mask[pixels] = True
    return mask.reshape(-1, width)[1:-1, 1:-1]


def snap_to_angle(start, point):
    """The nearest point on a horizontal, vertical or diagonal line through the start."""
    dx, dy = point[0] - start[0], point[1] - start[1]
    eighth = round(math.atan2(dy, dx) * 4 / math.pi) % 4
    x, y = [(1, 0), (1, 1), (0, 1), (1, -1)][eighth]
    way = (dx * x + dy * y) / (x * x + y * y)
    return start[0] + way * x, start[1] + way * y


def snap_to_square(start, point):
    side = max(abs(point[0] - start[0]), abs(point[1] - start[1]))
    return tuple(a + (-side if b < a else side) for a, b in zip(start, point, strict=True))
